package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Questions about connections are asked of every loop, one after the other, so
// that a long answer holds up one loop at a time, and no lock is needed. They must
// not be asked from callbacks: the loop would wait for itself.

// askLoops runs ask on each loop in turn and passes each result to add on the
// caller's goroutine, until add returns false. The result must not alias the
// shard's state or the caller's variables: if ctx ends first, ask may still run
// after askLoops has returned.
func askLoops[T any](ctx context.Context, s *Server, ask func(*shard.Shard) T, add func(T) (more bool)) error {
	members := s.members()
	if members == nil {
		return ErrServerClosed
	}
	for _, member := range members {
		answers := make(chan T, 1)
		if err := member.Call(func(sh *shard.Shard) {
			if sh != nil { // else the server has ended
				answers <- ask(sh)
			}
		}); err != nil {
			return err
		}
		if answer, err := await(ctx, s, answers); err != nil {
			return err
		} else if !add(answer) {
			return nil
		}
	}
	return nil
}

// await receives what a loop sends.
func await[T any](ctx context.Context, s *Server, answers <-chan T) (answer T, err error) {
	select {
	case answer = <-answers:
		return answer, nil
	case <-ctx.Done():
		return answer, fmt.Errorf("server: a loop did not answer in time: %w", ctx.Err())
	case <-s.donec:
		return answer, ErrServerClosed
	}
}

// least keeps the lowest of many IDs.
type least struct {
	after netpoll.ID // those up to it are left out
	limit int
	ids   []netpoll.ID
}

func (l *least) add(id netpoll.ID) bool {
	if id > l.after {
		l.ids = append(l.ids, id)
	}
	if len(l.ids) > 4*l.limit+64 {
		l.cut()
	}
	return true
}

// cut sorts and forgets what is beyond the limit.
func (l *least) cut() []netpoll.ID {
	slices.Sort(l.ids)
	l.ids = l.ids[:min(len(l.ids), l.limit)]
	return l.ids
}

// afterClient returns the highest ID of this server that is not after a cursor, which is the
// name of a connection, and 0 for none. Of the same number on several servers, those of the
// server with the higher ID come later.
func (s *Server) afterClient(cursor string) (netpoll.ID, error) {
	if cursor == "" {
		return 0, nil
	}
	id, node, err := s.connOf(cursor)
	if node != "" && err == nil && node < s.nodes.ID() {
		return id - 1, nil
	}
	return id, err
}

// Presence returns how many connections are in a channel, and up to limit of them, in
// the order of their names' numbers, after the connection named after, if that is not
// empty. Connections that are closing are left out. With Config.Broker those of all servers
// are among them; Incomplete says that a server did not answer. It must not be called from
// callbacks.
func (s *Server) Presence(ctx context.Context, channel, after string, limit int) (protocol.ChannelMembers, error) {
	if s.cluster != nil && s.members() != nil {
		return s.cluster.presence(ctx, channel, after, limit)
	}
	return s.presence(ctx, channel, after, limit)
}

// presence is Presence for the connections of this server.
func (s *Server) presence(ctx context.Context, channel, after string, limit int) (protocol.ChannelMembers, error) {
	if err := s.checkName("channel", channel); err != nil {
		return protocol.ChannelMembers{}, err
	}
	from, err := s.afterClient(after)
	if err != nil {
		return protocol.ChannelMembers{}, err
	}
	var all protocol.ChannelMembers
	user, ofUser := strings.CutPrefix(channel, protocol.UserPrefix)
	err = askLoops(ctx, s, func(sh *shard.Shard) (part protocol.ChannelMembers) {
		// One more shows that there are more.
		chosen := least{after: from, limit: limit + 1 - len(all.Members)}
		count := func(id netpoll.ID) bool {
			part.Clients++
			return chosen.add(sh.Origin(id))
		}
		if ofUser {
			sh.UserMembers(user, count)
		} else {
			sh.Members(channel, count)
		}
		for _, id := range chosen.cut() {
			part.Members = append(part.Members, s.member(sh, sh.Current(id), channel))
		}
		return part
	}, func(part protocol.ChannelMembers) bool {
		all.Clients += part.Clients
		all.Members = append(all.Members, part.Members...)
		return true
	})
	if err != nil {
		return protocol.ChannelMembers{}, err
	}
	all.Truncated = len(all.Members) > limit || limit == 0 && all.Clients > 0
	all.Members = slices.Clip(all.Members[:min(len(all.Members), limit)])
	return all, nil
}

// member is what presence shows of a connection.
func (s *Server) member(sh *shard.Shard, id netpoll.ID, channel string) protocol.Member {
	user, info := s.hooksOf(sh).sessions.Member(sh, id, channel)
	return protocol.Member{Client: s.nameOf(sh.Origin(id)), User: user, Info: info}
}
