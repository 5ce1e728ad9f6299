package shard

import (
	"errors"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/proxyproto"
	"github.com/roostws/roost/server/internal/wire"
)

// An Upgrade is a request for a WebSocket on its way through the hooks.
type Upgrade struct {
	ID netpoll.ID
	// Request is valid until Hooks.Upgrade returns.
	Request *handshake.Request
	// Grant is the answer, which the hook fills in.
	Grant Grant
	// Later is set by the hook if the answer comes by Shard.Authorized. The
	// connection is not read until then.
	Later bool
}

// A Grant is the application's answer to an upgrade.
type Grant struct {
	// Err refuses the upgrade; a *handshake.Error says with which status.
	Err error
	// User is the identity of the connection; may be empty.
	User string
	// Subprotocol replaces the one that the policy chose, if not empty.
	Subprotocol string
	// Header are more lines for the 101 response.
	Header []handshake.Header
	// Channels are joined before Hooks.Open is called, except by connections that
	// speak a protocol: they join when they have connected.
	Channels []string
	// Protocol is the number of the connection's protocol: its place in
	// Application.Protocols, from 1, or 0 for raw messages.
	Protocol int
	// Kept is what the hooks keep of the request until Hooks.Open.
	Kept any

	result  handshake.Result
	deflate frame.DeflateParams
	opening *opening // nil for a WebSocket
	// mailbox: the connection has no socket, and no response opens it.
	mailbox bool
}

// handleHead gathers the request head and handles it when it is complete.
func (c conn) handleHead(p []byte) {
	s := c.s
	scanned := 0
	if c.input() != nil {
		// The head comes in pieces.
		x := c.ext()
		scanned = x.headScanned
		c.hold(p)
		p = x.input
	}
	if handshake.IsHEAD(p) {
		c.flags |= flagHEAD
	}
	end := handshake.HeadEnd(p, scanned)
	if end == 0 && len(p) < s.cfg.HandshakeMaxBytes {
		if scanned == 0 {
			if err := handshake.CheckStart(p); err != nil {
				c.refuse(err)
				return
			}
		}
		if c.input() == nil {
			c.hold(p)
		}
		c.makeExt().headScanned = len(p)
		c.takePlace()
		return
	}
	if end == 0 || end > s.cfg.HandshakeMaxBytes {
		c.refuse(handshake.TooLong(p[:s.cfg.HandshakeMaxBytes]))
		return
	}
	if err := handshake.Parse(p[:end], &s.intake.request); err != nil {
		if proxyproto.Begins(p) {
			err = handshake.ErrProxyHeader
		}
		c.refuse(err)
		return
	}
	upgrade := handshake.IsUpgrade(&s.intake.request)
	if !upgrade {
		if f := s.hooks.Fallback(&s.intake.request); f != nil {
			c.handleFallback(f, p, end)
			return
		}
	}
	if c.refused() {
		c.noteFull()
		c.respond(handshake.AppendUnavailable(s.output.replies[:0], s.comeBackAfter(), c.envelope()))
		return
	}
	if !upgrade {
		c.handlePlain(p, end)
		return
	}
	if home := s.homeOf(&s.intake.request); home != nil {
		c.emigrate(home, p)
		return
	}
	if !c.forwarded() {
		return
	}
	c.handleUpgrade(p, end)
}

// refused reports whether there is no room for the connection, or not any more.
func (c conn) refused() bool { return c.flags&flagRefused != 0 || c.leaves() }

// noteFull counts a client that is refused for lack of room.
func (c conn) noteFull() {
	c.s.count.Inc(counters.RefusedFull)
	if !c.s.drain.begun && c.s.full() {
		c.noteRefusal(intake.RefusedFull)
	}
}

func (c conn) handleUpgrade(p []byte, end int) {
	s := c.s
	s.intake.offered = frame.DeflateParams{}
	result, err := handshake.Upgrade(&s.intake.request, &s.intake.policy)
	if err != nil {
		c.refuse(err)
		return
	}
	u := &s.intake.upgrade
	*u = Upgrade{ID: c.id, Request: &s.intake.request, Grant: Grant{result: result, deflate: s.intake.offered}}
	if !s.callUpgrade(c.id, u) {
		return
	}
	if u.Later {
		c.park(p[end:], stateAuthorizing)
		return
	}
	c.finishUpgrade(&u.Grant, p[end:])
}

// callUpgrade asks the application. It returns false after a panic there, which
// the client is told as 500.
func (s *Shard) callUpgrade(id netpoll.ID, u *Upgrade) (ok bool) {
	defer s.recoverHook(id, "Upgrade")
	s.hooks.Upgrade(s, u)
	return true
}

// park lets the connection wait for an answer from elsewhere, unread. rest is kept
// for later.
func (c conn) park(rest []byte, in state) {
	c.setState(in)
	rest = append([]byte(nil), rest...)
	if x := c.ext(); x != nil {
		c.s.putInput(x)
	}
	if len(rest) > 0 {
		c.makeExt().input = rest
	}
	c.dropExt()
	c.vacate()
	c.pause(flagPausedWork)
}

// authorized acts on the answer to a parked upgrade.
func (s *Shard) authorized(id netpoll.ID, g *Grant) {
	c, ok := s.find(id)
	if !ok || c.state != stateAuthorizing {
		return // it timed out or left
	}
	var rest []byte
	if x := c.ext(); x != nil {
		rest, x.input = x.input, nil
	}
	if g.opening != nil {
		defer c.allowPage(g.opening.lines)()
		if n := g.opening.next; n != nil {
			n.rest = append(n.rest, rest...)
		}
		rest = g.opening.Lines
	}
	if c.leaves() && g.Err == nil {
		// The drain has passed this connection and would not close it.
		c.noteFull()
		if g.opening != nil {
			c.respondBusy(g.opening.Fallback, s.comeBackAfter())
			return
		}
		c.respond(handshake.AppendUnavailable(nil, s.comeBackAfter(), c.envelope()))
		return
	}
	c.finishUpgrade(g, rest)
	if c, ok := s.find(id); ok {
		c.resume(flagPausedWork)
	}
}

// joinAll joins the channels that the application gave with the upgrade.
func (s *Shard) joinAll(id netpoll.ID, channels []string) {
	for _, name := range channels {
		if _, err := s.join(id, name, hub.Place{}); err != nil {
			s.Refuse(id, name, err)
			return
		}
	}
}

// appendOpening appends the response to the request that opens the connection, and
// sets the connection's wire.
func (c conn) appendOpening(dst []byte, g *Grant) ([]byte, error) {
	switch {
	case g.mailbox:
		return dst, nil
	case g.opening != nil:
		return c.appendStream(dst, g)
	}
	return handshake.AppendResponse(dst, &g.result, g.Header, c.s.dateNow())
}

// finishUpgrade sends the response and opens the connection. rest is what the
// client sent after the head, or with it.
func (c conn) finishUpgrade(g *Grant, rest []byte) {
	s := c.s
	if g.Err != nil {
		c.refuseGrant(g)
		return
	}
	if g.opening != nil && g.opening.isErrand() {
		c.openMailbox(g)
		return
	}
	if g.Subprotocol != "" {
		g.result.Subprotocol = g.Subprotocol
	}
	answer, err := c.appendOpening(s.output.replies[:0], g)
	s.output.replies = answer[:0]
	if err != nil {
		s.log.Error("the application's answer to an upgrade cannot be sent", "err", err)
		c.refuse(err)
		return
	}
	if len(rest) > 0 {
		// It may lie in ext.input, which ends now.
		rest = append([]byte(nil), rest...)
	}
	if x := c.ext(); x != nil {
		s.putInput(x)
		c.dropExt()
	}
	c.setDeflate(&g.deflate)
	c.setState(stateOpen)
	s.count.Observe(counters.HandshakeTime, time.Duration(micros(s.clock())-c.heardTick)*time.Microsecond)
	c.openedTick = s.deadlines.tick
	c.noteMessage()
	// The user is set and the channels are joined before the 101 is written: once
	// the client has seen that, what is published must reach it.
	c.setUser(g.User)
	if c.setProtocol(g.Protocol); g.Protocol != 0 {
		c.flags |= flagUnready // Ready and Subscribe follow
	} else {
		s.joinAll(c.id, g.Channels)
	}
	if g.opening != nil {
		x, o := c.makeExt(), g.opening
		x.opening = o
		if o.Kind == wire.Poll {
			x.next = o.next
			x.poll = &poll{until: s.deadlines.tick, lines: o.lines}
			if o.Wait > 0 {
				x.poll.until += s.deadlines.ticks(o.Wait)
			}
		}
	}
	n := 0
	if len(answer) > 0 { // a poll has its response later
		if n, err = c.write(answer); err != nil {
			return // OnClose follows
		}
	}
	c.flags |= flagOpened
	c.vacate()
	c.setDeadline(0)
	if every := c.pingEvery(); every > 0 {
		first := s.firstPing(every)
		c.heardTick = first - every
		c.dueBy(first)
	}
	if w := c.poll(); w != nil {
		c.dueBy(max(w.until, s.deadlines.tick+1))
	}
	if s.deadlines.after.idle > 0 && !c.oneWay() {
		c.dueBy(s.deadlines.tick + s.deadlines.after.idle)
	}
	if n < len(answer) {
		c.stall(piece{answer, n, wire.Response}, false)
	}
	s.count.Inc(counters.Connections)
	s.count.Inc(counters.Opened)
	c.countWire(1)
	s.output.replyTo = c.id
	s.callOpen(c.id, g)
	if c.alive() {
		c.flushReplies()
	}
	s.output.replies, s.output.replyTo = s.output.replies[:0], 0
	if len(rest) > 0 && c.isOpen() {
		c.receive(rest)
	}
	if c.isOpen() {
		c.settle()
	}
}

func (s *Shard) callOpen(id netpoll.ID, g *Grant) {
	defer s.recoverHook(id, "Open")
	s.hooks.Open(s, id, g)
}

// Agreed returns the subprotocol that was agreed on, empty for none.
func (g *Grant) Agreed() string { return g.result.Subprotocol }

// refuse responds with an HTTP error and closes.
func (c conn) refuse(err error) {
	c.s.count.Inc(counters.HandshakesRefused)
	if kind, known := refusalOf(err); known {
		c.noteRefusal(kind)
	}
	c.decide(Closed{Code: frame.CloseAbnormal, Reason: "handshake refused", Err: err})
	var known *handshake.Error
	if !errors.As(err, &known) {
		c.s.log.Debug("an upgrade was refused", "conn_id", c.id.String(), "err", err)
	}
	c.respond(handshake.AppendError(c.s.output.replies[:0], err, c.envelope()))
}

// envelope is what the connection's response has beside its content. It is valid
// until the next response.
func (c conn) envelope() handshake.Envelope {
	return handshake.Envelope{Date: c.s.dateNow(), Head: c.flags&flagHEAD != 0, Header: c.s.intake.lines}
}

// dateNow is the value of the Date header.
func (s *Shard) dateNow() []byte { return s.intake.date.At(time.Now()) }

// respond writes a whole HTTP response and closes.
func (c conn) respond(response []byte) {
	c.vacate()
	c.send(response)
	c.shutWhenFlushed()
}

// respondTimeout responds to a client that was too slow, or waited too long for us.
func (c conn) respondTimeout() {
	if c.queued() {
		c.noteRefusal(intake.RefusedHandshakes)
	}
	if x := c.ext(); x != nil && x.opening != nil {
		defer c.allowPage(x.opening.lines)()
		c.respondBusy(x.opening.Fallback, c.s.comeBackAfter())
		return
	}
	env := c.envelope()
	env.Unread = c.state == stateHead && len(c.input()) < len("HEAD ")
	if c.state != stateHead || c.queued() {
		c.respond(handshake.AppendUnavailable(nil, c.s.comeBackAfter(), env))
		return
	}
	if c.input() == nil {
		c.shut() // it has sent nothing
		return
	}
	c.respond(handshake.AppendError(nil, handshake.ErrTimeout, env))
}
