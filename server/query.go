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

// Questions about what is connected are asked of every loop, one after the
// other, so that a long answer holds up one loop at a time, and no lock is
// needed. None of them may be asked from callbacks: the loop would wait for
// itself.

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
		select {
		case answer := <-answers:
			if !add(answer) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("server: a loop did not answer in time: %w", ctx.Err())
		case <-s.donec:
			return ErrServerClosed
		}
	}
	return nil
}

// Channels answers up to limit channels with subscribers whose names begin with
// prefix, in the order of their names, and whether there are more. It looks at all
// channels that exist. Not from callbacks.
func (s *Server) Channels(ctx context.Context, prefix string, limit int) (infos []ChannelInfo, more bool, err error) {
	clients := map[string]int{}
	err = askLoops(ctx, s, func(sh *shard.Shard) (found []ChannelInfo) {
		sh.AllChannels(func(name string, n int) {
			if strings.HasPrefix(name, prefix) {
				found = append(found, ChannelInfo{name, n})
			}
		})
		return found
	}, func(found []ChannelInfo) bool {
		for _, c := range found {
			clients[c.Name] += c.Clients
		}
		return true
	})
	if err != nil {
		return nil, false, err
	}
	for name, n := range clients {
		infos = append(infos, ChannelInfo{name, n})
	}
	slices.SortFunc(infos, func(a, b ChannelInfo) int { return strings.Compare(a.Name, b.Name) })
	if len(infos) > limit {
		infos, more = slices.Clip(infos[:limit]), true
	}
	return infos, more, nil
}

// Presence answers how many connections are in a channel, and up to limit of
// them. Not from callbacks.
func (s *Server) Presence(ctx context.Context, channel string, limit int) (protocol.ChannelMembers, error) {
	if err := s.checkName("channel", channel); err != nil {
		return protocol.ChannelMembers{}, err
	}
	var all protocol.ChannelMembers
	user, ofUser := strings.CutPrefix(channel, protocol.UserPrefix)
	err := askLoops(ctx, s, func(sh *shard.Shard) (part protocol.ChannelMembers) {
		left := limit - len(all.Members)
		add := func(id netpoll.ID) bool {
			if ofUser {
				part.Clients++
			}
			if len(part.Members) < left {
				part.Members = append(part.Members, s.member(sh, id))
				return true
			}
			return ofUser // go on counting
		}
		if ofUser {
			sh.UserMembers(user, add)
			return part
		}
		part.Clients = sh.Subscribers(channel)
		if left > 0 {
			sh.Members(channel, add)
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
	all.Truncated = len(all.Members) < all.Clients
	return all, nil
}

// member is what presence tells of a connection.
func (s *Server) member(sh *shard.Shard, id netpoll.ID) protocol.Member {
	return protocol.Member{Client: id.String(), User: sh.User(id), Info: s.hooksOf(sh).sessions.Info(id)}
}

// Connections answers up to limit connections of a user, and whether there are
// more. Not from callbacks.
func (s *Server) Connections(ctx context.Context, user string, limit int) ([]ConnectionInfo, bool, error) {
	if err := s.checkName("user", user); err != nil {
		return nil, false, err
	}
	var infos []ConnectionInfo
	err := askLoops(ctx, s, func(sh *shard.Shard) (part []ConnectionInfo) {
		sh.UserMembers(user, func(id netpoll.ID) bool {
			part = append(part, s.connection(sh, id, user))
			return len(infos)+len(part) <= limit // one more shows that there are more
		})
		return part
	}, func(part []ConnectionInfo) bool {
		infos = append(infos, part...)
		return len(infos) <= limit
	})
	if err != nil {
		return nil, false, err
	}
	if len(infos) > limit {
		return slices.Clip(infos[:limit]), true, nil
	}
	return infos, false, nil
}

func (s *Server) connection(sh *shard.Shard, id netpoll.ID, user string) ConnectionInfo {
	info := ConnectionInfo{Client: id.String(), User: user, RemoteAddr: sh.RemoteAddr(id), Age: sh.Age(id)}
	if n := sh.Protocol(id); n != 0 {
		info.Subprotocol = s.cfg.Protocols[n-1].Subprotocol()
	}
	info.LagMessages, info.PendingBytes = sh.Lag(id)
	sh.Channels(id, func(name string) bool {
		info.Channels = append(info.Channels, name)
		return true
	})
	slices.Sort(info.Channels)
	return info
}
