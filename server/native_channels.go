package server

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// checkChannel refuses names that no connection can subscribe to.
func (s *Server) checkChannel(name string) error {
	if err := s.checkName("channel", name); err != nil {
		return err
	}
	if strings.HasPrefix(name, protocol.UserPrefix) {
		return fmt.Errorf("%w: %q is the channel of a user, who is in it without asking", ErrBadName, name)
	}
	return nil
}

// plainNamespace are the settings of channels without a colon where nothing else
// is configured.
var plainNamespace = Namespace{}.withDefaults()

// namespace answers the settings for a command's channel.
func (t *task) namespace() (*Namespace, error) {
	if err := t.h.server.checkName("channel", t.cmd.Channel); err != nil {
		return nil, err
	}
	name := namespaceOf(t.cmd.Channel)
	if ns := t.h.server.namespaces[name]; ns != nil {
		return ns, nil
	}
	if name == "" || name == "user" {
		return &plainNamespace, nil
	}
	return nil, &protocol.Error{Code: protocol.CodeUnknownNamespace, Message: fmt.Sprintf("there is no namespace %q", name)}
}

// verdict is what access rules say.
type verdict int

const (
	denied verdict = iota
	granted
	askHook
)

// may judges by the namespace's setting and the connection's permissions.
func (t *task) may(access protocol.Access, patterns func(*protocol.Permissions) []string) verdict {
	if n := t.h.sessions[t.id]; n != nil && protocol.Covers(patterns(&n.allow), t.cmd.Channel) {
		return granted
	}
	switch {
	case access == protocol.AccessAnyone:
		return granted
	case access == protocol.AccessUsers && t.s.User(t.id) != "":
		return granted
	case access == protocol.AccessGranted:
		return askHook
	}
	return denied
}

var errDenied = &protocol.Error{Code: protocol.CodePermissionDenied, Message: "permission denied"}

// subscribe makes the client a subscriber.
func (t *task) subscribe() {
	ns, err := t.namespace()
	if err != nil {
		t.fail(err)
		return
	}
	if strings.HasPrefix(t.cmd.Channel, protocol.UserPrefix) {
		if t.inside() {
			t.fail(shard.ErrSubscribed)
		} else {
			t.fail(errDenied)
		}
		return
	}
	v := t.may(ns.Subscribe, func(p *protocol.Permissions) []string { return p.Subscribe })
	hook := t.h.server.cfg.Application.Subscribe
	switch {
	case t.s.Subscribed(t.id, t.cmd.Channel):
		t.fail(shard.ErrSubscribed)
	case v == granted:
		t.subscribeNow(time.Time{})
	case v == denied || hook == nil:
		t.fail(errDenied)
	default:
		r := t.subscribeRequest()
		t.ask("Native.Subscribe", func(ctx context.Context) error { return hook(ctx, r) }, func(t *task, err error) {
			if err != nil {
				t.fail(t.refusal("subscribe", err))
				return
			}
			t.subscribeNow(r.Expires)
		})
	}
}

func (t *task) subscribeRequest() *protocol.SubscribeRequest {
	return &protocol.SubscribeRequest{Client: t.id.String(), User: t.s.User(t.id), Channel: t.cmd.Channel, Token: t.cmd.Token}
}

// subscribeNow does it, until the token expires.
func (t *task) subscribeNow(expires time.Time) {
	if !expires.IsZero() && !time.Now().Before(expires) {
		t.fail(&protocol.Error{Code: protocol.CodeTokenExpired, Message: "the token has expired"})
		return
	}
	var resume *shard.Position
	if t.cmd.HasPosition {
		resume = &shard.Position{Epoch: t.cmd.Position.Epoch, Offset: t.cmd.Position.Offset}
	}
	state, err := t.enter(t.cmd.Channel, resume)
	if err != nil {
		t.fail(err)
		return
	}
	t.expireChannel(expires)
	if !expires.IsZero() {
		state.Expires = time.Until(expires)
	}
	t.reply(native.AppendSubscribe(t.buffer(), t.cmd.ID, &state))
}

// expireChannel notes when the subscription ends.
func (t *task) expireChannel(expires time.Time) {
	if n := t.h.sessions[t.id]; expires.IsZero() && (n == nil || n.subscribed == nil) {
		return
	}
	n := t.h.sessionOf(t.id)
	if expires.IsZero() {
		delete(n.subscribed, t.cmd.Channel)
		t.h.settle(t.id)
		return
	}
	if n.subscribed == nil {
		n.subscribed = map[string]time.Time{}
	}
	n.subscribed[t.cmd.Channel] = expires
	t.h.due(expires)
}

// enter subscribes the connection and tells who is concerned.
func (t *task) enter(channel string, resume *shard.Position) (native.ChannelState, error) {
	at, recovered, err := t.s.Subscribe(t.id, channel, resume)
	if err != nil {
		return native.ChannelState{}, err
	}
	t.h.joined(t.s, t.id, channel)
	return native.ChannelState{
		Channel: channel, Position: native.Position(at), Resumed: resume != nil, Recovered: recovered,
	}, nil
}

// joined tells the application, and the other subscribers if the namespace wants that.
func (h *hooks) joined(s *shard.Shard, id netpoll.ID, channel string) {
	h.event(s, id, Event{Type: EventSubscribed, Channel: channel})
	if ns := h.tellsJoins(s, channel); ns {
		h.word(channel, native.AppendJoin(nil, channel, id.String(), s.User(id)))
	}
}

// left is the counterpart of joined.
func (h *hooks) left(s *shard.Shard, id netpoll.ID, channel string) {
	h.event(s, id, Event{Type: EventUnsubscribed, Channel: channel})
	if h.tellsJoins(s, channel) {
		h.word(channel, native.AppendLeave(nil, channel, id.String(), s.User(id)))
	}
}

func (h *hooks) tellsJoins(s *shard.Shard, channel string) bool {
	ns := h.server.namespaces[namespaceOf(channel)]
	return ns != nil && ns.JoinLeave && s.Subscribers(channel) <= ns.JoinLeaveMax
}

// word publishes a word of the protocol to the native subscribers of a channel. If the
// loops are busy it is left out: presence tells the truth.
func (h *hooks) word(channel string, p []byte) {
	m := shard.NewWord(frame.Prepare(frame.OpText, p))
	if err := h.server.parts.Load().publisher.Channel(channel, m, nil); err != nil {
		h.server.cfg.Logger.Debug("a join or leave was not told", "channel", channel, "err", err)
	}
}

// eachChannel calls f for each channel that a connection is in, if anybody wants to
// know.
func (h *hooks) eachChannel(s *shard.Shard, id netpoll.ID, f func(s *shard.Shard, id netpoll.ID, channel string)) {
	if !h.server.tellsMembers {
		return
	}
	s.Channels(id, func(channel string) bool {
		f(s, id, channel)
		return true
	})
}

// Joined tells of Conn.Join. A native connection that is not let in joins when it is.
func (h *hooks) Joined(s *shard.Shard, id netpoll.ID, channel string, at shard.Position) {
	switch {
	case !s.Native(id):
		h.joined(s, id, channel)
	case s.IsReady(id):
		h.joined(s, id, channel)
		s.Reply(id, frame.OpText, native.AppendSubscribed(nil, channel, native.Position(at)))
	default:
		n := h.sessionOf(id)
		if len(n.channels) >= h.server.cfg.Limits.SubscriptionsMax {
			s.Refuse(id, channel, ErrTooManySubscriptions)
			return
		}
		n.channels = append(slices.Clip(n.channels), channel)
	}
}

// Left tells of Conn.Leave.
func (h *hooks) Left(s *shard.Shard, id netpoll.ID, channel string) {
	if s.Native(id) && !s.IsReady(id) {
		n := h.sessionOf(id)
		n.channels = slices.DeleteFunc(slices.Clone(n.channels), func(name string) bool { return name == channel })
		return
	}
	h.forget(id, channel)
	h.left(s, id, channel)
	if s.Native(id) {
		s.Reply(id, frame.OpText, native.AppendUnsubscribed(nil, channel, int(errEnded.Code), errEnded.Message))
	}
}

// errEnded is what a client is told of a subscription that the application has ended.
var errEnded = &protocol.Error{Code: protocol.CodePermissionDenied, Message: "ended by the application"}

// unsubscribe ends a subscription at the client's wish.
func (t *task) unsubscribe() {
	if strings.HasPrefix(t.cmd.Channel, protocol.UserPrefix) {
		t.fail(&protocol.Error{Code: protocol.CodePermissionDenied, Message: "the channel of a user can't be left"})
		return
	}
	if !t.s.Unsubscribe(t.id, t.cmd.Channel) {
		t.fail(errNotSubscribed)
		return
	}
	t.h.forget(t.id, t.cmd.Channel)
	t.h.left(t.s, t.id, t.cmd.Channel)
	t.reply(native.AppendDone(t.buffer(), t.cmd.ID, native.Unsubscribe))
}

var errNotSubscribed = &protocol.Error{Code: protocol.CodeNotSubscribed, Message: "not subscribed"}

// forget drops what was remembered of a subscription.
func (h *hooks) forget(id netpoll.ID, channel string) {
	if n := h.sessions[id]; n != nil {
		delete(n.subscribed, channel)
		h.settle(id)
	}
}

// unsubscribed ends a subscription at the server's wish, and tells why.
func (h *hooks) unsubscribed(s *shard.Shard, id netpoll.ID, channel string, why *protocol.Error) {
	if !s.Unsubscribe(id, channel) {
		return
	}
	h.forget(id, channel)
	h.left(s, id, channel)
	if s.Native(id) {
		s.Reply(id, frame.OpText, native.AppendUnsubscribed(nil, channel, int(why.Code), why.Message))
	}
}

// subscribeByServer subscribes a connection at the application's wish.
func (s *Server) subscribeByServer(sh *shard.Shard, id netpoll.ID, channel string) {
	at, _, err := sh.Subscribe(id, channel, nil)
	switch {
	case err == ErrTooManySubscriptions:
		sh.Refuse(id, channel, err)
	case err == nil:
		s.hooksOf(sh).joined(sh, id, channel)
		if sh.Native(id) {
			sh.Reply(id, frame.OpText, native.AppendSubscribed(nil, channel, native.Position(at)))
		}
	}
}

// unsubscribeByServer ends a subscription at the application's wish.
func (s *Server) unsubscribeByServer(sh *shard.Shard, id netpoll.ID, channel string) {
	s.hooksOf(sh).unsubscribed(sh, id, channel, errEnded)
}

// publish publishes on behalf of the client.
func (t *task) publish() {
	ns, err := t.namespace()
	if err != nil {
		t.fail(err)
		return
	}
	v := t.may(ns.Publish, func(p *protocol.Permissions) []string { return p.Publish })
	hook := t.h.server.cfg.Application.Publish
	switch {
	case v == granted:
		t.publishNow(t.cmd.Data)
	case v == denied || hook == nil:
		t.fail(errDenied)
	default:
		r := &protocol.PublishRequest{Client: t.id.String(), User: t.s.User(t.id), Channel: t.cmd.Channel, Data: bytes.Clone(t.cmd.Data)}
		t.ask("Native.Publish", func(ctx context.Context) error { return hook(ctx, r) }, func(t *task, err error) {
			if err == nil {
				err = checkJSON("Native.Publish", "Data", r.Data)
			}
			if err != nil {
				t.fail(t.refusal("publish", err))
				return
			}
			t.publishNow(r.Data)
		})
	}
}

func (t *task) publishNow(data []byte) {
	p := Publication{Channel: t.cmd.Channel, Type: Text, Payload: data, Key: t.cmd.Key, From: t.s.User(t.id)}
	at, err := Position{}, t.h.server.checkPublication(&p)
	if err == nil {
		at, err = t.h.server.put(&p, nil)
	}
	t.s.HoldPublisher(t.id)
	if err != nil {
		t.fail(err)
		return
	}
	if t.h.server.cfg.Events != nil {
		t.h.event(t.s, t.id, Event{Type: EventMessage, Channel: t.cmd.Channel, Position: at, Data: bytes.Clone(data)})
	}
	t.reply(native.AppendPublish(t.buffer(), t.cmd.ID, native.Position(at)))
}

// inside tells whether the client is in the channel that its command is about.
func (t *task) inside() bool {
	if user, ok := strings.CutPrefix(t.cmd.Channel, protocol.UserPrefix); ok {
		return user != "" && user == t.s.User(t.id)
	}
	return t.s.Subscribed(t.id, t.cmd.Channel)
}

// Limits of what a client may ask for at once.
const (
	defaultLimit    = 100
	maxLimit        = 1000
	historyMaxBytes = 256 << 10
)

// limit is how many the client wants.
func (t *task) limit() int {
	if t.cmd.Limit < 0 {
		return defaultLimit
	}
	return min(t.cmd.Limit, maxLimit)
}

// presence answers who is in the channel. All loops are asked.
func (t *task) presence() {
	ns, err := t.namespace()
	switch {
	case err != nil:
	case !ns.Presence:
		err = &protocol.Error{Code: protocol.CodeNotAvailable, Message: "this channel has no presence"}
	case !t.inside():
		err = errNotSubscribed
	}
	if err != nil {
		t.fail(err)
		return
	}
	var p Presence
	channel, limit, server := t.cmd.Channel, t.limit(), t.h.server
	t.ask("Presence", func(ctx context.Context) (err error) {
		p, err = server.Presence(ctx, channel, limit)
		return err
	}, func(t *task, err error) {
		if err != nil {
			t.fail(err)
			return
		}
		members := make([]native.Member, 0, len(p.Members))
		for _, m := range p.Members {
			members = append(members, native.Member{Client: m.Client, User: m.User, Info: m.Info})
		}
		t.reply(native.AppendPresence(t.buffer(), t.cmd.ID, p.Clients, members, p.Truncated))
	})
}

// history answers a part of the channel's history.
func (t *task) history() {
	ns, err := t.namespace()
	switch {
	case err != nil:
	case ns.HistoryMessages == 0:
		err = &protocol.Error{Code: protocol.CodeNotAvailable, Message: "this channel has no history"}
	case !t.inside():
		err = errNotSubscribed
	}
	if err != nil {
		t.fail(err)
		return
	}
	q := HistoryQuery{Limit: t.limit(), Reverse: t.cmd.Reverse}
	if t.cmd.HasPosition {
		q.Since = &Position{Epoch: t.cmd.Position.Epoch, Offset: t.cmd.Position.Offset}
	}
	found, err := t.h.server.History(t.cmd.Channel, q)
	if err != nil {
		t.fail(err)
		return
	}
	page := native.Page{Position: native.Position(found.Position), More: found.More, Gap: found.Gap}
	for _, m := range found.Messages {
		page.Messages = append(page.Messages, native.PageMessage{
			Offset: m.Offset, Time: m.Time.UnixMilli(), Data: m.Payload, Binary: m.Type == Binary, Key: m.Key, From: m.From,
		})
	}
	t.reply(native.AppendHistory(t.buffer(), t.cmd.ID, &page, historyMaxBytes))
}

// call passes a request to the application.
func (t *task) call() {
	hook := t.h.server.cfg.Application.Call
	if hook == nil {
		t.fail(&protocol.Error{Code: protocol.CodeUnknownMethod, Message: fmt.Sprintf("there is no method %.100q", t.cmd.Method)})
		return
	}
	r := &protocol.CallRequest{Client: t.id.String(), User: t.s.User(t.id), Method: t.cmd.Method, Data: bytes.Clone(t.cmd.Data)}
	t.ask("Native.Call", func(ctx context.Context) error { return hook(ctx, r) }, func(t *task, err error) {
		if err == nil {
			err = checkJSON("Native.Call", "Reply", r.Reply)
		}
		if err != nil {
			t.fail(t.refusal("call", err))
			return
		}
		t.reply(native.AppendCall(t.buffer(), t.cmd.ID, r.Reply))
	})
}

// ack tells the application how far the client is.
func (t *task) ack() {
	if !t.inside() {
		t.fail(errNotSubscribed)
		return
	}
	t.h.event(t.s, t.id, Event{Type: EventAcknowledged, Channel: t.cmd.Channel, Position: Position(t.cmd.Position)})
	t.reply(native.AppendDone(t.buffer(), t.cmd.ID, native.Ack))
}

// refreshChannel takes a new token for one channel.
func (t *task) refreshChannel() {
	hook := t.h.server.cfg.Application.Subscribe
	switch {
	case !t.s.Subscribed(t.id, t.cmd.Channel):
		t.fail(errNotSubscribed)
		return
	case hook == nil:
		t.fail(&protocol.Error{Code: protocol.CodeNotAvailable, Message: "this server takes no tokens for channels"})
		return
	}
	r := t.subscribeRequest()
	t.ask("Native.Subscribe", func(ctx context.Context) error { return hook(ctx, r) }, func(t *task, err error) {
		now := time.Now()
		switch {
		case err != nil:
			t.fail(t.refusal("refresh", err))
		case !r.Expires.IsZero() && !now.Before(r.Expires):
			t.fail(&protocol.Error{Code: protocol.CodeTokenExpired, Message: "the token has expired"})
		case !t.s.Subscribed(t.id, t.cmd.Channel):
			t.fail(errNotSubscribed) // it ended meanwhile
		default:
			t.expireChannel(r.Expires)
			t.reply(native.AppendRefresh(t.buffer(), t.cmd.ID, r.Expires.Sub(now), !r.Expires.IsZero()))
		}
	})
}
