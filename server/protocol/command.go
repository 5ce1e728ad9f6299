package protocol

import (
	"github.com/roostws/roost/server/history"
)

// A Kind tells commands apart.
type Kind uint8

// The commands. The zero Kind is a heartbeat that the shard has not taken for one,
// because it is written in another way.
const (
	Connect Kind = iota + 1
	Subscribe
	Unsubscribe
	Publish
	Presence
	History
	Call
	Refresh
	Ack
)

var kinds = [...]string{"unknown", "connect", "subscribe", "unsubscribe", "publish", "presence", "history", "call", "refresh", "ack"}

// String returns the command's name, in lower case.
func (k Kind) String() string {
	if int(k) >= len(kinds) {
		k = 0
	}
	return kinds[k]
}

// A Command is what a client wants. Which fields have a meaning depends on Kind.
type Command struct {
	// ID is repeated in the reply; 0: the client wants no reply.
	ID   uint64
	Kind Kind
	// Channel: all but Connect and Call. Only Refresh may leave it empty.
	Channel string
	// Token: Connect, Subscribe, Refresh.
	Token string
	// Name: Connect.
	Name string
	// Method: Call.
	Method string
	// Key: Publish.
	Key string
	// Data is JSON or nothing: Connect, Publish, Call. It is a part of the message
	// that was decoded, and dies with it.
	Data []byte
	// Base64: Publish; Data is a JSON string that holds binary data in base64.
	Base64 bool
	// Position is the resume of Subscribe, the since of History, and Ack's, if
	// HasPosition.
	Position    history.Position
	HasPosition bool
	// Resume are Connect's positions by channel.
	Resume map[string]history.Position
	// Limit: Presence, History; -1 if the client gave none.
	Limit int
	// Reverse: History.
	Reverse bool
}

// since is the position of the command, nil if it has none.
func (c *Command) since() *history.Position {
	if !c.HasPosition {
		return nil
	}
	return &c.Position
}
