package client

import "encoding/json"

// A Message is what was published to a channel, or sent to this connection alone.
// It belongs to the handler, which may keep and change it.
type Message struct {
	// Channel is empty if it was sent to this connection alone.
	Channel string
	// Position is the message's place in the channel's history, zero without history.
	Position Position
	// Data is JSON; any bytes where Binary is set.
	Data   []byte
	Binary bool
	// Key is what the publisher gave for channels that keep the latest of each key.
	Key string
	// From is the user that published it, empty for the application.
	From string
}

// EventType names what happened to a subscription.
type EventType string

// The types of an Event, with the fields that are set beside Type and Channel.
const (
	// EventSubscribed: messages come from now on, after the first subscribe and
	// after each lost connection. Position, Recovered.
	EventSubscribed EventType = "subscribed"
	// EventUnsubscribed: the server has ended the subscription for good. It is the
	// last event. Err.
	EventUnsubscribed EventType = "unsubscribed"
	// EventGap: messages From to To will not come, or only some of them: this
	// client was too slow for the channel. From, To.
	EventGap EventType = "gap"
	// EventJoin and EventLeave: somebody else came, or went. Client, User.
	EventJoin  EventType = "join"
	EventLeave EventType = "leave"
)

// An Event tells what happened to a subscription. It comes in order with the
// messages.
type Event struct {
	Type    EventType
	Channel string
	// Recovered tells that nothing was missed since the position known before: all
	// of it comes. Otherwise (always for the first time, unless
	// SubscribeOptions.Resume was given) load your state: what comes is newer than
	// Position.
	Recovered bool
	Position  Position
	From, To  uint64
	// Client and User are the other's connection and identity.
	Client, User string
	Err          error
}

// raw is data as JSON, as it is if it is json.RawMessage.
func raw(data any) (json.RawMessage, error) {
	if data, ok := data.(json.RawMessage); ok && json.Valid(data) {
		return data, nil
	}
	return encode(data)
}
