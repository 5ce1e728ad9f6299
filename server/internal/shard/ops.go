package shard

import (
	"fmt"
	"runtime/debug"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// post puts o where the loop will find it. Any goroutine. Unless force is set
// it returns hub.ErrBusy when the inbox is full; after the end of the shard it
// returns netpoll.ErrEngineClosed.
func (s *Shard) post(o op, force bool) error {
	if !force && s.Full() {
		s.group.CountShared(counters.InboxRefused)
		return hub.ErrBusy
	}
	if !s.inbox.put(o) {
		return netpoll.ErrEngineClosed
	}
	s.loop.Wake()
	return nil
}

// Deliver puts what the hub publishes where the loop will find it. Any goroutine.
func (s *Shard) Deliver(e hub.Entry) error {
	o := op{name: e.Name, message: e.Message, history: e.History, tally: e.Tally, over: e.Over, to: e.To, since: s.clock()}
	switch {
	case e.Over > 0:
		o.kind = opSpread
	case e.To == hub.ToUser:
		o.kind = opUser
	case e.To == hub.ToAll:
		o.kind = opBroadcast
	default:
		o.kind = opPublish
	}
	return s.post(o, true)
}

// Send sends m to one connection, later. Any goroutine.
func (s *Shard) Send(id netpoll.ID, m *hub.Message) error {
	return s.post(op{kind: opSend, id: id, message: m}, false)
}

// Join makes id a subscriber of the channel, later, for what is published from
// now on. Any goroutine.
func (s *Shard) Join(id netpoll.ID, channel string) error {
	o := op{kind: opJoin, id: id, name: channel}
	if s.hub().Namespace(channel) == nil {
		return s.post(o, false)
	}
	return s.hub().AtTip(channel, func(at hub.Place) error {
		o.at = at // the place in the inbox and the position are one
		return s.post(o, false)
	})
}

// Leave undoes Join, later. Any goroutine.
func (s *Shard) Leave(id netpoll.ID, channel string) error {
	return s.post(op{kind: opLeave, id: id, name: channel}, true)
}

// Close closes id with a Close frame, later. Any goroutine. It is never
// refused for lack of room.
func (s *Shard) Close(id netpoll.ID, code frame.CloseCode, reason string) error {
	return s.post(op{kind: opClose, id: id, code: code, name: reason}, true)
}

// Authorized gives the answer to an upgrade whose hook set Later. Any goroutine.
func (s *Shard) Authorized(id netpoll.ID, g *Grant) {
	_ = s.post(op{kind: opAuthorized, id: id, grant: g}, true)
}

// Respond sends the response to a plain HTTP request and takes it over. If keep is set,
// the connection goes on after it, as far as the client and the server want that; the
// response must tell where it ends, and must not say Connection: close. Any goroutine.
func (s *Shard) Respond(id netpoll.ID, response []byte, keep bool) {
	o := op{kind: opRespond, id: id, bytes: response}
	if keep {
		o.kind = opRespondKeep
	}
	_ = s.post(o, true)
}

// Call runs f on the loop, soon. Any goroutine.
func (s *Shard) Call(f func(*Shard)) error { return s.post(op{kind: opCall, call: f}, true) }

// do executes one entry of the inbox. A panic in it (in the application's
// code, called by a hook) must not take the rest with it.
func (s *Shard) do(o *op) {
	o.id = s.Current(o.id)
	defer s.recoverHook(o.id, "the inbox")
	switch o.kind {
	case opSend:
		if c, ok := s.findOpen(o.id); ok {
			c.sendMessage(o.message)
		} else {
			s.count.Inc(counters.SendsToClosed)
		}
	case opPublish:
		if ch := s.members.byName[o.name]; ch != nil && !o.message.TooMany(int(ch.subscribers.n)) {
			s.enqueue(ch, 0, o)
		} else {
			s.dropUnheard(o)
		}
	case opUser:
		if row := s.users.find(o.name); row != 0 {
			s.enqueue(nil, row, o)
		} else {
			s.dropUnheard(o)
		}
	case opBroadcast:
		s.enqueue(nil, 0, o)
	case opJoin:
		if s.unready(o.id) {
			s.hooks.Joined(s, o.id, o.name, o.at.Position)
			return
		}
		joined, err := s.join(o.id, o.name, o.at)
		switch {
		case err != nil:
			s.Refuse(o.id, o.name, err)
		case joined:
			s.hooks.Joined(s, o.id, o.name, o.at.Position)
		}
	case opLeave:
		if s.unready(o.id) || s.Unsubscribe(o.id, o.name) {
			s.hooks.Left(s, o.id, o.name)
		}
	case opClose:
		if c, ok := s.find(o.id); ok {
			c.flags |= flagLeaving
		}
		if s.jobs.idle() {
			s.closeNow(o)
			return
		}
		// What was published before goes before: a farewell, say.
		j := s.jobs.new()
		closing := *o
		j.closing = &closing
		s.jobs.waiting.push(j)
	case opAuthorized:
		s.authorized(o.id, o.grant)
	case opRespond, opRespondKeep:
		if c, ok := s.find(o.id); ok && c.state == statePlain {
			c.respondPlain(o.bytes, o.kind == opRespondKeep)
		}
	case opCall:
		o.call(s)
	case opSpread:
		s.startSpread(o)
	}
}

// sendMessage sends a message to one connection.
func (c conn) sendMessage(m *hub.Message) (written bool) {
	p := c.s.encoded(m, c.variant())
	if len(p) == 0 {
		return false
	}
	written = c.deliver(p)
	if written && c.windowBits() != 0 {
		c.remember(m)
	}
	return written
}

// dropUnheard ends a publication that has no subscriber here.
func (s *Shard) dropUnheard(o *op) {
	if o.history != nil {
		o.message.Served()
	}
	if o.tally != nil {
		o.tally.Add(0, 0)
	}
}

// closeNow begins to close a connection.
func (s *Shard) closeNow(o *op) {
	o.id = s.Current(o.id) // it may have moved while others were served
	s.hooks.Closing(s, o.id, o.code, o.name)
	if c, ok := s.find(o.id); ok {
		c.closeBehind(o.code, o.name)
	}
}

// Refuse counts a join that the application asked for and that did not happen, and
// reports it to the application. Loop only.
func (s *Shard) Refuse(id netpoll.ID, channel string, err error) {
	s.count.Inc(counters.JoinsRefused)
	s.hooks.OpFailed(s, id, channel, err)
}

// recoverHook turns a panic in the application's code into the end of the connection
// that it was called for: 1011, or 500 before the upgrade.
func (s *Shard) recoverHook(id netpoll.ID, in string) {
	value := recover()
	if value == nil {
		return
	}
	s.count.Inc(counters.Panics)
	s.log.Error("a callback panicked", "in", in, "conn_id", id.String(), "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
	c, ok := s.find(id)
	if !ok {
		return
	}
	err := fmt.Errorf("server: callback %s panicked: %v", in, value)
	switch c.state {
	case stateOpen:
		c.decide(Closed{Code: frame.CloseInternalError, Reason: "internal error", Err: err})
		c.startClose(frame.CloseInternalError, "internal error")
	case stateHead, stateAuthorizing, statePlain:
		c.refuse(err)
	}
}
