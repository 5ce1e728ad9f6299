package client

import "encoding/json"

// A Message was published to a channel, or sent to this connection alone. It belongs to
// the handler, which may keep and change it.
type Message struct {
	// Channel is empty for a message to this connection alone.
	Channel string
	// Position is the message's place in the channel's history, zero without history.
	Position Position
	// Data is JSON; any bytes where Binary is set.
	Data   []byte
	Binary bool
	// Key groups messages of which only the newest matters, empty without one.
	Key string
	// From is the user that published it, empty for the application.
	From string
}

// EventType names what happened to a subscription.
type EventType string

// The types of an Event, with the fields that are set beside Type and Channel.
const (
	// EventSubscribed: messages come from now on, after the first subscribe, after each
	// lost connection, and, with Recovered false, where the server has lost the channel's
	// history. Position, Recovered.
	EventSubscribed EventType = "subscribed"
	// EventUnsubscribed: the server has ended the subscription for good. It is the
	// last event. Err.
	EventUnsubscribed EventType = "unsubscribed"
	// EventGap: the messages From to To, or some of them, will not come: this client was
	// too slow for the channel. From, To.
	EventGap EventType = "gap"
	// EventJoin and EventLeave: another connection has subscribed, or its subscription
	// has ended. Client, User.
	EventJoin  EventType = "join"
	EventLeave EventType = "leave"
)

// An Event tells what happened to a subscription. It comes in order with the
// messages.
type Event struct {
	Type    EventType
	Channel string
	// Recovered reports whether nothing was missed since the last known position: all of
	// it follows. Otherwise (and always the first time, without SubscribeOptions.Resume)
	// load your state: the messages that follow are newer than Position.
	Recovered bool
	Position  Position
	From, To  uint64
	// Client and User are the other connection and its user.
	Client, User string
	Err          error
}

// raw returns data as JSON; a valid json.RawMessage unchanged.
func raw(data any) (json.RawMessage, error) {
	if data, ok := data.(json.RawMessage); ok && json.Valid(data) {
		return data, nil
	}
	return encode(data)
}
