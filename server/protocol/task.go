package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
)

// A task is one command while it is carried out.
type task struct {
	x   *Sessions
	s   *shard.Shard
	id  netpoll.ID
	cmd Command
}

// Message acts on a message from a client, or queues it behind a command that
// waits for the application.
func (x *Sessions) Message(s *shard.Shard, id netpoll.ID, p []byte, binary bool) {
	if n := x.byID[id]; n != nil && n.waiting != nil && (n.waiting.asking || len(n.waiting.queue) > 0) {
		x.wait(s, id, n, p, binary)
		return
	}
	if !x.handle(s, id, p, binary) {
		x.wait(s, id, x.of(id), p, binary)
	}
}

// handle carries out the commands of a message. It returns false if the message
// has to wait for a call to end. One whose first command makes the next ones wait
// is cut in two: the rest goes to the head of the queue.
func (x *Sessions) handle(s *shard.Shard, id netpoll.ID, p []byte, binary bool) bool {
	c := x.codec(s, id)
	if k, ok := c.(Keeper); ok {
		k.Received(s, id, p, binary)
		return true
	}
	if c == nil {
		return true
	}
	for {
		t := &x.task
		*t = task{x: x, s: s, id: id}
		rest, err := c.Decode(p, binary, &t.cmd)
		if err == nil && t.cmd.Kind == Call && s.IsReady(id) {
			if n := x.byID[id]; n != nil && n.waiting != nil && n.waiting.calls >= callsMax {
				return false
			}
		}
		t.begin(err)
		t.cmd = Command{}
		if len(rest) == 0 || !s.IsOpen(id) {
			return true
		}
		if n := x.byID[id]; n != nil && n.asking() {
			x.wait(s, id, n, rest, binary)
			return true
		}
		p = rest
	}
}

// begin refuses a command that may not be carried out, and acts on others. err is
// what Decode returned.
func (t *task) begin(err error) {
	var ending Ending
	switch {
	case errors.As(err, &ending):
		t.x.shut(t.s, t.id, ending)
	case err != nil:
		t.fail(err)
		if t.cmd.Kind == Connect && t.s.OneWay(t.id) {
			t.x.shut(t.s, t.id, EndMalformed) // it can't send another
		}
	case t.cmd.Kind == 0:
		t.s.Heartbeat(t.id)
	case t.cmd.Kind != Connect && !t.s.IsReady(t.id):
		t.fail(&Error{Code: CodeUnauthorized, Message: "connect first"})
	case t.tooDeep() != nil:
		t.fail(t.tooDeep())
	default:
		if wait := t.spendToken(); wait > 0 {
			t.fail(errRate(wait))
			return
		}
		t.act()
	}
}

// tooDeep refuses data that the application, or subscribers, could not read.
func (t *task) tooDeep() error {
	return CheckDepth(t.cmd.Kind.String()+".data", t.cmd.Data, t.x.rules.DataMaxDepth)
}

// spendToken counts the command against the rate that the client's token gives it.
// It returns after how long the client may send one again, 0 if it may.
func (t *task) spendToken() (wait time.Duration) {
	n := t.x.byID[t.id]
	if n == nil || n.rate == 0 {
		return 0
	}
	return n.tokens.Take(t.s.Clock(), n.rate)
}

func (t *task) act() {
	switch t.cmd.Kind {
	case Connect:
		t.connect()
	case Subscribe:
		t.subscribe()
	case Unsubscribe:
		t.unsubscribe()
	case Publish:
		t.publish()
	case Presence:
		t.presence()
	case History:
		t.history()
	case Call:
		t.call()
	case Refresh:
		t.refresh()
	case Ack:
		t.ack()
	}
}

// reply sends the result, if the client wants a reply.
func (t *task) reply(r *Result) {
	if t.cmd.ID == 0 {
		return
	}
	if c := t.x.codec(t.s, t.id); c != nil {
		c.Reply(&t.x.out, &t.cmd, r)
		t.s.Hush(t.id, t.isKnown(r))
		t.x.flush(t.s, t.id)
		t.s.Hush(t.id, false)
	}
}

// isKnown reports whether a result tells nothing that a client does not know which has
// resumed: a poll waits for more.
func (t *task) isKnown(r *Result) bool {
	known := func(s *ChannelState) bool { return s.Recovered || s.Position.Epoch == "" }
	switch t.cmd.Kind {
	case Connect:
		for i := range r.Connected.Channels {
			if !known(&r.Connected.Channels[i]) {
				return false
			}
		}
		return true
	case Subscribe:
		return known(&r.Channel)
	}
	return false
}

// fail tells the client what went wrong.
func (t *task) fail(err error) {
	e := t.explain(err)
	if t.cmd.Kind == Subscribe && e.temporary() {
		t.s.KeepPosition(t.id, t.cmd.Channel) // it resumes when it comes back
	}
	t.s.Count(counters.CommandErrors)
	t.x.say(t.s, t.id, func(c Codec, out *Packets) { c.Error(out, t.cmd.ID, e) })
}

// explain returns err as the client may be told it.
func (t *task) explain(err error) *Error {
	return t.x.rules.explain(t.cmd.Kind.String(), t.id, err)
}

func (rules *Rules) explain(command string, id netpoll.ID, err error) *Error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, broker.ErrUnavailable):
		return errNoBroker
	case errors.Is(err, broker.ErrUnknown):
		return &Error{Code: CodeTimeout, Message: "the broker did not answer"}
	case errors.Is(err, hub.ErrBusy):
		return &Error{Code: CodeBusy, Message: "the server is busy", RetryAfter: time.Second}
	case errors.Is(err, netpoll.ErrEngineClosed):
		return &Error{Code: CodeBusy, Message: "the server is shutting down; nothing was done", RetryAfter: time.Second}
	case errors.Is(err, ErrBadName):
		return &Error{Code: CodeBadRequest, Message: plain(err)}
	case errors.Is(err, shard.ErrTooManySubscriptions):
		return &Error{Code: CodeLimit, Message: "the connection is in as many channels as it may be"}
	case errors.Is(err, shard.ErrSubscribed):
		return &Error{Code: CodeAlreadySubscribed, Message: "subscribed already"}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Message: "it took too long"}
	case errors.Is(err, ErrMessageTooBig):
		return &Error{Code: CodeLimit, Message: "the message is too big"}
	}
	rules.log(slog.LevelError, "a command of a client failed", "conn_id", id.String(), "command", command, "err", err)
	return errInternal
}

var errInternal = &Error{Code: CodeInternal, Message: "something went wrong in the server"}

// errNotJSON: what a function of the application has set would break the message
// that it becomes a part of.
var errNotJSON = errors.New("not valid JSON")

// errTooDeep: JSON that the application has set is nested too deep.
var errTooDeep = errors.New("nested too deep")

// checkJSON refuses what the application has set if it is neither JSON that
// receivers can read nor nothing. function and field name it.
func (rules *Rules) checkJSON(function, field string, value []byte) error {
	if len(value) != 0 && !(json.Valid(value) && utf8.Valid(value)) {
		return fmt.Errorf("server: Application.%s has set %s to %.40q: %w", function, field, value, errNotJSON)
	}
	if n := jsonx.Depth(value); n > rules.DataMaxDepth {
		return fmt.Errorf("server: Application.%s has set %s to JSON %d deep, DataMaxDepth is %d: %w", function, field, n, rules.DataMaxDepth, errTooDeep)
	}
	return nil
}

// refusal returns an error of the application as the client is told it.
func (t *task) refusal(what string, err error) error { return t.x.rules.refusal(what, t.id, err) }

func (rules *Rules) refusal(what string, id netpoll.ID, err error) error {
	var known *Error
	if errors.As(err, &known) || errors.Is(err, errGone) || errors.Is(err, errNotJSON) || errors.Is(err, errNotBase64) || errors.Is(err, errTooDeep) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, hub.ErrBusy) {
		return err
	}
	rules.log(slog.LevelInfo, "the application refused a client", "what", what, "conn_id", id.String(), "err", err)
	return errDenied
}

// plain returns the text of an error for clients, without the names of packages.
func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "server: ")
	return strings.TrimPrefix(text, "bad name: ")
}

// addr returns the client's address. It is looked up, on the loop.
func (t *task) addr() netip.AddrPort { return t.s.RemoteAddr(t.id) }

// user returns the client's identity, empty if it has none.
func (t *task) user() string { return t.s.User(t.id) }

// Errors that clients are told in several places.
var (
	errDenied        = &Error{Code: CodePermissionDenied, Message: "permission denied"}
	errExpired       = &Error{Code: CodeTokenExpired, Message: "the token has expired"}
	errNotSubscribed = &Error{Code: CodeNotSubscribed, Message: "not subscribed"}
	// errEnded: the application has ended a subscription.
	errEnded = &Error{Code: CodePermissionDenied, Message: "ended by the application"}
)

// over reports that a moment was set and has come.
func over(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
