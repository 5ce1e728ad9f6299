package protocol

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
)

// What the application decides and answers for the clients of a Keeper, by the rules of the
// commands Connect, Subscribe and Call.

// KeeperConnectTries is how often a client of a Keeper may be turned away before its
// connection ends.
const KeeperConnectTries = connectTries

// Check decides whether a client of a Keeper may connect as r says: Application.Connect is
// asked, as for the command Connect, and its answer checked. r.User is the identity that the
// connection has already. The error is what the client is told. It may block, and may be
// called on any goroutine.
func (rules *Rules) Check(ctx context.Context, id netpoll.ID, r *ConnectRequest) *Error {
	app, before := rules.Application, r.User
	err := rules.mayConnect(r)
	if err == nil && !rules.trusts(r) {
		if err = app.Connect(ctx, r); ctx.Err() != nil {
			err = context.DeadlineExceeded
		}
	}
	if err == nil {
		err = rules.checkAnswer(id, before, r, r.Channels)
	}
	if err == nil && over(r.Expires) {
		err = errExpired
	}
	if err == nil {
		return nil
	}
	e := rules.explain("connect", id, rules.refusal("connect", id, err))
	rules.log(slog.LevelInfo, "a connect was refused", "conn_id", id.String(), "remote_addr", r.RemoteAddr, "name", r.Name, "err", e)
	return e
}

// Asks reports whether Check asks the application, and may block.
func (rules *Rules) Asks(r *ConnectRequest) bool {
	return rules.Application.Connect != nil && !rules.trusts(r)
}

// CheckChannel decides whether a client of a Keeper may enter a channel, as for the command
// Subscribe. It may block, and may be called on any goroutine.
func (rules *Rules) CheckChannel(ctx context.Context, id netpoll.ID, allow []string, r *SubscribeRequest) *Error {
	ns := rules.Namespaces[NamespaceOf(r.Channel)]
	app := rules.Application
	var err error
	switch {
	case CheckChannel(r.Channel, rules.NameMaxBytes) != nil:
		err = CheckChannel(r.Channel, rules.NameMaxBytes)
	case rules.checkJoin(r.Channel) != nil:
		err = rules.checkJoin(r.Channel)
	case Covers(allow, r.Channel):
	case ns == nil || ns.Subscribe == AccessNobody, ns.Subscribe == AccessUsers && r.User == "", ns.Subscribe == AccessGranted && app.Subscribe == nil:
		err = errDenied
	case ns.Subscribe == AccessGranted:
		if err = app.Subscribe(ctx, r); ctx.Err() != nil {
			err = context.DeadlineExceeded
		}
	}
	if err == nil {
		return nil
	}
	return rules.explain("subscribe", id, rules.refusal("subscribe", id, err))
}

// Allowed returns the patterns of channels to which the application has allowed a client to
// subscribe. Loop only.
func (x *Sessions) Allowed(id netpoll.ID) []string {
	if n := x.byID[id]; n != nil {
		return n.allow.Subscribe
	}
	return nil
}

// TurnedAway counts a client that was refused.
func (x *Sessions) TurnedAway(s *shard.Shard) { s.Count(counters.ConnectsRefused) }

// Admit makes a client that was checked one of those to which messages are published, with the
// identity and the channels that the application gave it. It may be called for several
// connects of one connection, each with an answer of its own; first says that none came
// before. The error is what the client is told. Loop only.
func (x *Sessions) Admit(s *shard.Shard, id netpoll.ID, r *ConnectRequest, first bool) *Error {
	before := s.User(id)
	trusted := r.Token == "" && (before != "" || r.User == "")
	if before != "" && before != r.User && !trusted {
		return &Error{Code: CodeUnauthorized, Message: "the connection is that of another user"}
	}
	if r.User != "" && before == "" {
		s.SetUser(id, r.User, nil)
	}
	s.Ready(id)
	if first || !trusted {
		n := x.of(id)
		n.allow, n.rate, n.info = r.Allow, r.MessageRate, r.Info
		x.settle(id)
	}
	for _, name := range r.Channels {
		x.Join(s, id, name)
	}
	return nil
}

// Join subscribes a client of a Keeper to a channel. One that is refused is counted and logged.
// Loop only.
func (x *Sessions) Join(s *shard.Shard, id netpoll.ID, channel string) {
	switch _, _, err := s.Subscribe(id, channel, nil); err {
	case nil:
		x.joined(s, id, channel)
	case shard.ErrSubscribed, shard.ErrNotOpen:
	default:
		s.Refuse(id, channel, err)
	}
}

// Part undoes Join. Loop only.
func (x *Sessions) Part(s *shard.Shard, id netpoll.ID, channel string) {
	x.unsubscribed(s, id, channel, errEnded)
}

// Spend counts a message of a client against the rate that its token gives it: the error says
// when it may send one again. Loop only.
func (x *Sessions) Spend(s *shard.Shard, id netpoll.ID) *Error {
	if n := x.byID[id]; n != nil && n.rate > 0 {
		if wait := n.tokens.Take(s.Clock(), n.rate); wait > 0 {
			s.Count(counters.CommandErrors)
			return errRate(wait)
		}
	}
	return nil
}

func errRate(wait time.Duration) *Error {
	return &Error{Code: CodeLimit, Message: "more messages a second than this client may send", RetryAfter: wait}
}

// Call has the application answer a request of a client of a Keeper, as the command Call
// does: see Question. With an error, r must not be looked at. Loop only.
func (x *Sessions) Call(s *shard.Shard, id netpoll.ID, r *CallRequest, follow Follow, done func(*shard.Shard, netpoll.ID, *Error)) {
	call := x.rules.Application.Call
	if call == nil {
		s.Count(counters.CommandErrors)
		done(s, id, errNoMethod(r.Method))
		return
	}
	r.Client, r.User = x.name(s, id), s.User(id)
	x.Question(s, id, "call", func(ctx context.Context) error {
		if err := call(ctx, r); err != nil {
			return err
		}
		return x.rules.checkJSON("Call", "Reply", r.Reply)
	}, follow, done)
}

// A Follow calls a function on the loop of a client, which may have another connection by then;
// not if it is gone. Any goroutine.
type Follow func(func(s *shard.Shard, id netpoll.ID)) bool

// Question runs work, which may block, on another goroutine, and then calls done with the
// error that the client is told, nil for none. As many of them as Calls are under way for a
// connection: it is not read meanwhile if these are too many. Loop only.
func (x *Sessions) Question(s *shard.Shard, id netpoll.ID, what string, work func(context.Context) error, follow Follow, done func(*shard.Shard, netpoll.ID, *Error)) {
	var once sync.Once
	finish := func(err error) {
		once.Do(func() {
			follow(func(s *shard.Shard, id netpoll.ID) { x.answered(s, id, what, err, done) })
		})
	}
	if !x.rules.ask("Application: "+what, id, work, finish) {
		s.Count(counters.CommandErrors)
		done(s, id, x.rules.explain(what, id, hub.ErrBusy))
		return
	}
	w := x.of(id).wait()
	if w.calls++; w.calls >= callsMax && !w.paused {
		w.paused = true
		s.Pause(id)
	}
}

// answered is what follows the application's answer.
func (x *Sessions) answered(s *shard.Shard, id netpoll.ID, what string, err error, done func(*shard.Shard, netpoll.ID, *Error)) {
	w := x.of(id).wait()
	w.calls--
	if w.paused && w.calls < callsMax {
		w.paused = false
		// What waits is handled at once then, and may come back to here before it returns:
		// everything else is done by then.
		defer s.Unpause(id)
	}
	if w.idle() {
		x.byID[id].waiting = nil
		x.settle(id)
	}
	if err != nil {
		s.Count(counters.CommandErrors)
		done(s, id, x.rules.explain(what, id, x.rules.refusal(what, id, err)))
		return
	}
	done(s, id, nil)
}

// checkNames refuses names, set by the application, of channels that no connection can be in.
func (rules *Rules) checkNames(function string, names []string) error {
	for _, name := range names {
		if err := CheckChannel(name, rules.NameMaxBytes); err != nil {
			rules.log(slog.LevelError, "the application names a channel that cannot be", "function", function, "err", err)
			return errInternal
		}
		if ns := NamespaceOf(name); ns != "" && rules.Namespaces[ns] == nil {
			return &Error{Code: CodeUnknownNamespace, Message: fmt.Sprintf("the application names the channel %.255q, and there is no namespace %q", name, ns)}
		}
	}
	return nil
}
