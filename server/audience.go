package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// An Audience names connections: exactly one of its fields is set.
type Audience struct {
	// Client is one connection, as Conn.String names it. It may have ended.
	Client string
	// User is all connections of a user.
	User string
	// Channel is all connections in a channel; "user:ID" is the same as User: ID.
	Channel string
}

// resolved is an Audience that was checked.
type resolved struct {
	id            netpoll.ID // 0: user or channel
	user, channel string
}

func (s *Server) resolve(a Audience) (r resolved, err error) {
	set := 0
	for _, name := range []string{a.Client, a.User, a.Channel} {
		if name != "" {
			set++
		}
	}
	if set != 1 {
		return r, fmt.Errorf("%w: an audience wants exactly one of a client, a user and a channel", ErrBadName)
	}
	r = resolved{user: a.User, channel: a.Channel}
	if user, ok := strings.CutPrefix(a.Channel, protocol.UserPrefix); ok {
		r.user, r.channel = user, ""
	}
	switch {
	case a.Client != "":
		c, err := s.connOf(a.Client)
		return resolved{id: c.id}, err
	case r.channel != "":
		return r, s.checkName("channel", r.channel)
	}
	return r, s.checkName("user", r.user)
}

// in returns the open connections of one loop. They may be changed while the result is
// walked.
func (r resolved) in(sh *shard.Shard) (ids []netpoll.ID) {
	add := func(id netpoll.ID) bool {
		if sh.IsOpen(id) { // and not closing
			ids = append(ids, id)
		}
		return true
	}
	switch {
	case r.id != 0:
		if r.id.Loop() == sh.Loop().Index() {
			add(r.id)
		}
	case r.user != "":
		sh.UserMembers(r.user, add)
	default:
		sh.Members(r.channel, add)
	}
	return ids
}

// each calls f on the loop of each connection of an audience and returns for how many
// f returned true. If it returns an error, f may have been called for some of them.
func (s *Server) each(ctx context.Context, a Audience, f func(*shard.Shard, netpoll.ID) bool) (n int, err error) {
	r, err := s.resolve(a)
	if err != nil {
		return 0, err
	}
	err = askLoops(ctx, s, func(sh *shard.Shard) (n int) {
		for _, id := range r.in(sh) {
			if f(sh, id) {
				n++
			}
		}
		return n
	}, func(part int) bool {
		n += part
		return true
	})
	return n, err
}

// DisconnectAll closes the connections of an audience with a Close frame, after what
// was published to them before, and returns how many these are. It waits for the
// loops until ctx is done, and must not be called from callbacks; Disconnect,
// DisconnectUser and DisconnectChannel do not wait.
func (s *Server) DisconnectAll(ctx context.Context, a Audience, code CloseCode, reason string) (n int, err error) {
	if err := checkCloseCode(code); err != nil {
		return 0, err
	}
	return s.each(ctx, a, func(sh *shard.Shard, id netpoll.ID) bool { return sh.Close(id, code, reason) == nil })
}

// SubscribeAll subscribes the connections of an audience to a channel and returns how
// many of them are in it then. Those that would exceed SubscriptionsMax are refused,
// counted and logged; those of a protocol that have not connected are left out. It
// waits as DisconnectAll does.
func (s *Server) SubscribeAll(ctx context.Context, a Audience, channel string) (n int, err error) {
	if err := protocol.CheckChannel(channel, s.cfg.Limits.ChannelNameMaxBytes); err != nil {
		return 0, err
	}
	return s.each(ctx, a, func(sh *shard.Shard, id netpoll.ID) bool {
		if sh.IsReady(id) {
			s.hooksOf(sh).sessions.SubscribeByServer(sh, id, channel)
		}
		return sh.Subscribed(id, channel)
	})
}

// UnsubscribeAll ends the subscriptions of an audience to a channel and returns how
// many these were. It waits as DisconnectAll does.
func (s *Server) UnsubscribeAll(ctx context.Context, a Audience, channel string) (n int, err error) {
	if err := protocol.CheckChannel(channel, s.cfg.Limits.ChannelNameMaxBytes); err != nil {
		return 0, err
	}
	return s.each(ctx, a, func(sh *shard.Shard, id netpoll.ID) bool {
		if !sh.IsReady(id) || !sh.Subscribed(id, channel) {
			return false
		}
		s.hooksOf(sh).sessions.UnsubscribeByServer(sh, id, channel)
		return true
	})
}

// SendTo sends a message to the connection that Conn.String named, as Conn.Send does,
// and waits until its loop has it or ctx is done: then the receipt is not Complete.
// Matched is 1 if the connection is there, and so is Written, which does not say how
// far it has read. It must not be called from callbacks.
func (s *Server) SendTo(ctx context.Context, client string, t MessageType, payload []byte) (Receipt, error) {
	c, err := s.connOf(client)
	if err != nil {
		return Receipt{}, err
	}
	if err := s.sendUnlessDraining(c, t, payload); err != nil {
		return Receipt{}, err
	}
	// The question comes after the message in the inbox of the loop.
	n, err := s.each(ctx, Audience{Client: client}, (*shard.Shard).IsReady)
	if err != nil && ctx.Err() == nil {
		return Receipt{}, err
	}
	return Receipt{Matched: n, Written: n, Complete: err == nil}, nil
}

func (s *Server) sendUnlessDraining(c Conn, t MessageType, payload []byte) error {
	s.publishing.RLock()
	defer s.publishing.RUnlock()
	if s.draining {
		return ErrServerClosed
	}
	return c.Send(t, payload)
}

// ClearHistory drops the messages that are kept of a channel and returns how many these
// were. Messages that are still being fanned out stay. Positions go on: a client that
// resumes from before is told that it was not recovered, and one that lags behind falls
// under Namespace.SlowConsumer.
func (s *Server) ClearHistory(channel string) (n int, err error) {
	if err := s.checkName("channel", channel); err != nil {
		return 0, err
	}
	running := s.parts.Load()
	if running == nil {
		return 0, ErrServerClosed
	}
	return running.hub.Clear(channel), nil
}
