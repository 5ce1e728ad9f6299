package shard

import (
	"errors"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

type decoder = frame.Decoder

// emptyPing is a ping without payload (RFC 6455, section 5.5.2): two bytes are
// enough to learn that the peer is there.
var emptyPing = frame.AppendFrame(nil, frame.OpPing, nil)

// handleFrames decodes what a WebSocket connection sent. p is ours.
func (s *Shard) handleFrames(id netpoll.ID, sl *slot, p []byte) {
	sl.flags &^= flagAwaitsPong
	sl.heardTick = s.tick
	// Most connections hold no half frame, so they share one decoder; it is
	// handed to the connection that leaves something in it.
	d := s.scratch
	switch {
	case sl.ext != 0 && s.exts[sl.ext].decoder != nil:
		d = s.exts[sl.ext].decoder
	case sl.windowBits != 0:
		d.Reset(s.cfg.DeflateDecoder)
		if sl.ext != 0 {
			d.SetWindow(s.exts[sl.ext].received)
		}
	}
	s.replyTo = id
	alive := true
	for handled := 0; alive; handled++ {
		if handled == s.cfg.FrameSlice && len(p) > 0 {
			s.yield(id, sl)
		}
		if sl.flags&flagsPaused != 0 {
			s.hold(sl, p)
			break
		}
		m, n, err := d.Next(p)
		p = p[n:]
		if err != nil {
			s.failFrames(id, sl, err)
			break
		}
		if m.Opcode == 0 {
			break
		}
		s.handleMessage(id, sl, m)
		alive = sl.generation == id.Generation() && (sl.state == stateOpen || sl.state == stateClosing)
	}
	s.settleDecoder(id, sl, d)
	if sl.generation == id.Generation() && sl.state != stateGone {
		s.flushReplies(id, sl)
	}
	s.replies, s.replyTo = s.replies[:0], 0
}

// settleDecoder keeps d with the connection if it is in the middle of
// something, and makes it fit for the next connection if not.
func (s *Shard) settleDecoder(id netpoll.ID, sl *slot, d *decoder) {
	mid := !d.Idle() && sl.generation == id.Generation() && sl.state != stateGone
	switch {
	case d == s.scratch && mid:
		x := s.extOf(sl)
		x.decoder, x.messageSince = d, s.tick
		if s.ticks.message > 0 {
			s.dueBy(id.Slot(), s.tick+s.ticks.message)
		}
		s.scratch = s.getDecoder()
	case d == s.scratch:
		d.Reset(s.cfg.Decoder)
	case !mid && sl.ext != 0 && s.exts[sl.ext].decoder == d:
		s.exts[sl.ext].decoder = nil
		s.putDecoder(d)
		s.dropExt(sl)
	}
}

func (s *Shard) getDecoder() *decoder {
	if n := len(s.spareDecoders); n > 0 {
		d := s.spareDecoders[n-1]
		s.spareDecoders = s.spareDecoders[:n-1]
		return d
	}
	d := &decoder{}
	d.Reset(s.cfg.Decoder)
	return d
}

func (s *Shard) putDecoder(d *decoder) {
	d.Reset(s.cfg.Decoder)
	if len(s.spareDecoders) < 16 {
		s.spareDecoders = append(s.spareDecoders, d)
	}
}

// handleMessage acts on one whole message or control frame.
func (s *Shard) handleMessage(id netpoll.ID, sl *slot, m frame.Message) {
	switch m.Opcode {
	case frame.OpText, frame.OpBinary:
		if sl.state != stateOpen {
			return // after our Close nobody listens (RFC 6455, section 1.4)
		}
		if sl.ext != 0 {
			s.exts[sl.ext].messageSince = s.tick
		}
		if sl.flags&flagNative != 0 && string(m.Payload) == heartbeatText && m.Opcode == frame.OpText {
			s.handleHeartbeat(id, sl)
			return
		}
		sl.messageTick = s.tick
		s.count.MessagesReceived.Add(1)
		s.count.MessageBytesReceived.Add(uint64(len(m.Payload)))
		s.spendToken(id, sl)
		s.callMessage(id, sl, m)
	case frame.OpPing:
		// A pong for each ping, as soon as is practical (section 5.5.2). If the
		// peer does not read, the waiting output pauses it: pings cannot pile up.
		if sl.state == stateOpen {
			s.count.PingsReceived.Add(1)
			s.replies = frame.AppendFrame(s.replies, frame.OpPong, m.Payload)
			if len(s.replies) >= replyDirectBytes {
				s.flushReplies(id, sl)
			}
		}
	case frame.OpPong:
		s.count.PongsReceived.Add(1)
	case frame.OpClose:
		s.handleClose(id, sl, m.Payload)
	}
}

// heartbeatText is the native protocol's ping, and pong: a page in a browser sees
// neither of WebSocket's.
const heartbeatText = "{}"

var heartbeatFrame = frame.AppendFrame(nil, frame.OpText, []byte(heartbeatText))

// handleHeartbeat takes a heartbeat for the answer to ours, if that is due, and
// answers it otherwise.
func (s *Shard) handleHeartbeat(id netpoll.ID, sl *slot) {
	s.spendToken(id, sl)
	if sl.flags&flagHeartbeat != 0 {
		sl.flags &^= flagHeartbeat
		s.count.PongsReceived.Add(1)
		return
	}
	s.count.PingsReceived.Add(1)
	s.replies = append(s.replies, heartbeatFrame...)
	if len(s.replies) >= replyDirectBytes {
		s.flushReplies(id, sl)
	}
}

// callMessage gives a message to the application. A panic there costs this
// connection and nobody else.
func (s *Shard) callMessage(id netpoll.ID, sl *slot, m frame.Message) {
	defer s.recoverHook(id, "Message")
	s.hooks.Message(s, id, m.Opcode, m.Payload)
}

// spendToken takes one of the connection's message tokens; without one left it
// is not read until the next refill (see refillTokens).
func (s *Shard) spendToken(id netpoll.ID, sl *slot) {
	if s.cfg.MessageRate == 0 {
		return
	}
	spent := &s.spent.rows[id.Slot()]
	if *spent++; int(*spent) >= s.cfg.MessageRate {
		s.count.RateLimited.Add(1)
		s.rateLimited = append(s.rateLimited, id)
		s.pause(id, sl, flagPausedRate)
	}
}

// handleClose answers the peer's Close frame (RFC 6455, section 5.5.1).
func (s *Shard) handleClose(id netpoll.ID, sl *slot, payload []byte) {
	code, reason, err := frame.ParseClose(payload)
	if err != nil {
		s.failFrames(id, sl, err)
		return
	}
	if sl.state == stateClosing {
		// The answer to ours: the handshake is complete, and it is the server
		// that closes TCP first (section 7.1.1).
		s.decide(sl, Closed{Code: code, Reason: string(reason), ByPeer: true})
		s.flushReplies(id, sl)
		s.shutWhenFlushed(id, sl)
		return
	}
	s.decide(sl, Closed{Code: code, Reason: string(reason), ByPeer: true})
	sl.state = stateClosing
	echo := code
	if code == frame.CloseNoStatus {
		s.replies = frame.AppendClose(s.replies, frame.CloseNoStatus, "")
	} else {
		s.replies = frame.AppendClose(s.replies, echo, "")
	}
	s.flushReplies(id, sl)
	s.shutWhenFlushed(id, sl)
}

// failFrames fails the connection for what its peer sent (RFC 6455, section
// 7.1.7): a Close frame that says why, then the end.
func (s *Shard) failFrames(id netpoll.ID, sl *slot, err error) {
	var violation *frame.ProtocolError
	reason := "protocol error"
	if errors.As(err, &violation) {
		reason = violation.Reason
	}
	code := frame.CloseCodeOf(err)
	switch code {
	case frame.CloseMessageTooBig:
		s.count.MessagesTooBig.Add(1)
	case frame.CloseInvalidPayload:
		s.count.InvalidUTF8.Add(1)
	default:
		s.count.ProtocolErrors.Add(1)
	}
	s.decide(sl, Closed{Code: code, Reason: reason, Err: err})
	if sl.state == stateOpen {
		sl.state = stateClosing
		s.replies = frame.AppendClose(s.replies, code, reason)
		s.flushReplies(id, sl)
	}
	s.shutWhenFlushed(id, sl)
}

// decide notes why a connection ends. The first reason counts.
func (s *Shard) decide(sl *slot, c Closed) {
	if x := s.extOf(sl); !x.decided {
		x.decided, x.verdict = true, c
	}
}

// startClose begins the closing handshake from our side.
func (s *Shard) startClose(id netpoll.ID, sl *slot, code frame.CloseCode, reason string) {
	switch sl.state {
	case stateOpen:
		s.decide(sl, Closed{Code: code, Reason: reason})
		s.stopLagging(sl)
		s.stopReadingAll(sl)
		sl.state = stateClosing
		// Whatever else was due is not any more.
		s.deadlines.rows[id.Slot()] = s.tick + s.ticks.close
		// Messages that were answered in this turn go before the Close frame.
		if s.replyTo == id {
			s.flushReplies(id, sl)
		}
		s.send(id, sl, frame.AppendClose(nil, code, reason))
	case stateProxy, stateTLS, stateHead, stateAuthorizing, statePlain:
		s.decide(sl, Closed{Code: code, Reason: reason})
		s.shut(id, sl)
	}
}

// slowReason is what a slow consumer is told.
const slowReason = "slow consumer: too much output was waiting; reconnect"

// closeSlow ends a slow consumer: behind the frame that is half sent goes a
// Close frame that says why; the rest of what waited is dropped.
func (s *Shard) closeSlow(id netpoll.ID, sl *slot, x *ext) {
	dropped := x.pending.keepPartialFrame()
	s.count.PendingBytes.Add(-int64(dropped))
	s.decide(sl, Closed{Code: frame.CloseTryAgainLater, Reason: slowReason})
	sl.state = stateClosing
	s.deadlines.rows[id.Slot()] = s.tick + s.ticks.close
	s.stall(id, sl, piece{frame.AppendClose(nil, frame.CloseTryAgainLater, slowReason), 0}, true)
	s.resume(id, sl, flagPausedOutput) // its part of the closing handshake must be read
}

// shutWhenFlushed closes now, or when the waiting output is written.
func (s *Shard) shutWhenFlushed(id netpoll.ID, sl *slot) {
	if sl.flags&flagStalled != 0 {
		sl.state = stateFlushing
		s.deadlines.rows[id.Slot()] = s.tick + s.ticks.close
		return
	}
	s.shut(id, sl)
}

// shut lets the engine close: what was written arrives first.
func (s *Shard) shut(id netpoll.ID, sl *slot) {
	if sl.state != stateGone {
		sl.state = stateGone
		s.deadlines.rows[id.Slot()] = 0
		if sl.flags&flagTLS != 0 {
			s.endTLS(id, sl)
		}
		s.loop.Close(id)
	}
}

// abort ends a connection without ceremony.
func (s *Shard) abort(id netpoll.ID, sl *slot, c Closed) {
	s.decide(sl, c)
	if sl.state != stateGone {
		sl.state = stateGone
		s.deadlines.rows[id.Slot()] = 0
		s.loop.Abort(id)
	}
}

// drainOne is startClose for a server that stops: connections that are not
// open yet just end.
func (s *Shard) drainOne(id netpoll.ID, sl *slot, code frame.CloseCode, reason string) {
	if sl.state == statePlain || sl.state == stateAuthorizing {
		return // let the answer under way get out
	}
	s.closeBehind(id, sl, code, reason)
}
