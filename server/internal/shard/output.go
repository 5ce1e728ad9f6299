package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/wire"
)

// pending is output that waits until the socket has room: whole units of the wire,
// but for the first piece, of which a part may be sent.
type pending struct {
	refs  []piece
	bytes int
	// progressTick is when the socket last took something.
	progressTick uint32
}

// output is what the connections share for writing.
type output struct {
	// replies are gathered for replyTo, the connection whose data is being handled.
	replies []byte
	replyTo netpoll.ID
	// batch is gathered by serve for flushBatch, with the first message of each write
	// in starts, and by ping for flushPings.
	batch  []netpoll.Outgoing
	starts []int32
	// arena has what batch refers to, and vector in writeMessages, where connections
	// get bytes of their own.
	arena []byte
	// delivered counts messages since countDelivered.
	delivered uint64

	// Scratch.
	header [frame.MaxHeaderBytes]byte
	vector [64][]byte
	name   []byte
}

// countDelivered adds up what was delivered.
func (s *Shard) countDelivered() {
	s.count.Add(counters.Delivered, int64(s.output.delivered))
	s.output.delivered = 0
}

// A piece is a run of units of a wire, shared and immutable or owned by the
// connection, sent up to off.
type piece struct {
	frames []byte
	off    int
	wire   wire.Kind
}

// piece returns the part of run from off on, in the connection's wire. Before it is
// open, a connection gets responses to its request only.
func (c conn) piece(run []byte, off int) piece {
	if c.flags&flagOpened == 0 {
		return piece{run, off, wire.Response}
	}
	return piece{run, off, c.kind()}
}

// pinShare: a remainder smaller than 1/pinShare of its run is copied, so that a slow
// consumer does not keep a whole batch alive for a few bytes.
const pinShare = 4

// deliver sends frames, one shared and immutable message for this connection alone.
// If the socket is full the message waits, or the slow consumer policy applies.
// deliver reports whether it will arrive if the connection lives.
func (c conn) deliver(frames []byte) bool {
	s := c.s
	if c.state != stateOpen {
		return false
	}
	if c.flags&flagStalled == 0 {
		n, err := c.write(frames)
		if err != nil {
			return false // OnClose follows
		}
		s.output.delivered++
		if n < len(frames) {
			c.stall(c.piece(frames, n), true)
		}
		return true
	}
	x := c.makeExt()
	switch {
	case x.pending.bytes < s.cfg.PendingMaxBytes:
		s.output.delivered++
		c.stall(c.piece(frames, 0), true)
		return true
	case s.cfg.SlowDrop:
		x.missed++
		s.count.Inc(counters.SlowDrops)
	default:
		s.count.Inc(counters.SlowDisconnects)
		c.closeSlow()
	}
	return false
}

// write hands p to the socket, through TLS where that is spoken. It returns how much
// of p is on its way; if that is less than all, the rest must wait for OnWritable.
func (c conn) write(p []byte) (n int, err error) {
	if c.kind() == wire.Poll && c.flags&flagOpened != 0 {
		c.gather(p)
		return len(p), nil
	}
	return c.writeSocket(p)
}

func (c conn) writeSocket(p []byte) (n int, err error) {
	if c.flags&flagTLS != 0 {
		return c.writeTLS(p)
	}
	return c.s.loop.Write(c.id, p)
}

// remember notes a shared message in the compression context of a connection
// that has one.
func (c conn) remember(m *hub.Message) {
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
	switch bits := c.windowBits(); {
	case c.kind() == wire.EventStream:
		// A reply may have changed where the client is.
		return wire.Of(wire.EventStream).AppendMessage(c.appendID(dst), op, payload)
	case c.kind() != wire.WebSocket:
		return wire.Of(c.kind()).AppendMessage(dst, op, payload)
	case bits == 0 || len(payload) < frame.DeflateMinBytes:
		return frame.AppendFrame(dst, op, payload)
	default:
		var w *frame.Window
		if x := c.ext(); x != nil {
			w = x.sent
		}
		return frame.AppendDeflatedFrame(dst, op, payload, bits, w)
	}
}

// stall keeps p until the socket has room. A shared piece may be kept by
// reference, any other is copied.
func (c conn) stall(p piece, shared bool) {
	x := c.makeExt()
	left := len(p.frames) - p.off
	if !shared || left < len(p.frames)/pinShare {
		// The start of the unit that off is in must stay known: see keepPartial.
		start, _ := wire.Of(p.wire).Unit(p.frames, p.off)
		p = piece{append([]byte(nil), p.frames[start:]...), p.off - start, p.wire}
	}
	x.pending.refs = append(x.pending.refs, p)
	x.pending.bytes += left
	c.s.count.Add(counters.PendingBytes, int64(left))
	c.markStalled()
	if x.pending.bytes >= c.s.cfg.PendingMaxBytes/2 {
		c.pause(flagPausedOutput)
	}
}

// markStalled notes that output waits for the socket.
func (c conn) markStalled() {
	s := c.s
	x := c.makeExt()
	if c.flags&flagStalled == 0 {
		c.flags |= flagStalled
		s.count.Inc(counters.Stalled)
		x.pending.progressTick = s.deadlines.tick
		c.dueBy(s.deadlines.tick + s.deadlines.after.writeStall)
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
	c.stall(c.piece(p, n), false)
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
	s.count.Inc(counters.Delivered)
	if id != s.output.replyTo || c.kind() == wire.Poll {
		c.send(c.appendMessage(nil, op, payload))
		return
	}
	if c.kind() != wire.WebSocket || c.windowBits() != 0 || c.flags&(flagStalled|flagTLS) != 0 || len(payload) < replyDirectBytes {
		s.output.replies = c.appendMessage(s.output.replies, op, payload)
		if len(s.output.replies) >= 2*replyDirectBytes {
			c.flushReplies()
		}
		return
	}
	c.flushReplies()
	if c.flags&flagStalled != 0 {
		c.send(frame.AppendFrame(nil, op, payload))
		return
	}
	header := frame.AppendHeader(s.output.header[:0], frame.Header{Fin: true, Opcode: op, Length: int64(len(payload))})
	s.output.vector[0], s.output.vector[1] = header, payload
	n, err := s.loop.Writev(id, s.output.vector[:2])
	s.output.vector[0], s.output.vector[1] = nil, nil
	if err == nil && n < len(header)+len(payload) {
		whole := frame.AppendFrame(make([]byte, 0, len(header)+len(payload)), op, payload)
		c.stall(c.piece(whole, n), true) // ours already: no need to copy again
	}
}

// Push sends a text message, unless it is nil, and binary ones behind it, in one piece: the
// slow consumer policy applies to all of them, as to Send. It copies them. Loop only.
func (s *Shard) Push(id netpoll.ID, text []byte, blobs [][]byte) {
	c, ok := s.findOpen(id)
	if !ok {
		return
	}
	var run []byte
	if text != nil {
		run = c.appendMessage(run, frame.OpText, text)
	}
	for _, blob := range blobs {
		run = c.appendMessage(run, frame.OpBinary, blob)
	}
	c.deliver(run)
}

// flushReplies writes what Reply gathered.
func (c conn) flushReplies() {
	s := c.s
	if len(s.output.replies) > 0 {
		c.send(s.output.replies)
		if s.output.replies = s.output.replies[:0]; cap(s.output.replies) > 4*replyDirectBytes {
			s.output.replies = nil
		}
	}
}

// OnWritable writes what waits, until the socket is full again.
func (s *Shard) OnWritable(id netpoll.ID) {
	defer s.count.Publish()
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
		vector := s.output.vector[:0]
		want := 0
		for _, p := range x.pending.refs[:min(len(x.pending.refs), len(s.output.vector))] {
			vector = append(vector, p.frames[p.off:])
			want += len(p.frames) - p.off
		}
		n, err := s.loop.Writev(id, vector)
		clear(vector)
		if err != nil {
			return // OnClose follows
		}
		if n > 0 {
			x.pending.progressTick = s.deadlines.tick
			s.count.Add(counters.PendingBytes, -int64(n))
			x.pending.take(n)
		}
		if n < want {
			c.resumeOutput()
			return
		}
	}
	c.drained()
}

// drained is called when no output waits any more.
func (c conn) drained() {
	s := c.s
	x := c.ext()
	x.pending.refs = nil
	c.flags &^= flagStalled
	s.count.Add(counters.Stalled, -1)
	switch c.state {
	case stateFlushing:
		c.shut()
		return
	case stateAnswered:
		c.renewSoon()
		return
	case stateClosing:
		c.setDeadline(s.deadlines.tick + s.deadlines.after.close) // our Close frame is out
	}
	c.catchUp()
	if len(x.readers) > 0 && c.flags&flagStalled == 0 && c.state == stateOpen {
		s.readSoon(c.id)
	}
	s.countDelivered()
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

// keepPartial drops all pending units but the one of which the peer has already got
// a part, and a response. It returns the number of bytes dropped.
func (p *pending) keepPartial() (dropped int) {
	before := p.bytes
	first := p.refs[0]
	clear(p.refs)
	p.refs, p.bytes = p.refs[:0], 0
	start, end := wire.Of(first.wire).Unit(first.frames, first.off)
	if start < first.off || first.wire == wire.Response {
		p.refs = append(p.refs, piece{first.frames[start:end:end], first.off - start, first.wire})
		p.bytes = end - first.off
	}
	return before - p.bytes
}
