package protocol

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/shard"
)

// connect admits a client, or refuses it.
func (t *task) connect() {
	app := t.x.rules.Application
	if t.s.IsReady(t.id) {
		t.fail(&Error{Code: CodeBadRequest, Message: "connected already"})
		return
	}
	n := t.x.of(t.id)
	r := &ConnectRequest{
		Client: t.x.name(t.s, t.id), Token: cmp.Or(t.cmd.Token, n.token), Name: t.cmd.Name, Data: bytes.Clone(t.cmd.Data), RemoteAddr: t.addr(), User: t.user(),
		Upgrade: n.upgrade,
	}
	switch err := t.x.rules.mayConnect(r); {
	case err != nil:
		t.turnAway(err)
	case t.x.rules.trusts(r):
		t.admitClient(r)
	default:
		t.ask("Application.Connect", func(ctx context.Context) error { return app.Connect(ctx, r) }, func(t *task, err error) {
			if err != nil {
				t.turnAway(t.refusal("connect", err))
				return
			}
			t.admitClient(r)
		})
	}
}

// trusts reports whether a client needs no token and shows none.
func (rules *Rules) trusts(r *ConnectRequest) bool {
	return r.Token == "" && (r.User != "" || rules.Application.Anonymous)
}

// mayConnect refuses a client about whom there is nobody to ask.
func (rules *Rules) mayConnect(r *ConnectRequest) error {
	switch {
	case rules.Application.Connect != nil || rules.trusts(r):
		return nil
	case r.Token != "":
		return &Error{Code: CodeUnauthorized, Message: "this server takes no tokens: connect without one"}
	}
	return &Error{Code: CodeUnauthorized, Message: "this server admits no client without an identity"}
}

// turnAway refuses a connect. The client may try again while there is time, with
// another token a few times only.
func (t *task) turnAway(err error) {
	t.fail(err)
	t.s.Count(counters.ConnectsRefused)
	t.x.log(slog.LevelInfo, "a connect was refused", "conn_id", t.id.String(), "remote_addr", t.addr(), "name", t.cmd.Name, "err", err)
	var known *Error
	if t.s.OneWay(t.id) {
		t.x.shut(t.s, t.id, endOf(t.explain(err)))
		return
	}
	if !errors.As(err, &known) || known.Code != CodeUnauthorized && known.Code != CodeTokenExpired && known.Code != CodePermissionDenied {
		return // not the client's fault
	}
	n := t.x.of(t.id)
	if n.failures++; n.failures >= connectTries {
		t.x.shut(t.s, t.id, EndUnauthorized)
	}
}

// endOf returns why a connection ends whose client can't try again on it.
func endOf(refusal *Error) Ending {
	switch refusal.Code {
	case CodeBusy, CodeTimeout, CodeInternal:
		return EndRefused
	}
	return EndUnauthorized
}

// admitClient makes a client one of those to which messages are published.
func (t *task) admitClient(r *ConnectRequest) {
	n := t.x.of(t.id)
	channels := slices.Concat(n.channels, r.Channels) // both are the application's
	if err := t.x.rules.checkAnswer(t.id, t.user(), r, channels); err != nil {
		t.turnAway(err)
		return
	}
	if over(r.Expires) {
		t.turnAway(errExpired)
		return
	}
	wanted := slices.Concat(channels, t.resumable(r.User, channels))
	if r.User != "" {
		wanted = append(wanted, UserPrefix+r.User)
	}
	// Without its broker the server takes the client all the same, and tells it later where
	// its channels stand.
	t.want(wanted, func(t *task, _ error) { t.admitted(r, channels) })
}

// admitted is what follows when the client's channels are known.
func (t *task) admitted(r *ConnectRequest, channels []string) {
	x, rules := t.x, t.x.rules
	n := x.of(t.id)
	t.s.Ready(t.id)
	if rules.Logger.Enabled(context.Background(), slog.LevelDebug) {
		rules.Logger.Debug("client connected", "conn_id", t.id.String(), "remote_addr", t.addr(), "name", t.cmd.Name, "user", r.User)
	}
	done := Connected{MessageMaxBytes: rules.MessageMaxBytes, SubscriptionsMax: rules.SubscriptionsMax, Client: r.Client, User: r.User, Data: r.Reply, Ping: rules.PingInterval, Expires: expiryAt(r.Expires, time.Now())}
	if r.User != "" {
		done.Channels = append(done.Channels, t.enterUser(r.User))
	}
	x.event(t.s, t.id, Event{Type: EventConnected})
	granted := t.resumable(r.User, channels)
	*n = session{allow: r.Allow, rate: r.MessageRate, info: r.Info, waiting: n.waiting}
	for i, name := range slices.Concat(channels, granted) {
		state, err := t.enter(name, t.resume(name))
		switch {
		case err == nil:
			done.Channels = append(done.Channels, state)
			if i >= len(channels) {
				x.grant(t.s, t.id, name)
			}
		case err != shard.ErrSubscribed: // a channel may be named twice
			t.s.Refuse(t.id, name, err)
		}
	}
	t.s.SetExpiry(t.id, done.Expires.Left)
	t.reply(&Result{Connected: done})
	x.settle(t.id)
}

// checkAnswer refuses an answer of the application that cannot be kept. What the
// same token brings again is permanent: the client has to get another one. before is the
// identity that the connection has already.
func (rules *Rules) checkAnswer(id netpoll.ID, before string, r *ConnectRequest, channels []string) error {
	var err error
	if before != "" && r.User != before {
		err = fmt.Errorf("the connection is that of user %q, the token of user %q", before, r.User)
	} else if r.User != "" {
		err = CheckName("user", r.User, rules.NameMaxBytes)
	} else if !rules.Application.Anonymous {
		return &Error{Code: CodeUnauthorized, Message: "the token names no user"}
	}
	for _, name := range channels {
		if err == nil {
			err = CheckChannel(name, rules.NameMaxBytes)
		}
	}
	for _, name := range r.Channels {
		if ns := NamespaceOf(name); err == nil && ns != "" && rules.Namespaces[ns] == nil {
			rules.log(slog.LevelError, "a token, or the application, names a channel without a namespace", "conn_id", id.String(), "user", r.User, "channel", name)
			return &Error{Code: CodeUnknownNamespace, Message: fmt.Sprintf("the token, or the application, names the channel %.255q, and there is no namespace %q", name, ns)}
		}
	}
	if err != nil {
		rules.log(slog.LevelError, "the application's answer to a connect is invalid", "conn_id", id.String(), "err", err)
		return &Error{Code: CodeUnauthorized, Message: plain(err)}
	}
	if err = errors.Join(rules.checkJSON("Connect", "Reply", r.Reply), rules.checkJSON("Connect", "Info", r.Info)); err != nil {
		rules.log(slog.LevelError, "the application's answer to a connect is invalid", "conn_id", id.String(), "err", err)
		return errInternal
	}
	return nil
}

// resume returns the position that the client gave for a channel at connect.
func (t *task) resume(channel string) *history.Position {
	if at, ok := t.cmd.Resume[channel]; ok {
		return &at
	}
	return nil
}

// enterUser gives the connection its identity, and with it the channel "user:ID".
func (t *task) enterUser(user string) ChannelState {
	channel := UserPrefix + user
	resume := t.resume(channel)
	at, recovered := t.s.SetUser(t.id, user, resume)
	return ChannelState{Channel: channel, Position: at, Resumed: resume != nil, Recovered: recovered}
}

// refresh takes a new token for the connection, or for one of its channels.
func (t *task) refresh() {
	if t.cmd.Channel != "" {
		t.refreshChannel()
		return
	}
	app := t.x.rules.Application
	check := app.Refresh
	if check == nil {
		check = app.Connect
	}
	if check == nil {
		t.fail(&Error{Code: CodeNotAvailable, Message: "this server takes no tokens"})
		return
	}
	user := t.user()
	r := &ConnectRequest{Client: t.x.name(t.s, t.id), Token: t.cmd.Token, User: user, RemoteAddr: t.addr()}
	t.ask("Application.Refresh", func(ctx context.Context) error { return check(ctx, r) }, func(t *task, err error) {
		switch {
		case err != nil:
			t.fail(t.refusal("refresh", err))
			return
		case r.User != user:
			t.fail(&Error{Code: CodeUnauthorized, Message: "the new token is another user's"})
			return
		case over(r.Expires):
			t.fail(errExpired)
			return
		}
		n := t.x.of(t.id)
		n.allow, n.rate = r.Allow, r.MessageRate
		t.x.settle(t.id)
		expires := expiryAt(r.Expires, time.Now())
		t.s.SetExpiry(t.id, expires.Left)
		t.reply(&Result{Expires: expires})
	})
}

// refreshChannel takes a new token for one channel.
func (t *task) refreshChannel() {
	check := t.x.rules.Application.Subscribe
	switch {
	case !t.s.Subscribed(t.id, t.cmd.Channel):
		t.fail(errNotSubscribed)
		return
	case check == nil:
		t.fail(&Error{Code: CodeNotAvailable, Message: "this server takes no tokens for channels"})
		return
	}
	r := t.subscribeRequest()
	t.ask("Application.Subscribe", func(ctx context.Context) error { return check(ctx, r) }, func(t *task, err error) {
		switch {
		case err != nil:
			t.fail(t.refusal("refresh", err))
		case over(r.Expires):
			t.fail(errExpired)
		case !t.s.Subscribed(t.id, t.cmd.Channel):
			t.fail(errNotSubscribed) // it ended meanwhile
		default:
			t.expireChannel(r.Expires)
			t.reply(&Result{Expires: expiryAt(r.Expires, time.Now())})
		}
	})
}
