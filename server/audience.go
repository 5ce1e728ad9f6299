package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/roostws/roost/frame"
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
	// Channel is all connections in a channel; "user:ID" is the same as User: ID. The channel
	// of a socket's ID, "io:/chat#ID", is that one.
	Channel string
}

// resolved is an Audience that was checked.
type resolved struct {
	id            netpoll.ID // 0: user or channel
	node          string     // that of id, if it is another one
	user, channel string
	name          string // of a client for which the channel may stand
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
		id, node, err := s.connOf(a.Client)
		return resolved{id: id, node: node}, err
	case r.channel != "":
		_, r.name, _ = s.rules.Single(r.channel)
		return r, s.checkName("channel", r.channel)
	}
	return r, s.checkName("user", r.user)
}

// in returns the open connections of one loop. They may be changed while the result is
// walked.
func (s *Server) in(sh *shard.Shard, r resolved) (ids []netpoll.ID) {
	add := func(id netpoll.ID) bool {
		if sh.Stays(id) {
			ids = append(ids, id)
		}
		return true
	}
	switch {
	case r.id != 0:
		if r.id.Loop() == sh.Loop().Index() {
			add(sh.Current(r.id))
		}
	case r.user != "":
		sh.UserMembers(r.user, add)
	default:
		sh.Members(r.channel, add)
		if r.name != "" {
			if id := s.rules.Named(sh, r.name); id != 0 {
				add(id)
			}
		}
	}
	return ids
}

// connOf returns the connection that Conn.String named, and the ID of its node if that is
// another one. Without a node in the name it is one of this server's.
func (s *Server) connOf(client string) (id netpoll.ID, node string, err error) {
	name, node, _ := strings.Cut(client, "@")
	if id, err = netpoll.ParseID(name); err != nil || strings.Contains(node, "@") {
		return 0, "", fmt.Errorf("%w: the connection %.40q is not as Conn.String writes it", ErrBadName, client)
	}
	if node == s.nodes.ID() {
		node = ""
	}
	return id, node, nil
}

// NoWait is a context that is done. PublishMessage, Disconnect, Subscribe and
// Unsubscribe do not wait with it, so that callbacks may call them: the loops do
// later what was asked for, and the number of connections stays unknown.
var NoWait = noWait()

func noWait() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// each calls f on the loop of each connection of an audience and returns for how many
// f returned true. All loops are asked before it waits for the first: if ctx is done,
// f is called all the same. If it returns an error, f may have been called for some.
func (s *Server) each(ctx context.Context, r resolved, f func(*shard.Shard, netpoll.ID) bool) (n int, err error) {
	members := s.members()
	if members == nil {
		return 0, ErrServerClosed
	}
	counts := make(chan int, len(members))
	for _, member := range members {
		if err := member.Call(func(sh *shard.Shard) {
			if sh == nil {
				return // the server has ended
			}
			part := 0
			for _, id := range s.in(sh, r) {
				if f(sh, id) {
					part++
				}
			}
			counts <- part
		}); err != nil {
			return 0, err
		}
	}
	if ctx == NoWait {
		return 0, nil
	}
	for range members {
		part, err := await(ctx, s, counts)
		if err != nil {
			return n, err
		}
		n += part
	}
	return n, nil
}

// Disconnect closes the connections of an audience with a Close frame, after what was
// published to them before, and returns how many these are. The reason is cut to 123
// bytes. It waits for the loops, and with Config.Broker for the other servers, until ctx is
// done; from callbacks, which run on the loops that it would wait for, it must be called
// with NoWait. If other servers have not answered, the error is an *IncompleteError.
func (s *Server) Disconnect(ctx context.Context, a Audience, code frame.CloseCode, reason string) (n int, err error) {
	if err := checkCloseCode(code); err != nil {
		return 0, err
	}
	return s.order(ctx, kindDisconnect, &order{Audience: a, Code: code, Reason: reason})
}

// disconnect does it to the connections of this server.
func (s *Server) disconnect(ctx context.Context, r resolved, o *order) (n int, err error) {
	return s.each(ctx, r, func(sh *shard.Shard, id netpoll.ID) bool { return sh.Close(id, o.Code, o.Reason) == nil })
}

// Subscribe subscribes the connections that an audience has now to a channel and
// returns how many of them are in it then. Those that would exceed SubscriptionsMax are
// refused, counted and logged; those of a protocol that have not connected are left
// out. In a channel with history, a user's connection that comes back over a protocol
// within HistoryAge can resume the subscription, until Unsubscribe with the user; that
// costs some 200 bytes for each user and channel. It waits, and fails, as Disconnect does.
func (s *Server) Subscribe(ctx context.Context, a Audience, channel string) (n int, err error) {
	if err := protocol.CheckChannel(channel, s.cfg.Limits.ChannelNameMaxBytes); err != nil {
		return 0, err
	}
	return s.order(ctx, kindSubscribe, &order{Audience: a, To: channel})
}

// subscribe does it to the connections of this server.
func (s *Server) subscribe(ctx context.Context, r resolved, o *order) (n int, err error) {
	if s.cfg.Broker != nil && ctx != NoWait && s.members() != nil {
		// The broker is asked for a channel only where somebody is to enter it.
		if n, err := s.each(ctx, r, (*shard.Shard).IsReady); err != nil || n == 0 {
			return 0, err
		}
		if err := s.want(ctx, o.To); err != nil {
			return 0, err
		}
	}
	return s.each(ctx, r, func(sh *shard.Shard, id netpoll.ID) bool {
		if sh.IsReady(id) {
			s.hooksOf(sh).sessions.SubscribeByServer(sh, id, o.To)
		}
		return sh.Subscribed(id, o.To)
	})
}

// Unsubscribe ends the subscriptions of an audience to a channel and returns how many
// these were. It waits, and fails, as Disconnect does.
func (s *Server) Unsubscribe(ctx context.Context, a Audience, channel string) (n int, err error) {
	if err := protocol.CheckChannel(channel, s.cfg.Limits.ChannelNameMaxBytes); err != nil {
		return 0, err
	}
	return s.order(ctx, kindUnsubscribe, &order{Audience: a, To: channel})
}

// unsubscribe does it to the connections of this server.
func (s *Server) unsubscribe(ctx context.Context, r resolved, o *order) (n int, err error) {
	if r.user != "" {
		s.rules.Revoke(r.user, o.To)
	}
	return s.each(ctx, r, func(sh *shard.Shard, id netpoll.ID) bool {
		if !sh.IsReady(id) || !sh.Subscribed(id, o.To) {
			return false
		}
		s.hooksOf(sh).sessions.UnsubscribeByServer(sh, id, o.To)
		return true
	})
}

// sendTo sends a message to one connection, as Conn.Send does, and waits until its loop
// has it or ctx is done.
func (s *Server) sendTo(ctx context.Context, p *Publication) (Receipt, error) {
	n, err := s.order(ctx, kindSend, &order{Audience: Audience{Client: p.Client}, Type: p.Type, Payload: p.Payload})
	switch {
	case err != nil && ctx.Err() == nil && !errors.As(err, new(*IncompleteError)):
		return Receipt{}, err
	case ctx == NoWait:
		return Receipt{}, err
	}
	return Receipt{Matched: n, Written: n, Complete: err == nil}, nil
}

// sendHere does it on this server.
func (s *Server) sendHere(ctx context.Context, r resolved, o *order) (n int, err error) {
	if err := s.sendUnlessDraining(Conn{s, r.id}, o.Type, o.Payload); err != nil {
		return 0, err
	}
	if ctx == NoWait {
		return 0, nil
	}
	// The question comes after the message in the inbox of the loop.
	return s.each(ctx, r, (*shard.Shard).IsReady)
}

func (s *Server) sendUnlessDraining(c Conn, t MessageType, payload []byte) error {
	s.publishing.RLock()
	defer s.publishing.RUnlock()
	if s.draining {
		return ErrServerClosed
	}
	return c.Send(t, payload)
}
