package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// connect lets a client in, or not.
func (t *task) connect() {
	cfg := t.h.server.cfg.Application
	if t.s.IsReady(t.id) {
		t.fail(&protocol.Error{Code: protocol.CodeBadRequest, Message: "connected already"})
		return
	}
	r := &protocol.ConnectRequest{
		Client: t.id.String(), Token: t.cmd.Token, Name: t.cmd.Name, Data: bytes.Clone(t.cmd.Data), RemoteAddr: t.addr(),
		User: t.s.User(t.id),
	}
	known := r.User != "" || cfg.Anonymous
	switch {
	case r.Token == "" && known:
		t.letIn(r)
	case cfg.Connect == nil && r.Token != "":
		t.turnAway(&protocol.Error{Code: protocol.CodeUnauthorized, Message: "this server takes no tokens: connect without one"})
	case cfg.Connect == nil:
		t.turnAway(&protocol.Error{Code: protocol.CodeUnauthorized, Message: "who is this? This server lets nobody in without an identity"})
	default:
		t.h.sessionOf(t.id).asking = t.ask("Native.Connect", func(ctx context.Context) error { return cfg.Connect(ctx, r) }, func(t *task, err error) {
			t.h.sessionOf(t.id).asking = false
			if err != nil {
				t.turnAway(t.refusal("connect", err))
				return
			}
			t.letIn(r)
		})
	}
}

// turnAway refuses a connect. The client may try again while there is time, with
// another token a few times only.
func (t *task) turnAway(err error) {
	t.fail(err)
	t.s.Counters().ConnectsRefused.Add(1)
	var known *protocol.Error
	if !errors.As(err, &known) || known.Code != protocol.CodeUnauthorized && known.Code != protocol.CodeTokenExpired && known.Code != protocol.CodePermissionDenied {
		return // not the client's fault
	}
	n := t.h.sessionOf(t.id)
	if n.failures++; n.failures >= connectTries {
		t.s.Shut(t.id, closeUnauthorized, "unauthorized")
	}
}

// letIn makes a client one of those to whom things are published.
func (t *task) letIn(r *protocol.ConnectRequest) {
	h, server := t.h, t.h.server
	n := h.sessionOf(t.id)
	channels := slices.Concat(n.channels, r.Channels) // which are the application's
	if err := t.checkAnswer(r, channels); err != nil {
		t.turnAway(err)
		return
	}
	now := time.Now()
	if !r.Expires.IsZero() && !now.Before(r.Expires) {
		t.turnAway(&protocol.Error{Code: protocol.CodeTokenExpired, Message: "the token has expired"})
		return
	}
	t.s.Ready(t.id)
	answer := native.Connected{Client: r.Client, User: r.User, Data: r.Reply, Ping: max(server.cfg.Timeouts.PingInterval, 0)}
	if r.User != "" {
		answer.Channels = append(answer.Channels, t.enterUser(r.User))
	}
	h.event(t.s, t.id, Event{Type: EventConnected})
	for _, name := range channels {
		state, err := t.enter(name, t.resume(name))
		switch {
		case err == nil:
			answer.Channels = append(answer.Channels, state)
		case err != shard.ErrSubscribed: // named twice is once
			t.s.Refuse(t.id, name, err)
		}
	}
	*n = session{allow: r.Allow, rate: r.MessageRate, info: r.Info}
	if !r.Expires.IsZero() {
		answer.Expires, answer.HasExpires = r.Expires.Sub(now), true
	}
	t.s.SetExpiry(t.id, answer.Expires)
	h.settle(t.id)
	t.reply(native.AppendConnected(t.buffer(), t.cmd.ID, &answer))
}

// checkAnswer refuses an answer of the application's that can't be kept.
func (t *task) checkAnswer(r *protocol.ConnectRequest, channels []string) error {
	server := t.h.server
	var err error
	if before := t.s.User(t.id); before != "" && r.User != before {
		err = fmt.Errorf("the upgrade gave the identity %q, connect %q", before, r.User)
	} else if r.User != "" {
		err = server.checkName("user", r.User)
	} else if !server.cfg.Application.Anonymous {
		return &protocol.Error{Code: protocol.CodeUnauthorized, Message: "the token names no user"}
	}
	for _, name := range channels {
		if err == nil {
			err = server.checkChannel(name)
		}
	}
	if err == nil {
		err = errors.Join(checkJSON("Native.Connect", "Reply", r.Reply), checkJSON("Native.Connect", "Info", r.Info))
	}
	if err != nil {
		server.cfg.Logger.Error("the application's answer to a connect is invalid", "conn_id", t.id.String(), "err", err)
		return &protocol.Error{Code: protocol.CodeInternal, Message: "something went wrong in the server"}
	}
	return nil
}

// resume is the position that the client has told for a channel at connect.
func (t *task) resume(channel string) *shard.Position {
	if at, ok := t.cmd.Resume[channel]; ok {
		return &shard.Position{Epoch: at.Epoch, Offset: at.Offset}
	}
	return nil
}

// enterUser gives the connection its identity, and with it the channel "user:ID".
func (t *task) enterUser(user string) native.ChannelState {
	channel := protocol.UserPrefix + user
	resume := t.resume(channel)
	at, recovered := t.s.SetUser(t.id, user, resume)
	return native.ChannelState{
		Channel: channel, Position: native.Position(at), Resumed: resume != nil, Recovered: recovered,
	}
}

// refresh takes a new token for the connection, or for one of its channels.
func (t *task) refresh() {
	if t.cmd.Channel != "" {
		t.refreshChannel()
		return
	}
	cfg := t.h.server.cfg.Application
	check := cfg.Refresh
	if check == nil {
		check = cfg.Connect
	}
	if check == nil {
		t.fail(&protocol.Error{Code: protocol.CodeNotAvailable, Message: "this server takes no tokens"})
		return
	}
	user := t.s.User(t.id)
	r := &protocol.ConnectRequest{Client: t.id.String(), Token: t.cmd.Token, User: user, RemoteAddr: t.addr()}
	t.ask("Native.Refresh", func(ctx context.Context) error { return check(ctx, r) }, func(t *task, err error) {
		now := time.Now()
		switch {
		case err != nil:
			t.fail(t.refusal("refresh", err))
			return
		case r.User != user:
			t.fail(&protocol.Error{Code: protocol.CodeUnauthorized, Message: "the new token is another user's"})
			return
		case !r.Expires.IsZero() && !now.Before(r.Expires):
			t.fail(&protocol.Error{Code: protocol.CodeTokenExpired, Message: "the token has expired"})
			return
		}
		n := t.h.sessionOf(t.id)
		n.allow, n.rate = r.Allow, r.MessageRate
		t.h.settle(t.id)
		left := time.Duration(0)
		if !r.Expires.IsZero() {
			left = r.Expires.Sub(now)
		}
		t.s.SetExpiry(t.id, left)
		t.reply(native.AppendRefresh(t.buffer(), t.cmd.ID, left, left > 0))
	})
}
