package server

import (
	"net/netip"
	"time"

	"github.com/roostws/roost/server/internal/hub"
)

// A Publication is a message to publish, with everything that can be said about
// it. Exactly one of Channel, User and All names those who get it.
type Publication struct {
	// Channel reaches the subscribers of a channel. "user:ID" is the same as User: ID.
	Channel string
	// User reaches all connections of a user; over the native protocol they see it
	// as a message of the channel "user:ID".
	User string
	// All reaches every open connection.
	All bool
	// Type is Text, the default, or Binary.
	Type MessageType
	// Payload is the message. It is copied. Over the native protocol a text that
	// is JSON travels as it is, any other text as a JSON string, and a binary
	// message in base64.
	Payload []byte
	// Key is for ChannelLatest: a newer message with the same key makes an older one
	// superfluous.
	Key string
	// From names the user on whose behalf this is published; native clients see it.
	From string
	// IdempotencyKey makes a repetition within IdempotencyAge harmless: it answers the
	// first one's receipt.
	IdempotencyKey string
	// Spread paces the delivery over this time, so that the audience does not
	// stampede the application: each connection gets the message at its own
	// moment. Such a message has no offset, is not kept, and keeps no order with others.
	Spread time.Duration
}

// A Position is a place in a channel's history, right after the message Offset.
// Offsets of different epochs can't be compared. Both are empty without history.
type Position = hub.Position

// A Receipt tells what became of a publication.
type Receipt struct {
	// Position is that of the message; zero without history.
	Position
	// Matched is how many connections it was for, when its turn came.
	Matched int
	// Written is for how many of them the kernel (or TLS) took it at once. The rest
	// lag behind: they get it when they read on, or fall under the slow consumer
	// policy.
	Written int
	// Complete: every loop has counted. False where ctx was done before.
	Complete bool
	// Duplicate: the idempotency key was known; nothing was published now.
	Duplicate bool
}

// A HistoryQuery selects messages of a channel's history.
type HistoryQuery struct {
	// Since begins behind a position (before it, with Reverse). If nil, at the oldest
	// message, or the newest with Reverse.
	Since *Position
	// Limit bounds the number of messages. If zero, only the position is answered.
	Limit int
	// Reverse answers the newest first.
	Reverse bool
}

// A HistoryPage is what History answers.
type HistoryPage struct {
	// Position is that of the newest message.
	Position
	Messages []HistoryMessage
	// More: there are more than Limit.
	More bool
	// Gap: messages behind Since (or before, with Reverse) are not there any more, or Since is of another epoch.
	Gap bool
}

// A HistoryMessage is a message in a channel's history.
type HistoryMessage struct {
	Offset  uint64
	Time    time.Time
	Type    MessageType
	Payload []byte // immutable
	Key     string
	From    string
}

// A ChannelInfo is a channel with subscribers.
type ChannelInfo struct {
	Name    string
	Clients int
}

// A ConnectionInfo is one connection of a user.
type ConnectionInfo struct {
	Client     string
	User       string
	RemoteAddr netip.AddrPort
	// Subprotocol is the agreed one, empty if none.
	Subprotocol string
	// Age is how long it is open.
	Age time.Duration
	// Channels are its subscriptions.
	Channels []string
	// LagMessages is how many published messages it is behind, as far as
	// that is known, and PendingBytes what waits for it alone.
	LagMessages  uint64
	PendingBytes int
}
