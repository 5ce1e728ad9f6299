package shard

import "github.com/roostws/roost/server/internal/counters"

// pause stops reading the connection for one more reason.
func (c conn) pause(reason uint16) {
	if c.flags&flagsPaused == 0 {
		if c.id != c.s.input.resuming {
			c.s.loop.PauseRead(c.id)
		}
		c.s.count.Inc(counters.Paused)
	}
	c.flags |= reason
}

// resume takes one reason away. If it was the last, what waits in ext.input is
// handled first, and may pause again; then the socket is read again.
func (c conn) resume(reason uint16) {
	if c.flags&reason == 0 {
		return
	}
	c.flags &^= reason
	if c.flags&flagsPaused != 0 {
		return
	}
	in := &c.s.input
	c.s.count.Add(counters.Paused, -1)
	if c.input() == nil || (c.state != stateOpen && c.state != stateClosing) {
		if c.id != in.resuming {
			c.s.loop.ResumeRead(c.id)
		}
		return
	}
	x := c.ext()
	input := x.input
	x.input = nil
	before, held := in.resuming, in.held
	in.resuming, in.held = c.id, input
	c.receive(input)
	kept := in.held == nil
	in.resuming, in.held = before, held
	if !kept {
		in.keep(input)
	}
	if c.current() {
		if c.flags&flagsPaused == 0 {
			c.s.loop.ResumeRead(c.id)
		}
		c.settle()
		c.dropExt()
	}
}

// hold keeps bytes that must not be handled yet.
func (c conn) hold(p []byte) {
	if len(p) == 0 {
		return
	}
	x, in := c.makeExt(), &c.s.input
	switch {
	case x.input != nil:
	case c.id == in.resuming && len(in.held) > 0 && &p[len(p)-1] == &in.held[len(in.held)-1]:
		// What is left of bytes that were held before stays where it is: a flood would
		// have them copied again and again.
		x.input, in.held = p, nil
		return
	case cap(in.buffer) > 0:
		x.input, in.buffer = in.buffer[:0], nil
	}
	x.input = append(x.input, p...)
}

// putInput gives x's input buffer back.
func (s *Shard) putInput(x *ext) {
	input := x.input
	x.input, x.headScanned, x.body = nil, 0, nil
	s.input.keep(input)
}
