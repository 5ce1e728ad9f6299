package server

import (
	"fmt"
	"strings"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// connOf returns the connection that Conn.String named.
func (s *Server) connOf(client string) (Conn, error) {
	id, err := netpoll.ParseID(client)
	if err != nil {
		return Conn{}, fmt.Errorf("%w: the connection %.40q is not as Conn.String writes it", ErrBadName, client)
	}
	return Conn{s, id}, nil
}

// Disconnect closes the connection that Conn.String named. It is no error if that
// has ended already.
func (s *Server) Disconnect(client string, code CloseCode, reason string) error {
	c, err := s.connOf(client)
	if err != nil {
		return err
	}
	return c.Close(code, reason)
}

// DisconnectUser closes all connections of a user with a Close frame, after what was
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

func checkCloseCode(code CloseCode) error {
	if code.Valid() {
		return nil
	}
	return fmt.Errorf("server: close code %d must not be sent: want 1000 to 1003, 1007 to 1014, or 3000 to 4999", code)
}

// eachLoop calls f with each shard, to end connections with a code.
func (s *Server) eachLoop(code CloseCode, f func(*shard.Shard) error) error {
	if err := checkCloseCode(code); err != nil {
		return err
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
// returns when the request is in the inbox of each loop. Beyond SubscriptionsMax it
// is refused, counted and logged. In a channel with history, a connection that
// comes back over a protocol within HistoryAge can resume the subscription, until
// UnsubscribeUser; that costs some 200 bytes for each user and channel.
func (s *Server) SubscribeUser(user, channel string) error {
	return s.subscriptionOf(user, channel, (*protocol.Sessions).SubscribeByServer)
}

// UnsubscribeUser ends the subscriptions that all connections of a user have to
// a channel.
func (s *Server) UnsubscribeUser(user, channel string) error {
	s.rules.Revoke(user, channel)
	return s.subscriptionOf(user, channel, (*protocol.Sessions).UnsubscribeByServer)
}

func (s *Server) subscriptionOf(user, channel string, change func(*protocol.Sessions, *shard.Shard, netpoll.ID, string)) error {
	if err := s.checkName("user", user); err != nil {
		return err
	}
	if err := protocol.CheckChannel(channel, s.cfg.Limits.ChannelNameMaxBytes); err != nil {
		return err
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
					change(s.hooksOf(sh).sessions, sh, id, channel)
				}
				return true
			})
		}); err != nil {
			return err
		}
	}
	return nil
}
