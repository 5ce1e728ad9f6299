package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// pending is output that waits for a full socket: whole frames, but for the
// first piece, of which a part may be sent.
type pending struct {
	refs  []piece
	bytes int
	// progressTick is when the socket last took something.
	progressTick uint32
}

// A piece is a run of frames, or an answer to a request, shared and immutable or
// owned by the connection, sent up to off.
type piece struct {
	frames []byte
	off    int
	http   bool // an answer to a request, which has no frames
}

// pinShare: a remainder smaller than a 1/pinShare of its run is copied, so that
// a slow consumer does not keep a whole batch alive for a few bytes.
const pinShare = 4

// deliver sends frames[off:], count shared and immutable frames meant for this
// one client, to the open connection in slot i; later, if its socket is full, or
// according to the slow consumer policy. It tells whether they will arrive if
// the connection lives.
func (c conn) deliver(frames []byte, off int, count int) bool {
	s := c.s
	if c.state != stateOpen {
		return false
	}
	if c.flags&flagStalled == 0 {
		n, err := c.write(frames[off:])
		if err != nil {
			return false // OnClose follows
		}
		s.delivered += uint64(count)
		if n < len(frames)-off {
			c.stall(piece{frames: frames, off: off + n}, true)
		}
		return true
	}
	x := c.makeExt()
	if x.pending.bytes < s.cfg.PendingMaxBytes {
		s.delivered += uint64(count)
		c.stall(piece{frames: frames, off: off}, true)
		return true
	}
	if s.cfg.SlowDrop {
		x.missed += uint64(count)
		s.count.SlowDrops.Add(uint64(count))
		return false
	}
	s.count.SlowDisconnects.Add(1)
	c.closeSlow()
	return false
}

// write hands p to the socket, through TLS where that is spoken, and answers how
// much of p is on its way. Less than all of it: the rest waits for OnWritable.
func (c conn) write(p []byte) (n int, err error) {
	if c.flags&flagTLS != 0 {
		return c.writeTLS(p)
	}
	return c.s.loop.Write(c.id, p)
}

// remember notes a shared message in the compression context of a connection
// that has one.
func (c conn) remember(m *Message) {
	x := c.ext()
	if x == nil {
		return
	}
	if w := x.sent; w != nil && frame.IsCompressed(c.s.encoded(m, c.variant())) {
		w.Add(c.s.prepared(m, c.protocol()).Payload())
	}
}

// appendMessage encodes a message for one connection.
func (c conn) appendMessage(dst []byte, op frame.Opcode, payload []byte) []byte {
	if c.windowBits() == 0 || len(payload) < frame.DeflateMinBytes {
		return frame.AppendFrame(dst, op, payload)
	}
	var w *frame.Window
	if x := c.ext(); x != nil {
		w = x.sent
	}
	return frame.AppendDeflatedFrame(dst, op, payload, c.windowBits(), w)
}

// stall keeps p until the socket has room. A shared piece may be kept by
// reference, any other is copied.
func (c conn) stall(p piece, shared bool) {
	x := c.makeExt()
	left := len(p.frames) - p.off
	if !shared || left < len(p.frames)/pinShare {
		// The start of the frame that off is in must stay known: see
		// keepPartialFrame.
		start := p.frameStart()
		p = piece{frames: append([]byte(nil), p.frames[start:]...), off: p.off - start, http: p.http}
	}
	x.pending.refs = append(x.pending.refs, p)
	x.pending.bytes += left
	c.s.count.PendingBytes.Add(int64(left))
	c.markStalled()
	if x.pending.bytes >= c.s.cfg.PendingMaxBytes/2 {
		c.pause(flagPausedOutput)
	}
}

// markStalled notes that something waits for the socket.
func (c conn) markStalled() {
	s := c.s
	x := c.makeExt()
	if c.flags&flagStalled == 0 {
		c.flags |= flagStalled
		s.count.Stalled.Add(1)
		x.pending.progressTick = s.tick
		c.dueBy(s.tick + s.ticks.writeStall)
	}
}

// frameStart returns the start of the frame that the byte at p.off belongs to.
func (p *piece) frameStart() int {
	if p.http {
		return 0
	}
	at := 0
	for {
		h, n, err := frame.ParseHeader(p.frames[at:])
		if err != nil || n == 0 {
			return at
		}
		next := at + n + int(h.Length)
		if next > p.off || next >= len(p.frames) {
			return at
		}
		at = next
	}
}

// send writes p, which belongs to the caller, to a connection in any state.
func (c conn) send(p []byte) {
	if len(p) == 0 {
		return
	}
	n := 0
	if c.flags&flagStalled == 0 {
		var err error
		if n, err = c.write(p); err != nil || n == len(p) {
			return
		}
	}
	// Before it is open, a connection gets answers to its request only.
	c.stall(piece{frames: p, off: n, http: c.flags&flagOpened == 0}, false)
}

// replyDirectBytes is the payload size from which copying into the reply
// buffer costs more than a second element of a vector.
const replyDirectBytes = 16 << 10

// Reply sends a message to the connection whose data is being handled. It is
// gathered with the other replies of this turn: one write for all of them. It
// copies payload. Loop only, inside Hooks.Message and Hooks.Open.
func (s *Shard) Reply(id netpoll.ID, op frame.Opcode, payload []byte) {
	c, ok := s.findOpen(id)
	if !ok {
		return
	}
	s.count.Delivered.Add(1)
	if id != s.replyTo {
		c.send(c.appendMessage(nil, op, payload))
		return
	}
	if c.windowBits() != 0 || c.flags&(flagStalled|flagTLS) != 0 || len(payload) < replyDirectBytes {
		s.replies = c.appendMessage(s.replies, op, payload)
		if len(s.replies) >= 2*replyDirectBytes {
			c.flushReplies()
		}
		return
	}
	c.flushReplies()
	if c.flags&flagStalled != 0 {
		c.send(frame.AppendFrame(nil, op, payload))
		return
	}
	header := frame.AppendHeader(s.header[:0], frame.Header{Fin: true, Opcode: op, Length: int64(len(payload))})
	s.vector[0], s.vector[1] = header, payload
	n, err := s.loop.Writev(id, s.vector[:2])
	s.vector[0], s.vector[1] = nil, nil
	if err == nil && n < len(header)+len(payload) {
		whole := frame.AppendFrame(make([]byte, 0, len(header)+len(payload)), op, payload)
		c.stall(piece{frames: whole, off: n}, true) // ours already: no need to copy again
	}
}

// flushReplies writes what Reply gathered.
func (c conn) flushReplies() {
	s := c.s
	if len(s.replies) > 0 {
		c.send(s.replies)
		if s.replies = s.replies[:0]; cap(s.replies) > 4*replyDirectBytes {
			s.replies = nil
		}
	}
}

// OnWritable writes what waits, until the socket is full again.
func (s *Shard) OnWritable(id netpoll.ID) {
	c, ok := s.find(id)
	if !ok || c.flags&flagStalled == 0 {
		return
	}
	x := c.ext()
	if x.tls != nil {
		c.drainTLS()
		return
	}
	for len(x.pending.refs) > 0 {
		vector := s.vector[:0]
		want := 0
		for _, p := range x.pending.refs[:min(len(x.pending.refs), len(s.vector))] {
			vector = append(vector, p.frames[p.off:])
			want += len(p.frames) - p.off
		}
		n, err := s.loop.Writev(id, vector)
		clear(vector)
		if err != nil {
			return // OnClose follows
		}
		if n > 0 {
			x.pending.progressTick = s.tick
			s.count.PendingBytes.Add(-int64(n))
			x.pending.take(n)
		}
		if n < want {
			c.resumeOutput()
			return
		}
	}
	c.drained()
}

// drained: nothing waits any more.
func (c conn) drained() {
	s := c.s
	x := c.ext()
	x.pending.refs = nil
	c.flags &^= flagStalled
	s.count.Stalled.Add(-1)
	switch c.state {
	case stateFlushing:
		c.shut()
		return
	case stateClosing:
		c.setDeadline(s.tick + s.ticks.close) // our Close frame is out
	}
	c.catchUp()
	if len(x.readers) > 0 && c.flags&flagStalled == 0 && c.state == stateOpen {
		s.readSoon(c.id)
	}
	s.count.Delivered.Add(s.delivered)
	s.delivered = 0
	if c.flags&flagStalled != 0 {
		c.resumeOutput()
		return
	}
	c.dropExt()
	c.resume(flagPausedOutput)
}

// resumeOutput reads a client again whose waiting output has become little.
func (c conn) resumeOutput() {
	x := c.ext()
	if x.pending.bytes < c.s.cfg.PendingMaxBytes/4 && c.flags&flagPausedOutput != 0 {
		c.resume(flagPausedOutput)
	}
}

// take removes n sent bytes.
func (p *pending) take(n int) {
	p.bytes -= n
	done := 0
	for done < len(p.refs) {
		r := &p.refs[done]
		left := len(r.frames) - r.off
		if n < left {
			r.off += n
			break
		}
		n -= left
		done++
	}
	rest := copy(p.refs, p.refs[done:])
	clear(p.refs[rest:])
	p.refs = p.refs[:rest]
}

// keepPartialFrame drops all pending frames but the one of which the peer has
// already got a part, and answers the number of bytes dropped.
func (p *pending) keepPartialFrame() (dropped int) {
	before := p.bytes
	first := p.refs[0]
	clear(p.refs)
	p.refs, p.bytes = p.refs[:0], 0
	start := first.frameStart()
	if first.http {
		p.refs, p.bytes = append(p.refs, first), len(first.frames)-first.off
	} else if start < first.off {
		h, n, err := frame.ParseHeader(first.frames[start:])
		if err == nil && n > 0 {
			end := min(start+n+int(h.Length), len(first.frames))
			p.refs = append(p.refs, piece{frames: first.frames[start:end:end], off: first.off - start})
			p.bytes = end - first.off
		}
	}
	return before - p.bytes
}
