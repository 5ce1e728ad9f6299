package server

import (
	"context"
	"errors"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// Close codes of the native protocol (docs/close-codes.md).
const (
	closeBadRequest   CloseCode = 4400
	closeUnauthorized CloseCode = 4401
)

// A session is what the server remembers of a native connection beside its
// place in the shard's tables: until it is let in, and then only if it has a
// deadline, a limit or permissions of its own. Owned by its loop.
type session struct {
	// connectBy is the end of the time to connect, zero when it is let in.
	connectBy time.Time
	// asking: Native.Connect is at work, which has a deadline of its own.
	asking   bool
	failures int
	// channels are those that Handler.Upgrade or Authorize gave.
	channels []string

	subscribed  map[string]time.Time // when single subscriptions expire
	allow       protocol.Permissions
	info        []byte
	rate, spent int
	second      int64
}

// connectTries bounds how often a client may show a wrong token.
const connectTries = 3

// bare tells that there is nothing to remember.
func (n *session) bare() bool {
	return n.connectBy.IsZero() && len(n.subscribed) == 0 &&
		len(n.allow.Subscribe) == 0 && len(n.allow.Publish) == 0 && n.info == nil && n.rate == 0
}

// settle forgets a session that is bare.
func (h *hooks) settle(id netpoll.ID) {
	if n := h.sessions[id]; n != nil && n.bare() {
		h.drop(id)
	}
}

// drop forgets a session. A map that a storm has made large goes with the last one.
func (h *hooks) drop(id netpoll.ID) {
	if h.sessions == nil {
		return
	}
	if delete(h.sessions, id); len(h.sessions) == 0 {
		h.sessions = nil
	}
}

// sessionOf answers the session of a connection, made if need be.
func (h *hooks) sessionOf(id netpoll.ID) *session {
	n := h.sessions[id]
	if n == nil {
		if h.sessions == nil {
			h.sessions = map[netpoll.ID]*session{}
		}
		n = &session{}
		h.sessions[id] = n
	}
	return n
}

// due makes sure that Tick looks at the sessions at t.
func (h *hooks) due(t time.Time) {
	if !t.IsZero() && (h.nextDue.IsZero() || t.Before(h.nextDue)) {
		h.nextDue = t
	}
}

// encodeNative makes the form of a message that native clients get.
func encodeNative(m *shard.Message) *frame.Prepared {
	binary := m.Opcode() == frame.OpBinary
	if m.Channel == "" {
		return frame.Prepare(frame.OpText, native.AppendMessage(nil, m.Payload(), binary))
	}
	return frame.Prepare(frame.OpText, native.AppendPub(nil, &native.Pub{
		Channel: m.Channel, Offset: m.Offset, Data: m.Payload(), Binary: binary, Key: m.Key, From: m.From,
	}))
}

// A task is one command of a native client while it is worked on.
type task struct {
	h   *hooks
	s   *shard.Shard
	id  netpoll.ID
	cmd native.Command
}

// nativeOpen waits for the connect command.
func (h *hooks) nativeOpen(id netpoll.ID, g *shard.Grant) {
	n := h.sessionOf(id)
	n.connectBy, n.channels = time.Now().Add(h.server.cfg.Timeouts.HandshakeTimeout), g.Channels
	h.due(n.connectBy)
}

// nativeMessage acts on a command.
func (h *hooks) nativeMessage(s *shard.Shard, id netpoll.ID, op frame.Opcode, payload []byte) {
	if op != frame.OpText {
		s.Shut(id, frame.CloseUnsupportedData, "roost.v1.json has text messages only")
		return
	}
	t := &h.task
	*t = task{h: h, s: s, id: id}
	err := native.Decode(payload, &t.cmd)
	var bad *native.Error
	switch {
	case errors.Is(err, native.ErrNotObject):
		s.Shut(id, closeBadRequest, "bad request: want one JSON object a message")
	case errors.As(err, &bad):
		t.fail(&protocol.Error{Code: protocol.CodeBadRequest, Message: bad.Error()})
	case t.cmd.Kind != native.Connect && !s.IsReady(id):
		t.fail(&protocol.Error{Code: protocol.CodeUnauthorized, Message: "connect first"})
	case !t.admit():
		t.fail(&protocol.Error{Code: protocol.CodeLimit, Message: "more messages a second than this client may send", RetryAfter: time.Second})
	default:
		t.act()
	}
	t.cmd = native.Command{}
}

// admit counts the message against the rate that the client's token gives it.
func (t *task) admit() bool {
	n := t.h.sessions[t.id]
	if n == nil || n.rate == 0 {
		return true
	}
	if now := time.Now().Unix(); now != n.second {
		n.second, n.spent = now, 0
	}
	n.spent++
	return n.spent <= n.rate
}

func (t *task) act() {
	switch t.cmd.Kind {
	case native.Connect:
		t.connect()
	case native.Subscribe:
		t.subscribe()
	case native.Unsubscribe:
		t.unsubscribe()
	case native.Publish:
		t.publish()
	case native.Presence:
		t.presence()
	case native.History:
		t.history()
	case native.Call:
		t.call()
	case native.Refresh:
		t.refresh()
	case native.Ack:
		t.ack()
	}
}

// reply sends what append makes, if the client wants a reply.
func (t *task) reply(p []byte) {
	if t.cmd.ID != 0 {
		t.s.Reply(t.id, frame.OpText, p)
	}
}

// push sends a word of the protocol to the client.
func (t *task) push(p []byte) { t.s.Reply(t.id, frame.OpText, p) }

// buffer is for a reply: it is copied.
func (t *task) buffer() []byte {
	if cap(t.h.buffer) > 64<<10 {
		t.h.buffer = nil
	}
	if t.h.buffer == nil {
		t.h.buffer = make([]byte, 0, 512)
	}
	return t.h.buffer[:0]
}

// fail tells the client what went wrong.
func (t *task) fail(err error) {
	var known *protocol.Error
	switch {
	case errors.As(err, &known):
	case errors.Is(err, ErrBusy):
		known = &protocol.Error{Code: protocol.CodeBusy, Message: "the server is busy", RetryAfter: time.Second}
	case errors.Is(err, ErrBadName):
		known = &protocol.Error{Code: protocol.CodeBadRequest, Message: err.Error()}
	case errors.Is(err, ErrTooManySubscriptions):
		known = &protocol.Error{Code: protocol.CodeLimit, Message: "the connection is in as many channels as it may be"}
	case errors.Is(err, shard.ErrSubscribed):
		known = &protocol.Error{Code: protocol.CodeAlreadySubscribed, Message: "subscribed already"}
	case errors.Is(err, context.DeadlineExceeded):
		known = &protocol.Error{Code: protocol.CodeTimeout, Message: "it took too long"}
	case errors.Is(err, ErrMessageTooBig):
		known = &protocol.Error{Code: protocol.CodeLimit, Message: "the message is too big"}
	default:
		t.h.server.cfg.Logger.Error("a command of a native client failed", "conn_id", t.id.String(), "command", t.cmd.Kind.String(), "err", err)
		known = &protocol.Error{Code: protocol.CodeInternal, Message: "something went wrong in the server"}
	}
	t.s.Counters().CommandErrors.Add(1)
	t.push(native.AppendError(t.buffer(), t.cmd.ID, int(known.Code), known.Message, known.RetryAfter))
}

// event tells the application of a connection.
func (h *hooks) event(s *shard.Shard, id netpoll.ID, e Event) {
	if h.server.cfg.Events != nil {
		own := e // so that nothing is allocated where nobody listens
		own.Client, own.User = id.String(), s.User(id)
		h.tell(id, &own)
	}
}

// tell calls Config.Events. A panic there costs nobody anything: what happened
// has happened.
func (h *hooks) tell(id netpoll.ID, e *Event) {
	defer func() {
		if value := recover(); value != nil {
			h.server.panicked("Events", id, value)
		}
	}()
	e.Time = time.Now()
	h.server.cfg.Events(e)
}

// Gap tells a native client of messages that it will not get.
func (h *hooks) Gap(s *shard.Shard, id netpoll.ID, channel string, from, to uint64) {
	s.Reply(id, frame.OpText, native.AppendGap(nil, channel, h.server.parts.Load().publisher.Epoch(), from, to))
}

// Tick ends sessions whose time has come, once a second at most.
func (h *hooks) Tick(s *shard.Shard) {
	now := time.Now()
	if h.nextDue.IsZero() || now.Before(h.nextDue) || now.Sub(h.lastLook) < time.Second {
		return
	}
	h.lastLook, h.nextDue = now, time.Time{}
	for id, n := range h.sessions {
		h.expire(s, id, n, now)
	}
}

// expire looks at one session.
func (h *hooks) expire(s *shard.Shard, id netpoll.ID, n *session, now time.Time) {
	over := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if over(n.connectBy) && !n.asking {
		n.connectBy = time.Time{} // once
		s.Counters().HandshakeTimeouts.Add(1)
		s.Shut(id, closeUnauthorized, "no connect command in time")
		return
	}
	for channel, t := range n.subscribed {
		if over(t) {
			delete(n.subscribed, channel)
			s.Counters().TokensExpired.Add(1)
			h.unsubscribed(s, id, channel, &protocol.Error{Code: protocol.CodeTokenExpired, Message: "the token for this channel has expired"})
			continue
		}
		h.due(t)
	}
	h.due(n.connectBy)
	h.settle(id)
}

// Expired ends a connection for which no new token came.
func (h *hooks) Expired(s *shard.Shard, id netpoll.ID) {
	s.Counters().TokensExpired.Add(1)
	s.Shut(id, closeUnauthorized, "token expired: come back with a new one")
}
