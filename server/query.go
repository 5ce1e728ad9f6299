package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// Questions about what is connected are asked of every loop, one after the
// other, so that a long answer holds up one loop at a time, and no lock is
// needed. None of them may be asked from callbacks: the loop would wait for
// itself.

// askLoops has each loop answer in turn, and add take the answer, until that says
// that it is enough. What ask answers must be its own: the one who asked may have
// given up when it comes.
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
func (s *Server) Presence(ctx context.Context, channel string, limit int) (Presence, error) {
	if err := s.checkName("channel", channel); err != nil {
		return Presence{}, err
	}
	var all Presence
	user, ofUser := strings.CutPrefix(channel, protocol.UserPrefix)
	err := askLoops(ctx, s, func(sh *shard.Shard) (part Presence) {
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
	}, func(part Presence) bool {
		all.Clients += part.Clients
		all.Members = append(all.Members, part.Members...)
		return true
	})
	if err != nil {
		return Presence{}, err
	}
	all.Truncated = len(all.Members) < all.Clients
	return all, nil
}

// member is what presence tells of a connection.
func (s *Server) member(sh *shard.Shard, id netpoll.ID) Member {
	m := Member{Client: id.String(), User: sh.User(id)}
	if n := s.hooksOf(sh).sessions[id]; n != nil {
		m.Info = n.info
	}
	return m
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
	if sh.Native(id) {
		info.Subprotocol = native.Subprotocol
	}
	info.LagMessages, info.PendingBytes = sh.Lag(id)
	sh.Channels(id, func(name string) bool {
		info.Channels = append(info.Channels, name)
		return true
	})
	slices.Sort(info.Channels)
	return info
}

// connOf is the connection that Conn.String named.
func (s *Server) connOf(client string) (Conn, error) {
	id, err := netpoll.ParseID(client)
	if err != nil {
		return Conn{}, fmt.Errorf("%w: the connection %.40q is not as Conn.String writes it", ErrBadName, client)
	}
	return Conn{s, id}, nil
}

// Disconnect closes the connection that Conn.String named. One that has ended
// already is no error.
func (s *Server) Disconnect(client string, code CloseCode, reason string) error {
	c, err := s.connOf(client)
	if err != nil {
		return err
	}
	return c.Close(code, reason)
}

// DisconnectUser closes all connections of a user with a Close frame, behind what was
// published to them before.
func (s *Server) DisconnectUser(user string, code CloseCode, reason string) error {
	if err := s.checkName("user", user); err != nil {
		return err
	}
	return s.eachLoop(code, func(sh *shard.Shard) error { return sh.CloseUser(user, code, reason) })
}

// DisconnectChannel closes all connections that are in a channel.
func (s *Server) DisconnectChannel(channel string, code CloseCode, reason string) error {
	if err := s.checkName("channel", channel); err != nil {
		return err
	}
	if user, ok := strings.CutPrefix(channel, protocol.UserPrefix); ok {
		return s.DisconnectUser(user, code, reason)
	}
	return s.eachLoop(code, func(sh *shard.Shard) error {
		return sh.Call(func(sh *shard.Shard) {
			if sh == nil {
				return
			}
			var ids []netpoll.ID
			sh.Members(channel, func(id netpoll.ID) bool {
				ids = append(ids, id)
				return true
			})
			for _, id := range ids {
				_ = sh.Close(id, code, reason) // fails only when the server ends
			}
		})
	})
}

// eachLoop gives every loop something to do that ends connections with a code.
func (s *Server) eachLoop(code CloseCode, f func(*shard.Shard) error) error {
	if !code.Valid() {
		return fmt.Errorf("server: close code %d must not be sent: want 1000 to 1003, 1007 to 1014, or 3000 to 4999", code)
	}
	members := s.members()
	if members == nil {
		return ErrServerClosed
	}
	for _, sh := range members {
		if err := f(sh); err != nil {
			return err
		}
	}
	return nil
}

// SubscribeUser subscribes all connections that a user has now to a channel. It
// returns when each loop has a note of it. Beyond SubscriptionsMax it is refused,
// counted and logged.
func (s *Server) SubscribeUser(user, channel string) error {
	return s.subscriptionOf(user, channel, (*Server).subscribeByServer)
}

// UnsubscribeUser ends the subscriptions that all connections of a user have to
// a channel.
func (s *Server) UnsubscribeUser(user, channel string) error {
	return s.subscriptionOf(user, channel, (*Server).unsubscribeByServer)
}

func (s *Server) subscriptionOf(user, channel string, change func(*Server, *shard.Shard, netpoll.ID, string)) error {
	if err := s.checkName("user", user); err != nil {
		return err
	}
	if err := s.checkName("channel", channel); err != nil {
		return err
	}
	if strings.HasPrefix(channel, protocol.UserPrefix) {
		return fmt.Errorf("%w: %q is the channel of a user, and can't be joined or left", ErrBadName, channel)
	}
	members := s.members()
	if members == nil {
		return ErrServerClosed
	}
	for _, member := range members {
		if err := member.Call(func(sh *shard.Shard) {
			if sh == nil {
				return
			}
			sh.UserMembers(user, func(id netpoll.ID) bool {
				if sh.IsReady(id) {
					change(s, sh, id, channel)
				}
				return true
			})
		}); err != nil {
			return err
		}
	}
	return nil
}
