package server

import (
	"fmt"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// A Conn names one connection. It is a small value, to be copied, compared and
// used as a map key; it keeps nothing alive. When the connection has ended it
// names nothing, and what it is told to do is not done: its place may long
// belong to another client, which will not notice.
//
// All methods may be called from any goroutine, also from callbacks. They only
// put a note into the inbox of the connection's loop, which acts on the notes of
// one goroutine in order.
type Conn struct {
	server *Server
	id     netpoll.ID
}

// String returns the connection's name, as Audience.Client takes it: unique as long as the
// process lives; with Config.Broker among all servers, too, since "@" and the ID of this one
// stand behind what logs show.
func (c Conn) String() string {
	if c.server == nil {
		return c.id.String()
	}
	return c.server.nameOf(c.id)
}

func (c Conn) shard() (*shard.Shard, error) {
	if c.server == nil {
		return nil, ErrServerClosed
	}
	return c.server.shardOf(c.id)
}

// Send sends a message to the client. It copies payload. The error tells only
// that the note could not be taken: ErrBusy, ErrServerClosed, ErrMessageTooBig, or a bad type.
func (c Conn) Send(t MessageType, payload []byte) error {
	s, err := c.shard()
	if err != nil {
		return err
	}
	if err := c.server.checkMessage(t, payload); err != nil {
		return err
	}
	return s.Send(c.id, hub.NewMessage(t, payload))
}

// Join subscribes the client to a channel; joining twice is joining once. It
// gets what is published after the note was acted upon. Beyond
// SubscriptionsMax it is refused, counted and logged. A client that speaks the
// native protocol is told; one that has not connected there yet joins when it has.
// The channel of a user
// ("user:ID") can't be joined: a connection is in that of its own identity.
func (c Conn) Join(channel string) error {
	s, err := c.shard()
	if err != nil {
		return err
	}
	if err := protocol.CheckChannel(channel, c.server.cfg.Limits.ChannelNameMaxBytes); err != nil {
		return err
	}
	return s.Join(c.id, channel)
}

// Leave ends a subscription.
func (c Conn) Leave(channel string) error {
	s, err := c.shard()
	if err != nil {
		return err
	}
	return s.Leave(c.id, channel)
}

// Close closes the connection with a Close frame, behind what was sent before.
// The reason is cut to 123 bytes.
func (c Conn) Close(code frame.CloseCode, reason string) error {
	if err := checkCloseCode(code); err != nil {
		return err
	}
	s, err := c.shard()
	if err != nil {
		return err
	}
	return s.Close(c.id, code, reason)
}

func checkCloseCode(code frame.CloseCode) error {
	if code.Valid() {
		return nil
	}
	return fmt.Errorf("server: close code %d must not be sent: want 1000 to 1003, 1007 to 1014, or 3000 to 4999", code)
}
