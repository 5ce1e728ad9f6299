// Package history describes what is kept of a channel: positions in it, questions
// about it, and the pages that are the results. server.Server.History asks.
package history

import (
	"time"

	"github.com/roostws/roost/frame"
)

// A Position is a place in a channel's history: right after the message Offset.
type Position struct {
	// Epoch names one history. A channel whose history was forgotten, or lost with
	// the process, gets another epoch. Offsets of different epochs can't be compared.
	// Empty without history.
	Epoch string `json:"epoch"`
	// Offset numbers the messages of a history, one by one.
	Offset uint64 `json:"offset"`
}

// A Query selects messages of a channel's history.
type Query struct {
	// Since begins right after a position (right before it, with Reverse). If nil,
	// the query begins at the oldest message, or the newest with Reverse.
	Since *Position
	// Limit bounds the number of messages. If zero, only the position is returned.
	Limit int
	// Reverse returns the newest first.
	Reverse bool
}

// A Page is the result of a Query.
type Page struct {
	// Position is that of the newest message.
	Position
	// Messages are those that were asked for, nil if there are none.
	Messages []Message
	// More reports that there are more than Query.Limit.
	More bool
	// Gap reports that messages after Query.Since (before it, with Reverse) are not
	// kept any more, or that Since is of another epoch.
	Gap bool
}

// A Message is a message in a channel's history.
type Message struct {
	Offset uint64
	// Time is when it was published.
	Time time.Time
	// Type is frame.OpText or frame.OpBinary.
	Type frame.Opcode
	// Payload is shared with the server and must not be changed.
	Payload []byte
	// Key and From are those of the Publication.
	Key, From string
}
