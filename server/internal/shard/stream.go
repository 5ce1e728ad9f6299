package shard

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

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
	Said
	lines []byte // header lines, see allowPage
	next  *next  // nil if the connection ends with the response
	// lastID is the ID of the last reply.
	lastID []byte
	// failed are channels that the client could not enter for now.
	failed []string
}

// Said is what a request says.
type Said struct {
	// Lines are commands of the protocol, one a line, for Hooks.Message.
	Lines []byte
	// Cursor is what the client has come back with, valid or empty. Until all commands
	// are carried out, its positions in channels that the client is about to enter are
	// among those of its events.
	Cursor string
	// Token is the client's where the commands have none. It is not logged.
	Token string
	// Wait is how long a poll waits for something to tell.
	Wait time.Duration
}

// Token returns the token beside the commands of a request for a fallback.
func (g *Grant) Token() string {
	if g.opening == nil {
		return ""
	}
	return g.opening.Token
}

// handleFallback handles a request for a fallback, whose head is parsed.
func (c conn) handleFallback(f *Fallback, p []byte, end int) {
	s := c.s
	r := &s.intake.request
	lines, err := handshake.CheckOrigin(s.intake.lines[:0], r, &s.intake.policy.Origins, f.Credentials)
	defer c.allowPage(lines)()
	switch method := string(r.Method); {
	case err != nil:
		c.refuse(err)
	case method == "OPTIONS":
		c.respond(handshake.AppendPreflight(s.output.replies[:0], lines, f.Methods, c.envelope()))
	case f.isErrand() && !c.refused():
		c.readBody(p, end, f)
	case !f.serves(method):
		c.refuse(handshake.ErrMethod(f.Methods))
	case c.refused():
		c.noteFull()
		c.respondBusy(f, s.comeBackAfter())
	case method == "HEAD":
		head, _ := handshake.AppendEventStream(s.output.replies[:0], lines, nil, c.envelope())
		c.respond(head)
	default:
		c.readBody(p, end, f)
	}
}

// serves reports whether f is for this method.
func (f *Fallback) serves(method string) bool {
	for name := range strings.SplitSeq(f.Methods, ", ") {
		if name == method {
			return true
		}
	}
	return false
}

// serveFallback opens a connection for a request that has arrived.
func (c conn) serveFallback(f *Fallback, body, rest []byte) {
	s := c.s
	lines, err := handshake.CheckOrigin(s.intake.lines[:0], &s.intake.request, &s.intake.policy.Origins, f.Credentials)
	defer c.allowPage(lines)()
	o := &opening{Fallback: f, next: c.keep(rest)}
	switch {
	case err != nil:
		c.refuse(err)
	case !c.forwarded():
	case f.isErrand():
		c.serveErrand(o, body)
	default:
		c.openFallback(o, body)
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
func (c conn) openFallback(o *opening, body []byte) {
	s, err := c.s, error(nil)
	if o.Said, err = s.hooks.Commands(&s.intake.request, o.Fallback, body); err != nil {
		c.refuse(err)
		return
	}
	c.askUpgrade(o)
}

// askUpgrade asks the application whether it takes the client.
func (c conn) askUpgrade(o *opening) {
	s := c.s
	o.lines = bytes.Clone(s.intake.lines)
	u := &s.intake.upgrade
	*u = Upgrade{ID: c.id, Request: &s.intake.request, Grant: Grant{
		result:  handshake.Result{Subprotocol: o.Subprotocol},
		opening: o,
	}}
	if !s.callUpgrade(c.id, u) {
		return
	}
	if u.Later {
		c.makeExt().opening = o // for respondTimeout
		c.park(nil, stateAuthorizing)
		return
	}
	c.finishUpgrade(&u.Grant, o.Lines)
}

// streamBegin is what follows the head of an event stream at once: bytes that show
// that nothing on the way holds them back.
const streamBegin = ": ok\n\n"

// retryLeast and retrySpread say after how many milliseconds an EventSource comes
// back by itself: not all at the same moment.
const retryLeast, retrySpread = 1000, 4000

// appendStream makes the connection one of the fallback's wire, and appends what an
// event stream begins with.
func (c conn) appendStream(dst []byte, g *Grant) ([]byte, error) {
	g.Protocol = g.opening.Protocol // whatever subprotocol the application has named
	if c.setKind(g.opening.Kind); g.opening.Kind == wire.Poll {
		return dst, nil // the response follows when there is one
	}
	dst, err := handshake.AppendEventStream(dst, g.opening.lines, g.Header, handshake.Envelope{Date: c.s.dateNow()})
	if err != nil {
		return dst, err
	}
	dst = wire.AppendRetry(dst, retryLeast+c.s.random.Int64N(retrySpread))
	return append(dst, streamBegin...), nil
}

// respondBusy tells a client of a fallback to come back after some time. The status is
// 200, because an EventSource would take any other for the end.
func (c conn) respondBusy(f *Fallback, after time.Duration) {
	if f.isErrand() {
		c.respond(handshake.AppendUnavailable(c.s.output.replies[:0], after, c.envelope()))
		return
	}
	s, w := c.s, wire.Of(f.Kind)
	appendBusy := func(dst []byte) []byte {
		dst = w.AppendMessage(dst, frame.OpText, s.hooks.Busy(nil, f.Protocol, after))
		return w.AppendClose(dst, frame.CloseTryAgainLater, fmt.Sprintf("the server is full or stopping; retry=%d", after.Milliseconds()))
	}
	if f.Kind == wire.Poll {
		busy := appendBusy([]byte("["))
		busy[len(busy)-1] = ']'
		c.respond(append(handshake.AppendJSON(s.output.replies[:0], s.intake.lines, len(busy), c.envelope()), busy...))
		return
	}
	response, _ := handshake.AppendEventStream(s.output.replies[:0], s.intake.lines, nil, c.envelope())
	if c.flags&flagHEAD == 0 {
		response = appendBusy(response)
	}
	c.respond(response)
}

// refuseGrant refuses a request whose Grant has an error.
func (c conn) refuseGrant(g *Grant) {
	var refusal *handshake.Error
	if g.opening != nil && errors.As(g.Err, &refusal) && refusal.Status == http.StatusServiceUnavailable {
		c.s.count.Inc(counters.HandshakesRefused)
		after := refusal.RetryAfter
		if after == 0 {
			after = c.s.comeBackAfter()
		}
		c.respondBusy(g.opening.Fallback, after)
		return
	}
	c.refuse(g.Err)
}

// settle is called when commands of a request may all have been carried out.
func (c conn) settle() {
	x := c.ext()
	if x == nil || x.opening == nil || x.input != nil || c.state != stateOpen || !c.s.hooks.Settled(c.id) {
		return
	}
	x.old = partsOf(x.opening.Cursor, x.opening.failed)
	x.opening = nil
	c.mayAnswer()
	c.dropExt()
}

// KeepPosition keeps the client's old position in a channel that it could not enter for
// now among those of its events: it comes back with that, and resumes. It does nothing
// for a WebSocket, whose client knows its positions. Loop only.
func (s *Shard) KeepPosition(id netpoll.ID, channel string) {
	if c, ok := s.find(id); ok {
		if x := c.ext(); x != nil && x.opening != nil && x.opening.Cursor != "" {
			x.opening.failed = append(x.opening.failed, channel)
		}
	}
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
	switch c.kind() {
	case wire.EventStream:
		c.s.count.Add(counters.EventStreams, change)
	case wire.Poll:
		c.s.count.Add(counters.Polls, change)
	}
}

// OneWay reports whether a connection's client can say nothing after its request, so
// that it cannot mend what was wrong with it. Loop only.
func (s *Shard) OneWay(id netpoll.ID) bool {
	c, ok := s.find(id)
	return ok && c.oneWay()
}

// Polls reports whether a connection lives for one request only. Loop only.
func (s *Shard) Polls(id netpoll.ID) bool {
	c, ok := s.find(id)
	return ok && c.kind() == wire.Poll
}
