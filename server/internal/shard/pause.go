package shard

import "github.com/roostws/roost/server/internal/counters"

// pause stops reading the connection for one more reason.
func (c conn) pause(reason uint16) {
	if c.flags&flagsPaused == 0 {
		c.s.loop.PauseRead(c.id)
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
	c.s.count.Add(counters.Paused, -1)
	c.s.loop.ResumeRead(c.id)
	if c.input() == nil || (c.state != stateOpen && c.state != stateClosing) {
		return
	}
	x := c.ext()
	input := x.input
	x.input = nil
	c.receive(input)
	c.s.input.keep(input)
	if c.current() {
		c.settle()
		c.dropExt()
	}
}

// hold keeps bytes that must not be handled yet.
func (c conn) hold(p []byte) {
	if len(p) == 0 {
		return
	}
	x := c.makeExt()
	if x.input == nil && cap(c.s.input.buffer) > 0 {
		x.input, c.s.input.buffer = c.s.input.buffer[:0], nil
	}
	x.input = append(x.input, p...)
}

// putInput gives x's input buffer back.
func (s *Shard) putInput(x *ext) {
	input := x.input
	x.input, x.headScanned, x.body = nil, 0, nil
	s.input.keep(input)
}
