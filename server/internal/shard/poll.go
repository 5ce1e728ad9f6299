package shard

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/wire"
)

// A long poll is a connection that lives for one request: it is opened as a stream is,
// carries out the commands, and waits as a subscriber until there is something to tell.
// What would be written is gathered; then all of it is the response. No state outlives
// that: the next poll comes with the positions, from any connection to any server.
//
// The socket goes on, under another ID (netpoll.Loop.Renew): what is still on its way
// to this poll does not reach the next, which may be another user's.

// poll is what a connection has while it polls.
type poll struct {
	// elements are those of the response, a comma behind each.
	elements []byte
	// news: among them is what the client does not know already. hushed: what is said
	// now is not.
	news, hushed bool
	queued       bool // in pollQueue.ready
	until        uint32
	lines        []byte // header lines of the response
}

// pollQueue is the polls that may have to be answered, and the connections, of polls
// and of plain requests, that have their response and wait for another ID.
type pollQueue struct {
	ready, answered []netpoll.ID
}

// next is what a connection has that goes on with another request after the response.
type next struct {
	rest []byte         // what came behind the request
	peer netip.AddrPort // before a proxy's header named the client
}

// keep returns what goes on after the response to the request that was read, nil if
// the client wants its connection to end then (RFC 9112, section 9.3). Call it before
// forwarded.
func (c conn) keep(rest []byte) *next {
	r := &c.s.intake.request
	if r.Minor == 0 || r.HasToken("Connection", "close") {
		return nil
	}
	n := &next{rest: bytes.Clone(rest)}
	if c.s.intake.tracked() {
		n.peer = c.address().AddrPort()
	}
	return n
}

const (
	// pollMaxBytes bounds the elements of a response while commands are carried out.
	pollMaxBytes = 4 << 20
	// keepAlive is how long a connection without a request stays.
	keepAlive = time.Minute
)

// poll returns what an open connection has that polls, nil for any other.
func (c conn) poll() *poll {
	if c.kind() == wire.Poll {
		if x := c.ext(); x != nil {
			return x.poll
		}
	}
	return nil
}

// gather takes what would be written to a connection that polls.
func (c conn) gather(p []byte) {
	w := c.poll()
	if w == nil || c.state == stateAnswered {
		return
	}
	w.elements = append(w.elements, p...)
	w.news = w.news || !w.hushed
	c.mayAnswer()
}

// mayAnswer has the poll looked at before the loop waits again.
func (c conn) mayAnswer() {
	if w := c.poll(); w != nil && !w.queued {
		w.queued = true
		c.s.polls.ready = append(c.s.polls.ready, c.id)
	}
}

// Hush says whether what is replied to a connection from now on is news to a client
// that polls. Loop only.
func (s *Shard) Hush(id netpoll.ID, hushed bool) {
	if c, ok := s.find(id); ok {
		if w := c.poll(); w != nil {
			w.hushed = hushed
		}
	}
}

// answerPolls answers those that have something to tell.
func (s *Shard) answerPolls() {
	for len(s.polls.ready) > 0 {
		ready := s.polls.ready
		s.polls.ready = nil
		for _, id := range ready {
			c, ok := s.findOpen(id)
			if !ok {
				continue
			}
			w := c.poll()
			w.queued = false
			switch {
			case len(w.elements) > pollMaxBytes:
				c.startClose(frame.CloseTryAgainLater, slowReason)
			case c.ext().opening != nil:
			case len(w.elements) >= s.cfg.PendingMaxBytes, (w.news || s.deadlines.tick >= w.until) && !c.reads():
				c.answer()
			}
		}
		if s.polls.ready == nil {
			s.polls.ready = ready[:0]
			break
		}
	}
	s.serveBoxes()
}

// answer writes the response, and ends what belongs to the poll.
func (c conn) answer() {
	s, x := c.s, c.ext()
	w := x.poll
	keep := x.next != nil && !c.leaves() && c.state == stateOpen
	response := append(s.output.replies[:0], "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"...)
	if !keep {
		response = append(response, "Connection: close\r\n"...)
	}
	response = append(append(append(response, "Date: "...), s.dateNow()...), "\r\n"...)
	response = append(response, w.lines...)
	cursor := cursor{dst: append(response, "Last-Event-ID: "...)}
	if c.writeCursor(&cursor); len(cursor.dst) > cursor.start {
		response = append(cursor.dst, "\r\n"...)
	}
	n := max(len(w.elements)-1, 0) // without the last comma
	response = strconv.AppendInt(append(response, "Content-Length: "...), int64(n+2), 10)
	response = append(append(response, "\r\n\r\n["...), w.elements[:n]...)
	response = append(response, ']')
	s.output.replies = response[:0]
	w.elements = nil
	s.count.Inc(counters.PollsAnswered)
	if keep {
		c.endSession(Closed{Code: frame.CloseNormal, Reason: "polled"})
	}
	c.setState(stateAnswered)
	c.setDeadline(s.deadlines.tick + s.deadlines.after.close)
	n, err := c.writeSocket(response) // after an error OnClose follows
	if err == nil && n < len(response) {
		c.stall(piece{response, n, wire.Response}, false)
	}
	if err == nil && !keep {
		c.shutWhenFlushed()
	} else if err == nil {
		c.renewSoon()
	}
}

// renewSoon lets a connection that has its response, if nothing of it waits, go on
// behind everything else of this turn.
func (c conn) renewSoon() {
	if c.flags&flagStalled == 0 {
		c.s.polls.answered = append(c.s.polls.answered, c.id)
		c.s.loop.Wake()
	}
}

// endSession ends what a connection has in the protocol; the connection itself goes on.
func (c conn) endSession(why Closed) {
	s := c.s
	why.Age = time.Duration(s.deadlines.tick-c.openedTick) * s.cfg.TickInterval
	s.count.Add(counters.Connections, -1)
	c.countWire(-1)
	s.count.Inc(counters.Closed)
	s.countClose(why)
	s.callClosed(c.id, why)
	c.flags &^= flagOpened
	c.stopLagging()
	c.stopReadingAll()
	c.leaveAll()
	c.dropUser()
	if s.deadlines.expiry.Rows != nil {
		s.deadlines.expiry.Rows[c.id.Slot()] = 0
	}
}

// finishPolls answers polls and goes on with the connections of those that are
// answered. It reports whether more can be done now.
func (s *Shard) finishPolls() (again bool) {
	s.answerPolls()
	s.renewPolls()
	return len(s.polls.ready)+len(s.polls.answered) > 0
}

// renewPolls goes on with the connections that have their response.
func (s *Shard) renewPolls() {
	answered := s.polls.answered
	s.polls.answered = nil
	for _, id := range answered {
		if s.inbox.entries.Load() > 0 {
			s.takeInbox() // as OnOpen does: what came before is not for the next request
		}
		if c, ok := s.find(id); ok && c.state == stateAnswered && c.flags&flagStalled == 0 {
			c.renew()
		}
	}
}

// renew makes a connection that has its response ready for the next request.
func (c conn) renew() {
	s, x := c.s, c.ext()
	if c.leaves() {
		c.shut()
		return
	}
	id := s.loop.Renew(c.id)
	if id == 0 {
		c.shut()
		return
	}
	s.opened = id.Generation()
	n := x.next
	if c.flags&flagsPaused != 0 {
		// What the pause was for is over. Lists of paused connections have the old ID.
		s.count.Add(counters.Paused, -1)
		s.loop.ResumeRead(id)
	}
	if s.intake.tracked() && c.address().AddrPort() != n.peer {
		c.setAddress(n.peer)
	}
	*x = ext{tls: x.tls}
	*c.slot = slot{generation: id.Generation(), state: c.state, flags: c.flags & flagTLS, rare: c.rare, openedTick: s.deadlines.tick}
	c = conn{s, id, c.slot}
	s.noteOpened(id)
	c.setKind(wire.WebSocket)
	c.setState(stateKept)
	c.setDeadline(s.deadlines.tick + s.deadlines.after.keepAlive)
	if len(n.rest) > 0 {
		c.onPlain(n.rest)
	}
	if c.current() {
		c.dropExt()
	}
}

// begin begins another request on a connection that was kept.
func (c conn) begin(p []byte) {
	c.setState(stateHead)
	c.openedTick, c.heardTick = c.s.deadlines.tick, micros(c.s.clock())
	c.setDeadline(c.s.deadlines.tick + c.s.deadlines.after.handshake)
	c.handleHead(p)
}

// pipeline keeps what came behind the request.
func (c conn) pipeline(p []byte) {
	x := c.ext()
	if x == nil || x.next == nil {
		return // nothing is wanted behind the request: the response ends the connection
	}
	n := x.next
	if n.rest = append(n.rest, p...); len(n.rest) > c.s.cfg.HandshakeMaxBytes && c.flags&flagPausedOutput == 0 {
		c.pause(flagPausedOutput) // until renew
	}
}

// expirePoll answers a poll whose time is over.
func (c conn) expirePoll(w *poll) {
	if c.expireToken() {
		return
	}
	if c.s.deadlines.tick < w.until {
		c.dueBy(w.until)
		return
	}
	c.mayAnswer()
}
