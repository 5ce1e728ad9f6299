package shard

import (
	"bytes"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/wire"
)

// A Fallback is how a plain HTTP request is served that asks for what others get
// over a WebSocket. The connection is opened as for a WebSocket, and then acts as if
// the commands in the request had arrived on it.
type Fallback struct {
	// Kind is the connection's wire.
	Kind wire.Kind
	// Protocol is the number of its protocol, Subprotocol the name.
	Protocol    int
	Subprotocol string
	// Methods are those that are served, as the Allow header has them.
	Methods string
	// Credentials allows pages of other origins to send cookies.
	Credentials bool
}

// An opening is what a Grant keeps of a request for a fallback.
type opening struct {
	*Fallback
	commands []byte
	lines    []byte // header lines, see allowPage
	// cursor is where the client was in channels that it is about to enter: until all
	// commands are carried out, these are among the positions of its events.
	cursor string
}

// handleFallback handles a request for a fallback, whose head is parsed.
func (c conn) handleFallback(f *Fallback) {
	s := c.s
	r := &s.intake.request
	lines, err := handshake.CheckOrigin(s.intake.lines[:0], r, &s.intake.policy.Origins, f.Credentials)
	defer c.allowPage(lines)()
	switch method := string(r.Method); {
	case err != nil:
		c.refuse(err)
	case method == "OPTIONS":
		c.respond(handshake.AppendPreflight(s.output.replies[:0], lines, f.Methods, c.envelope()))
	case method != "GET" && method != "HEAD":
		c.refuse(handshake.ErrMethod(f.Methods))
	case c.flags&flagRefused != 0 || s.draining:
		c.noteFull()
		c.respondBusy(f)
	case !c.forwarded():
	case method == "HEAD":
		head, _ := handshake.AppendEventStream(s.output.replies[:0], lines, nil, c.envelope())
		c.respond(head)
	default:
		c.openFallback(f, nil)
	}
}

// allowPage gives responses the header lines with which a page may read them, until
// the returned function is called.
func (c conn) allowPage(lines []byte) (end func()) {
	in := &c.s.intake
	in.lines = lines
	return func() { in.lines = in.lines[:0] }
}

// openFallback asks the application and opens the connection.
func (c conn) openFallback(f *Fallback, body []byte) {
	s := c.s
	commands, cursor, err := s.hooks.Commands(&s.intake.request, f, body)
	if err != nil {
		c.refuse(err)
		return
	}
	u := &s.intake.upgrade
	*u = Upgrade{ID: c.id, Request: &s.intake.request, Grant: Grant{
		result:  handshake.Result{Subprotocol: f.Subprotocol},
		opening: &opening{f, commands, bytes.Clone(s.intake.lines), cursor},
	}}
	if !s.callUpgrade(c.id, u) {
		return
	}
	if u.Later {
		c.park(nil, stateAuthorizing)
		return
	}
	c.finishUpgrade(&u.Grant, commands)
}

// streamBegin is what follows the head of an event stream at once: bytes that show
// that nothing on the way holds them back.
const streamBegin = ": ok\n\n"

// retryLeast and retrySpread say after how many milliseconds an EventSource comes
// back by itself: not all at the same moment.
const retryLeast, retrySpread = 1000, 4000

// appendStream appends the head and the first block of an event stream, and makes the
// connection one.
func (c conn) appendStream(dst []byte, g *Grant) ([]byte, error) {
	g.Protocol = g.opening.Protocol // whatever subprotocol the application has named
	dst, err := handshake.AppendEventStream(dst, g.opening.lines, g.Header, handshake.Envelope{Date: c.s.dateNow()})
	if err != nil {
		return dst, err
	}
	c.setKind(g.opening.Kind)
	dst = wire.AppendRetry(dst, retryLeast+c.s.random.Int64N(retrySpread))
	return append(dst, streamBegin...), nil
}

// respondBusy tells a client of a fallback to come back. The status is 200, because
// an EventSource would take any other for the end.
func (c conn) respondBusy(f *Fallback) {
	s, w := c.s, wire.Of(f.Kind)
	response, _ := handshake.AppendEventStream(s.output.replies[:0], s.intake.lines, nil, c.envelope())
	if c.flags&flagHEAD == 0 {
		busy := s.hooks.Busy(nil, f.Protocol, retryAfter)
		response = w.AppendClose(w.AppendMessage(response, frame.OpText, busy), frame.CloseTryAgainLater, busyReason)
	}
	c.respond(response)
}

// busyReason says after how many milliseconds, retryAfter, the client may come back.
const busyReason = "the server is full or stopping; retry=5000"

// settle is called when commands of a request may all have been carried out.
func (c conn) settle() {
	x := c.ext()
	if x == nil || x.opening == nil || x.input != nil || c.state != stateOpen || !c.s.hooks.Settled(c.id) {
		return
	}
	x.opening = nil
	c.dropExt()
}

// Settled notes that nothing is under way any more of what a connection has said. Loop
// only.
func (s *Shard) Settled(id netpoll.ID) {
	if c, ok := s.findOpen(id); ok {
		c.settle()
	}
}

// countWire counts an open connection that is not a WebSocket.
func (c conn) countWire(change int64) {
	if c.kind() == wire.EventStream {
		c.s.count.Add(counters.EventStreams, change)
	}
}

// OneWay reports whether a connection's client can say nothing after its request, so
// that it cannot mend what was wrong with it. Loop only.
func (s *Shard) OneWay(id netpoll.ID) bool {
	c, ok := s.find(id)
	return ok && c.oneWay()
}
