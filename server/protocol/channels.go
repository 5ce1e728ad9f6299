package protocol

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/shard"
)

// namespace returns the rules of the command's channel.
func (t *task) namespace() (*Namespace, error) {
	if err := CheckName("channel", t.cmd.Channel, t.x.rules.NameMaxBytes); err != nil {
		return nil, err
	}
	name := NamespaceOf(t.cmd.Channel)
	if ns := t.x.rules.Namespaces[name]; ns != nil {
		return ns, nil
	}
	if name == "" || name == "user" {
		return &plainNamespace, nil
	}
	return nil, &Error{Code: CodeUnknownNamespace, Message: fmt.Sprintf("there is no namespace %q", name)}
}

// verdict is what the access rules say.
type verdict int

const (
	denied verdict = iota
	granted
	askApplication
)

// may judges by the namespace's rule and the connection's permissions.
func (t *task) may(access Access, patterns func(*Permissions) []string) verdict {
	if n := t.x.byID[t.id]; n != nil && Covers(patterns(&n.allow), t.cmd.Channel) {
		return granted
	}
	switch {
	case access == AccessAnyone:
		return granted
	case access == AccessUsers && t.user() != "":
		return granted
	case access == AccessGranted:
		return askApplication
	}
	return denied
}

// inside reports whether the client is in the channel of its command.
func (t *task) inside() bool {
	if user, ok := strings.CutPrefix(t.cmd.Channel, UserPrefix); ok {
		return user != "" && user == t.user()
	}
	return t.s.Subscribed(t.id, t.cmd.Channel)
}

// subscribe makes the client a subscriber.
func (t *task) subscribe() {
	ns, err := t.namespace()
	if err == nil {
		err = t.x.rules.checkJoin(t.cmd.Channel)
	}
	if err != nil {
		t.fail(err)
		return
	}
	if strings.HasPrefix(t.cmd.Channel, UserPrefix) {
		if t.inside() {
			t.fail(shard.ErrSubscribed)
		} else {
			t.fail(errDenied)
		}
		return
	}
	v := t.may(ns.Subscribe, func(p *Permissions) []string { return p.Subscribe })
	check := t.x.rules.Application.Subscribe
	switch {
	case t.s.Subscribed(t.id, t.cmd.Channel):
		t.fail(shard.ErrSubscribed)
	case v == granted:
		t.subscribeNow(time.Time{})
	case v == denied || check == nil:
		t.fail(errDenied)
	default:
		r := t.subscribeRequest()
		t.ask("Application.Subscribe", func(ctx context.Context) error { return check(ctx, r) }, func(t *task, err error) {
			if err != nil {
				t.fail(t.refusal("subscribe", err))
				return
			}
			t.subscribeNow(r.Expires)
		})
	}
}

func (t *task) subscribeRequest() *SubscribeRequest {
	return &SubscribeRequest{Client: t.x.name(t.s, t.id), User: t.user(), Channel: t.cmd.Channel, Token: t.cmd.Token}
}

// subscribeNow subscribes the client, until the token expires.
func (t *task) subscribeNow(expires time.Time) {
	if over(expires) {
		t.fail(errExpired)
		return
	}
	t.want([]string{t.cmd.Channel}, func(t *task, err error) {
		var state ChannelState
		if err == nil {
			state, err = t.enter(t.cmd.Channel, t.cmd.since())
		}
		if err != nil {
			t.fail(err)
			return
		}
		t.expireChannel(expires)
		state.Expires = expiryAt(expires, time.Now())
		t.reply(&Result{Channel: state})
	})
}

// expireChannel notes when the subscription ends.
func (t *task) expireChannel(expires time.Time) {
	if n := t.x.byID[t.id]; expires.IsZero() && (n == nil || n.expires == nil) {
		return
	}
	n := t.x.of(t.id)
	if expires.IsZero() {
		delete(n.expires, t.cmd.Channel)
		t.x.settle(t.id)
		return
	}
	if n.expires == nil {
		n.expires = map[string]time.Time{}
	}
	n.expires[t.cmd.Channel] = expires
	t.x.due(expires)
}

// enter subscribes the connection and tells the others.
func (t *task) enter(channel string, resume *history.Position) (ChannelState, error) {
	at, recovered, err := t.s.Subscribe(t.id, channel, resume)
	if err != nil {
		return ChannelState{}, err
	}
	t.x.joined(t.s, t.id, channel)
	return ChannelState{Channel: channel, Position: at, Resumed: resume != nil, Recovered: recovered}, nil
}

// unsubscribe ends a subscription at the client's wish.
func (t *task) unsubscribe() {
	if strings.HasPrefix(t.cmd.Channel, UserPrefix) {
		t.fail(&Error{Code: CodePermissionDenied, Message: "the channel of a user can't be left"})
		return
	}
	if !t.s.Unsubscribe(t.id, t.cmd.Channel) {
		t.fail(errNotSubscribed)
		return
	}
	t.x.forget(t.s, t.id, t.cmd.Channel)
	t.x.left(t.s, t.id, t.cmd.Channel)
	t.reply(&Result{})
}

// SubscribeByServer subscribes a connection, of whatever protocol, at the
// application's wish. It returns where the channel stands, an empty position without
// history or if the connection was not subscribed.
func (x *Sessions) SubscribeByServer(s *shard.Shard, id netpoll.ID, channel string) (at history.Position) {
	at, _, err := s.Subscribe(id, channel, nil)
	switch {
	case err == shard.ErrTooManySubscriptions:
		s.Refuse(id, channel, err)
	case err == nil:
		x.joined(s, id, channel)
		x.grant(s, id, channel)
		x.saySubscribed(s, id, channel, at)
	}
	return at
}

// ResumeByServer subscribes a connection of a Keeper to a channel with history, if all that
// was published there since a position can follow; else it does nothing, and returns false.
// ready is called before the application is told.
func (x *Sessions) ResumeByServer(s *shard.Shard, id netpoll.ID, channel string, since history.Position, ready func()) bool {
	_, recovered, err := s.Subscribe(id, channel, &since)
	if err != nil {
		return false
	}
	if !recovered {
		s.Unsubscribe(id, channel)
		return false
	}
	ready()
	x.joined(s, id, channel)
	return true
}

// UnsubscribeByServer ends a subscription at the application's wish.
func (x *Sessions) UnsubscribeByServer(s *shard.Shard, id netpoll.ID, channel string) {
	x.unsubscribed(s, id, channel, errEnded)
}

// JoinRefused logs a join at the application's wish that failed.
func (x *Sessions) JoinRefused(id netpoll.ID, channel string, err error) {
	x.log(slog.LevelWarn, "join refused", "conn_id", id.String(), "channel", channel, "err", err)
}

// Joined follows Conn.Join. A connection that has not connected joins when it does.
func (x *Sessions) Joined(s *shard.Shard, id netpoll.ID, channel string, at history.Position) {
	if x.codec(s, id) == nil || s.IsReady(id) {
		x.joined(s, id, channel)
		x.grant(s, id, channel)
		x.saySubscribed(s, id, channel, at)
		return
	}
	n := x.of(id)
	if len(n.channels) >= x.rules.SubscriptionsMax {
		s.Refuse(id, channel, shard.ErrTooManySubscriptions)
		return
	}
	n.channels = append(slices.Clip(n.channels), channel)
}

// Left follows Conn.Leave.
func (x *Sessions) Left(s *shard.Shard, id netpoll.ID, channel string) {
	if x.codec(s, id) != nil && !s.IsReady(id) {
		n := x.of(id)
		n.channels = slices.DeleteFunc(slices.Clone(n.channels), func(name string) bool { return name == channel })
		return
	}
	x.ended(s, id, channel, errEnded)
}

// unsubscribed ends a subscription at the server's wish.
func (x *Sessions) unsubscribed(s *shard.Shard, id netpoll.ID, channel string, why *Error) {
	if s.Unsubscribe(id, channel) {
		x.ended(s, id, channel, why)
	}
}

// ended tells of a subscription that the server has ended.
func (x *Sessions) ended(s *shard.Shard, id netpoll.ID, channel string, why *Error) {
	x.forget(s, id, channel)
	x.left(s, id, channel)
	x.say(s, id, func(c Codec, out *Packets) { c.Unsubscribed(out, channel, why) })
}

func (x *Sessions) saySubscribed(s *shard.Shard, id netpoll.ID, channel string, at history.Position) {
	x.say(s, id, func(c Codec, out *Packets) { c.Subscribed(out, &ChannelState{Channel: channel, Position: at}) })
}

// forget drops what was remembered of a subscription.
func (x *Sessions) forget(s *shard.Shard, id netpoll.ID, channel string) {
	if n := x.byID[id]; n != nil {
		delete(n.expires, channel)
		x.ungrant(s, id, n, channel)
		x.settle(id)
	}
}

// joined tells the application, and the other subscribers where the namespace
// wants that.
func (x *Sessions) joined(s *shard.Shard, id netpoll.ID, channel string) {
	x.tellMember(s, id, Event{Type: EventSubscribed, Channel: channel})
	x.announce(s, id, channel, false)
}

// left is the counterpart of joined.
func (x *Sessions) left(s *shard.Shard, id netpoll.ID, channel string) {
	x.tellMember(s, id, Event{Type: EventUnsubscribed, Channel: channel})
	x.announce(s, id, channel, true)
}

// tellMember tells the application of a connection in a channel.
func (x *Sessions) tellMember(s *shard.Shard, id netpoll.ID, e Event) {
	if x.rules.Events != nil {
		e.User, _ = x.Member(s, id, e.Channel)
		x.event(s, id, e)
	}
}

func (x *Sessions) announce(s *shard.Shard, id netpoll.ID, channel string, left bool) {
	ns := x.rules.Namespaces[NamespaceOf(channel)]
	if ns == nil || !ns.JoinLeave || s.Polls(id) {
		return
	}
	// Other servers may know of a join from when the channel was small.
	here := s.Subscribers(channel) <= ns.JoinLeaveMax || x.rules.Registrar(channel) != nil
	if here || left && x.rules.Host.Remote() {
		m := &Membership{Channel: channel, Client: x.name(s, id), ID: id, Left: left}
		m.User, m.Info = x.Member(s, id, channel)
		x.rules.Host.Announce(m, here)
	}
}

// eachChannel calls f for each channel that a connection is in, if anything wants
// to know.
func (x *Sessions) eachChannel(s *shard.Shard, id netpoll.ID, f func(s *shard.Shard, id netpoll.ID, channel string)) {
	if !x.rules.tellsMembers() {
		return
	}
	s.Channels(id, func(channel string) bool {
		f(s, id, channel)
		return true
	})
}
