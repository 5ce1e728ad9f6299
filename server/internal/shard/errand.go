package shard

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/wire"
)

// Request is a request's head, as the hooks see it.
type Request = handshake.Request

// Requests to mailboxes. A request may come to any shard: it is carried to the one that
// has the mailbox, and the response comes back. A WebSocket of a client that has a
// mailbox is served where that is, so that its session can move there (Move): the
// shards hand the socket over before it is upgraded.

// serveErrand acts on a request to a mailbox, or for one, whose body has arrived.
func (c conn) serveErrand(o *opening, body []byte) {
	s := c.s
	e, err := s.cfg.Mailboxes.Read(&s.intake.request)
	switch {
	case err != nil:
		c.refuse(err)
		return
	case e.Mailbox == 0:
		c.askUpgrade(o)
		return
	case e.Mailbox.Loop() >= len(s.group.shards):
		c.refuse(s.cfg.Mailboxes.Unknown)
		return
	}
	a := asker{s, c.id, o.responseLines(s.intake.lines)}
	c.hang(o, e.Mailbox)
	body = bytes.Clone(body)
	if err := s.group.shards[e.Mailbox.Loop()].Call(func(home *Shard) {
		if home != nil {
			home.serveAsker(a, e, body)
		}
	}); err != nil {
		c.shut()
	}
}

// responseLines returns lines for the response to a request, which tell its client when
// the connection ends behind it.
func (o *opening) responseLines(lines []byte) []byte {
	if lines = bytes.Clone(lines); o.next == nil {
		lines = append(lines, "Connection: close\r\n"...)
	}
	return lines
}

// hang lets a request wait for its response as long as its mailbox lives.
func (c conn) hang(o *opening, mailbox netpoll.ID) {
	if c.state != statePlain {
		c.setState(statePlain)
	}
	if x := c.ext(); x != nil {
		c.s.putInput(x)
	}
	x := c.makeExt()
	x.next, x.opening, x.mailbox = o.next, nil, mailbox
	c.vacate()
	c.setDeadline(0)
	c.s.count.Inc(counters.PlainRequests)
}

// hungUp tells a mailbox that a request for it has ended without its response.
func (c conn) hungUp() {
	x := c.ext()
	if c.state != statePlain || x == nil || x.mailbox == 0 {
		return
	}
	id, request := x.mailbox, c.id
	_ = c.s.group.shards[id.Loop()].Call(func(home *Shard) {
		if home == nil {
			return
		}
		if b := home.boxes.find(id); b != nil && b.waiter.id == request {
			b.waiter = asker{}
			home.dropMailbox(id, home.cfg.Mailboxes.Farewell)
		}
	})
}

// openMailbox opens a connection without a socket for the client of a request, c, which
// gets what is said first.
func (c conn) openMailbox(g *Grant) {
	s, o := c.s, g.opening
	var b *box
	if !s.drain.begun {
		b = s.boxes.open(s.opened)
	}
	if b == nil || s.group.connections.Add(1) > s.group.limit {
		if b != nil {
			s.group.connections.Add(-1)
			s.boxes.release(b)
		}
		c.noteFull()
		c.respond(handshake.AppendUnavailable(nil, s.comeBackAfter(), c.envelope()))
		return
	}
	i := b.id.Slot()
	s.noteOpened(b.id)
	s.slots.high = max(s.slots.high, i+1)
	s.slots.used++
	s.slots.Rows[i] = slot{generation: b.id.Generation(), openedTick: s.deadlines.tick, heardTick: micros(s.clock())}
	if s.deadlines.expiry.Rows != nil {
		s.deadlines.expiry.Rows[i] = 0
	}
	if s.cfg.MessageRate > 0 {
		s.rates.tokens.Rows[i] = 0
	}
	v := conn{s, b.id, &s.slots.Rows[i]}
	b.remote = s.RemoteAddr(c.id)
	v.setState(stateHead)
	if s.intake.tracked() {
		*v.address() = intake.Address{}
		v.setAddress(b.remote)
		if limits := &s.cfg.Addresses; (limits.Limit > 0 || limits.Rate > 0) && b.remote.IsValid() && !limits.Forwarding.Trusts(b.remote.Addr()) {
			if verdict, retry := s.group.addresses.Admit(v.address(), limits, s.clock(), s.random); verdict != intake.Admitted {
				s.count.Inc(counters.RefusedAddress)
				s.count.Inc(counters.Mailboxes)
				s.boxes.Abort(b.id)
				c.respond(handshake.AppendTooManyRequests(nil, max(retry, time.Second), c.envelope()))
				return
			}
		}
	}
	lines := o.responseLines(o.lines)
	for _, h := range g.Header {
		if handshake.CheckHeader(h) == nil {
			lines = fmt.Appendf(lines, "%s: %s\r\n", h.Name, h.Value)
		}
	}
	s.count.Inc(counters.Mailboxes)
	c.hang(o, b.id)
	b.waiter = asker{s, c.id, lines}
	own := *g
	own.opening, own.mailbox, own.deflate = nil, true, frame.DeflateParams{}
	v.finishUpgrade(&own, nil)
}

// serveAsker acts on a request to a mailbox of this shard.
func (s *Shard) serveAsker(a asker, e Errand, body []byte) {
	b := s.boxes.find(e.Mailbox)
	c, ok := s.find(e.Mailbox)
	if b == nil || !ok || b.key != e.Key || b.gone {
		s.refuseAsker(a, s.cfg.Mailboxes.Unknown)
		return
	}
	switch {
	case e.Post:
		s.takePost(a, c, body)
	case b.waiter.shard != nil:
		// The client has lost track of its requests.
		s.refuseAsker(a, s.cfg.Mailboxes.Unknown)
		s.dropMailbox(b.id, s.cfg.Mailboxes.Farewell)
	default:
		b.waiter = a
		s.boxes.note(b)
	}
}

// takePost takes what a client has posted.
func (s *Shard) takePost(a asker, c conn, body []byte) {
	frames, err := s.cfg.Mailboxes.AppendFrames(nil, body)
	if err == nil && c.flags&flagsPaused != 0 && len(c.input())+len(frames) > 2*s.cfg.MessageMaxBytes {
		err = errHeld // it is not read for a reason of ours, and goes on
	}
	if err == nil && len(frames) > 0 {
		s.OnData(c.id, frames)
	}
	if err != nil || !c.alive() || c.state != stateOpen {
		s.refuseAsker(a, s.cfg.Mailboxes.Unknown)
		if err != nil {
			s.count.Inc(counters.ProtocolErrors)
			s.dropMailbox(c.id, s.cfg.Mailboxes.Farewell)
		}
		return
	}
	a.respond(s.appendMailResponse(nil, a.lines, []byte("ok")), true)
}

var errHeld = &handshake.Error{Status: http.StatusTooManyRequests, Reason: "too much is waiting to be read"}

// refuseAsker refuses a request.
func (s *Shard) refuseAsker(a asker, err error) {
	a.respond(handshake.AppendError(nil, err, handshake.Envelope{Date: s.dateNow(), Header: a.lines}), false)
}

// appendMailResponse appends a response with this content.
func (s *Shard) appendMailResponse(dst, lines, content []byte) []byte {
	dst = append(dst, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\nDate: "...)
	dst = append(append(append(dst, s.dateNow()...), "\r\n"...), lines...)
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(content)), 10)
	return append(append(dst, "\r\n\r\n"...), content...)
}

// serveBoxes gives mail to the requests that wait for it, and ends mailboxes that are
// closed.
func (s *Shard) serveBoxes() {
	if s.boxes == nil {
		return
	}
	for len(s.boxes.ready) > 0 {
		ready := s.boxes.ready
		s.boxes.ready = nil
		for _, b := range ready {
			b.queued = false
			s.serveBox(b)
		}
	}
}

func (s *Shard) serveBox(b *box) {
	if s.boxes.find(b.id) != b {
		return
	}
	if b.gone {
		s.endBox(b)
		return
	}
	if b.waiter.shard == nil || len(b.mail) == 0 && !b.busy {
		return
	}
	mail, rest, over := s.cfg.Mailboxes.AppendMail(nil, b.take())
	b.mail = rest
	if len(mail) == 0 {
		mail = append(mail, s.cfg.Mailboxes.Nothing...)
	}
	b.waiter.respond(s.appendMailResponse(nil, b.waiter.lines, mail), true)
	if c, ok := s.find(b.id); ok && over {
		c.shut() // as the other side of the closing handshake would
	} else if ok && b.full {
		b.full = false
		s.OnWritable(b.id)
	}
}

// endBox ends a mailbox that the shard has closed.
func (s *Shard) endBox(b *box) {
	if b.waiter.shard != nil {
		mail, _, _ := s.cfg.Mailboxes.AppendMail(nil, b.take())
		if len(mail) == 0 {
			mail = append(mail, b.last...)
		}
		b.waiter.respond(s.appendMailResponse(nil, b.waiter.lines, mail), true)
	}
	s.count.Add(counters.Mailboxes, -1)
	s.OnClose(b.id, netpoll.ErrClosed)
	s.boxes.release(b)
}

// dropMailbox ends a connection without a socket; a request that waits gets last. It does
// nothing for others. Loop only.
func (s *Shard) dropMailbox(id netpoll.ID, last string) {
	b := s.boxes.find(id)
	c, ok := s.find(id)
	if b == nil || !ok || b.gone {
		return
	}
	b.last = last
	c.stopLagging()
	c.abort(Closed{Code: frame.CloseAbnormal, Reason: "the client's requests have ended"})
}

// HangUp ends a connection at once whose client has said that it ends, or what it cannot
// have meant. A request that waits at a mailbox gets nothing, or a farewell if the fault is
// the client's. Loop only.
func (s *Shard) HangUp(id netpoll.ID, fault bool) {
	c, ok := s.find(id)
	switch {
	case !ok:
	case s.boxes.find(id) != nil && fault:
		s.dropMailbox(id, s.cfg.Mailboxes.Farewell)
	case s.boxes.find(id) != nil:
		s.dropMailbox(id, s.cfg.Mailboxes.Nothing)
	case fault:
		c.startClose(frame.CloseUnsupportedData, "bad packet")
	default:
		c.decide(Closed{Code: frame.CloseNormal, ByPeer: true})
		c.startClose(frame.CloseNormal, "")
	}
}

// IsMailbox reports whether a connection has no socket. Loop only.
func (s *Shard) IsMailbox(id netpoll.ID) bool { return s.boxes.find(id) != nil }

// Unasked reports whether a connection is a mailbox that no request waits at. Loop only.
func (s *Shard) Unasked(id netpoll.ID) bool {
	b := s.boxes.find(id)
	return b != nil && b.waiter.shard == nil
}

// MailboxKey returns the key of a mailbox. Loop only.
func (s *Shard) MailboxKey(id netpoll.ID) (key uint64, ok bool) {
	if b := s.boxes.find(id); b != nil {
		return b.key, true
	}
	return 0, false
}

// Busy says whether the client of a mailbox tries another connection: then no request
// waits. It reports whether the mailbox is there. Loop only.
func (s *Shard) Busy(id netpoll.ID, busy bool) bool {
	b := s.boxes.find(id)
	if b == nil || b.gone {
		return false
	}
	if b.busy = busy; busy {
		s.boxes.note(b)
	}
	return true
}

// Move moves what belongs to the mailbox from, mail, subscriptions and identity, to the
// open connection to, which has no subscriptions so far: nothing is lost, and nothing
// comes twice. An identity that to has is replaced. then is called when that is done, with
// false if one of them is gone. from ends without Hooks.Closed; what is asked for by its ID
// concerns to from then on. Loop only.
func (s *Shard) Move(from, to netpoll.ID, then func(ok bool)) {
	move := func() {
		switch s.move(from, to) {
		case moved:
			then(true)
		case moveLater:
			s.cfg.After(moveRetry, func() {
				_ = s.Call(func(s *Shard) {
					if s != nil {
						s.Move(from, to, then)
					}
				})
			})
		default:
			then(false)
		}
	}
	if s.jobs.idle() {
		move()
		return
	}
	// Behind what was published before: who gets that is settled.
	j := s.jobs.new()
	j.call = move
	s.jobs.waiting.push(j)
}

// Behind calls f on the loop when what was published before has been handed to its receivers;
// not if the shard ends before. Any goroutine.
func (s *Shard) Behind(f func(*Shard)) error {
	return s.Call(func(s *Shard) {
		if s == nil {
			return
		}
		call := func() {
			defer s.recoverHook(0, "Behind")
			f(s)
		}
		if s.jobs.idle() {
			call()
			return
		}
		j := s.jobs.new()
		j.call = call
		s.jobs.waiting.push(j)
	})
}

// moveRetry is after how long a move is tried again.
const moveRetry = 2 * time.Millisecond

type moveResult int

const (
	moveFailed moveResult = iota
	moveLater
	moved
)

func (s *Shard) move(from, to netpoll.ID) moveResult {
	v, ok := s.findOpen(from)
	c, alive := s.findOpen(to)
	b := s.boxes.find(from)
	if !ok || !alive || b == nil || c.subs != 0 {
		return moveFailed
	}
	for v.flags&flagStalled != 0 {
		if c.flags&flagStalled != 0 && c.ext().pending.bytes > s.cfg.LagMaxBytes {
			return moveFailed // it reads nothing
		}
		c.send(b.take())
		b.full = false
		s.OnWritable(from)
		if v, ok = s.findOpen(from); !ok {
			return moveFailed
		}
	}
	if v.flags&flagLagging != 0 || v.reads() || v.decoder() != nil || v.input() != nil {
		return moveLater
	}
	c.send(b.take())
	for i := v.subs; i != 0; i = s.members.sub(i).next {
		sub := s.members.sub(i)
		s.members.channels[sub.channel].subscribers.at(sub.pos).slot = to.Slot()
	}
	c.subs, v.subs = v.subs, 0
	c.dropUser() // the hook for its own request may have set one: the session's counts
	c.inheritUser(v)
	if v.flags&flagUnready == 0 {
		c.flags &^= flagUnready
	}
	// The client counts the time since the last ping, whatever brought it.
	c.heardTick = v.heardTick
	c.flags |= v.flags & (flagAwaitsPong | flagHeartbeat)
	if due := s.deadlines.Rows[from.Slot()]; due != 0 {
		c.dueBy(due)
	}
	if rows := s.deadlines.expiry.Rows; rows != nil {
		if rows[to.Slot()], rows[from.Slot()] = rows[from.Slot()], 0; rows[to.Slot()] != 0 {
			c.dueBy(rows[to.Slot()])
		}
	}
	b.waiter.respond(s.appendMailResponse(nil, b.waiter.lines, []byte(s.cfg.Mailboxes.Nothing)), true)
	v.flags &^= flagOpened // Closed is not reported: the session goes on
	s.count.Add(counters.Connections, -1)
	s.count.Inc(counters.Closed)
	s.countClose(Closed{Code: frame.CloseNormal, ByPeer: true})
	s.count.Add(counters.Mailboxes, -1)
	if s.intake.tracked() {
		c.address().TakeCount(v.address()) // one that another shard has handed over is not counted
	}
	s.boxes.noteOrigin(to, from)
	s.OnClose(from, nil)
	s.boxes.release(b)
	return moved
}

// inheritUser gives c the identity and the place among the user's connections of v.
func (c conn) inheritUser(v conn) {
	if v.user == 0 {
		return
	}
	s, self := c.s, c.id.Slot()+1
	c.user, c.userNext, c.userPrev, c.userFrom = v.user, v.userNext, v.userPrev, v.userFrom
	if c.userNext != 0 {
		s.slots.Rows[c.userNext-1].userPrev = self
	}
	if c.userPrev != 0 {
		s.slots.Rows[c.userPrev-1].userNext = self
	} else {
		s.users.setHead(c.user, self)
	}
	v.user, v.userNext, v.userPrev, v.userFrom = 0, 0, 0, 0
}

// emigrate hands a connection whose request head is p, and all that came with it, to
// another shard.
func (c conn) emigrate(home *Shard, p []byte) {
	s := c.s
	fd, err := unix.FcntlInt(uintptr(s.loop.FD(c.id)), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		c.respond(handshake.AppendUnavailable(nil, retryAfter, c.envelope()))
		return
	}
	a := &Adoption{FD: fd, Input: bytes.Clone(p), Failed: func(err error) {
		s.log.Debug("a loop refused a connection from another one", "err", err)
	}}
	if s.intake.tracked() {
		a.address = c.address().AddrPort()
	}
	if x := c.ext(); c.flags&flagTLS != 0 && x != nil {
		a.moved, a.cipher = x.tls, bytes.Clone(x.tls.Fed())
		x.tls = nil
		c.flags &^= flagTLS
	}
	c.vacate()
	c.abort(Closed{Code: frame.CloseAbnormal, Reason: "another loop has it"})
	if err := home.Adopt(a); err != nil {
		_ = unix.Close(fd)
	}
}

// homeOf returns the shard that has to serve a request for a WebSocket, nil if this one
// may.
func (s *Shard) homeOf(r *Request) *Shard {
	if s.boxes == nil {
		return nil
	}
	if home := s.cfg.Mailboxes.Home(r); home >= 0 && home != s.index && home < len(s.group.shards) {
		return s.group.shards[home]
	}
	return nil
}

// isErrand reports whether a fallback is served by mailboxes.
func (f *Fallback) isErrand() bool { return f.Kind == wire.Mailbox }
