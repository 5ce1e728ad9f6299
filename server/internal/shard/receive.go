package shard

import (
	"errors"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/wire"
)

type decoder = frame.Decoder

// receive decodes what an open connection has sent. p is ours.
func (c conn) receive(p []byte) {
	s, kind := c.s, c.kind()
	if c.flags&flagAwaitsPong != 0 || !c.paced() {
		c.heardTick = s.deadlines.tick
	}
	c.flags &^= flagAwaitsPong
	// Most connections are not in the middle of a message, so they share one decoder;
	// a connection that leaves something in it keeps it.
	d := s.input.decoder
	switch {
	case c.decoder() != nil:
		d = c.decoder()
	case c.windowBits() != 0:
		d.Reset(s.cfg.DeflateDecoder)
		if x := c.ext(); x != nil {
			d.SetWindow(x.received)
		}
	}
	s.output.replyTo = c.id
	left := s.turns.left(c.id, s.cfg.FrameSlice)
	for alive := true; alive; left-- {
		if left == 0 {
			left = s.cfg.FrameSlice
			c.endSlice(len(p) > 0)
		}
		if c.flags&flagsPaused != 0 {
			c.hold(p)
			break
		}
		var m frame.Message
		var n int
		var err error
		if kind == wire.WebSocket { // every message takes this path: a direct call
			m, n, err = d.Next(p)
		} else {
			m, n, err = wire.Of(kind).Next(d, p)
		}
		p = p[n:]
		if err != nil {
			c.failFrames(err)
			break
		}
		if m.Opcode == 0 {
			break
		}
		c.handleMessage(m)
		alive = c.current() && (c.state == stateOpen || c.state == stateClosing)
	}
	s.turns.note(c.id, s.cfg.FrameSlice-left)
	c.settleDecoder(d)
	if c.alive() {
		c.flushReplies()
	}
	s.output.replies, s.output.replyTo = s.output.replies[:0], 0
}

// settleDecoder keeps d with the connection if it is in the middle of a message, and
// makes it ready for the next connection otherwise.
func (c conn) settleDecoder(d *decoder) {
	s := c.s
	mid := !d.Idle() && c.alive()
	switch {
	case d == s.input.decoder && mid:
		x := c.makeExt()
		x.decoder, x.messageSince = d, s.deadlines.tick
		if s.deadlines.after.message > 0 {
			c.dueBy(s.deadlines.tick + s.deadlines.after.message)
		}
		s.input.decoder = s.input.take()
	case d == s.input.decoder:
		d.Reset(s.cfg.Decoder)
	case !mid && c.decoder() == d:
		c.ext().decoder = nil
		s.input.put(d)
		c.dropExt()
	}
}

// input is what the connections share for reading.
type input struct {
	config *frame.DecoderConfig

	// decoder is for connections that are not in the middle of a message.
	decoder *decoder
	spare   []*decoder
	buffer  []byte // of a connection that held bytes

	// While a connection goes on with the bytes that it held: its ID, and the bytes until
	// the rest of them is held again. Its socket is still paused.
	resuming netpoll.ID
	held     []byte
}

// take returns a decoder that is ready.
func (in *input) take() *decoder {
	if n := len(in.spare); n > 0 {
		d := in.spare[n-1]
		in.spare = in.spare[:n-1]
		return d
	}
	d := &decoder{}
	d.Reset(in.config)
	return d
}

// put gives a decoder back.
func (in *input) put(d *decoder) {
	d.Reset(in.config)
	if len(in.spare) < sparesMax {
		in.spare = append(in.spare, d)
	}
}

// keep keeps one buffer for the next connection that needs one.
func (in *input) keep(buffer []byte) {
	if buffer != nil && cap(buffer) <= 16<<10 {
		in.buffer = buffer[:0]
	}
}

// handleMessage acts on one whole message or control frame.
func (c conn) handleMessage(m frame.Message) {
	s := c.s
	if c.state == stateOpen && m.Opcode != frame.OpClose {
		c.spend() // for a ping or pong as well: it costs what a small message does
	}
	switch m.Opcode {
	case frame.OpText, frame.OpBinary:
		if c.state != stateOpen {
			return // after our Close frame, data is dropped (RFC 6455, section 1.4)
		}
		if x := c.ext(); x != nil {
			x.messageSince = s.deadlines.tick
		}
		if p := s.protocolOf(c.slot); p != nil && m.Opcode == frame.OpText && c.kind() == wire.WebSocket && c.handleHeartbeat(p, m.Payload) {
			return
		}
		c.noteMessage()
		s.count.Inc(counters.MessagesReceived)
		s.count.Add(counters.MessageBytesReceived, int64(len(m.Payload)))
		c.callMessage(m)
	case frame.OpPing:
		// A pong for each ping, as soon as is practical (section 5.5.2). If the
		// peer does not read, the waiting output pauses it: pings cannot pile up.
		if c.state == stateOpen {
			s.count.Inc(counters.PingsReceived)
			s.output.replies = frame.AppendFrame(s.output.replies, frame.OpPong, m.Payload)
			if len(s.output.replies) >= replyDirectBytes {
				c.flushReplies()
			}
		}
	case frame.OpPong:
		s.count.Inc(counters.PongsReceived)
	case frame.OpClose:
		c.handleClose(m.Payload)
	}
}

// callMessage gives a message to the application. A panic there ends this
// connection only.
func (c conn) callMessage(m frame.Message) {
	defer c.s.recoverHook(c.id, "Message")
	c.s.hooks.Message(c.s, c.id, m.Opcode, m.Payload)
}

// handleClose answers the peer's Close frame (RFC 6455, section 5.5.1).
func (c conn) handleClose(payload []byte) {
	s := c.s
	code, reason, err := frame.ParseClose(payload)
	if err != nil {
		c.failFrames(err)
		return
	}
	if c.state == stateClosing {
		// The answer to ours: the handshake is complete, and it is the server
		// that closes TCP first (section 7.1.1).
		c.decide(Closed{Code: code, Reason: string(reason), ByPeer: true})
		c.flushReplies()
		c.shutWhenFlushed()
		return
	}
	c.decide(Closed{Code: code, Reason: string(reason), ByPeer: true})
	c.setState(stateClosing)
	s.output.replies = frame.AppendClose(s.output.replies, code, "")
	c.flushReplies()
	c.shutWhenFlushed()
}

// failFrames fails the connection for what its peer sent (RFC 6455, section
// 7.1.7): a Close frame that says why, then the end.
func (c conn) failFrames(err error) {
	s := c.s
	var violation *frame.ProtocolError
	reason := "protocol error"
	if errors.As(err, &violation) {
		reason = violation.Reason
	}
	code := frame.CloseCodeOf(err)
	switch code {
	case frame.CloseMessageTooBig:
		s.count.Inc(counters.MessagesTooBig)
		c.noteRefusal(intake.RefusedMessage)
	case frame.CloseInvalidPayload:
		s.count.Inc(counters.InvalidUTF8)
	default:
		s.count.Inc(counters.ProtocolErrors)
	}
	c.decide(Closed{Code: code, Reason: reason, Err: err})
	if c.state == stateOpen {
		c.setState(stateClosing)
		s.output.replies = wire.Of(c.kind()).AppendClose(s.output.replies, code, reason)
		c.flushReplies()
	}
	c.shutWhenFlushed()
}
