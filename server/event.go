package server

import (
	"time"
)

// EventType names what happened.
type EventType string

// The types of an Event, with the fields that are set beside Type and Time.
const (
	// EventConnected: Client, User.
	EventConnected EventType = "connected"
	// EventDisconnected: Client, User, Code, Reason, Age.
	EventDisconnected EventType = "disconnected"
	// EventSubscribed: Client, User, Channel; not for a user's own channel, which comes
	// and goes with the connection.
	EventSubscribed EventType = "subscribed"
	// EventUnsubscribed: Client, User, Channel; also for each channel of a connection that ends.
	EventUnsubscribed EventType = "unsubscribed"
	// EventOccupied: Channel has its first subscriber.
	EventOccupied EventType = "occupied"
	// EventVacated: Channel has lost its last subscriber.
	EventVacated EventType = "vacated"
	// EventMessage: a client has published: Client, User, Channel, Data, Position.
	EventMessage EventType = "message"
	// EventAcknowledged: a client says that it has processed everything up to Position:
	// Client, User, Channel, Position.
	EventAcknowledged EventType = "acknowledged"
)

// An Event tells the application what happened. Config.Events gets it.
type Event struct {
	Type     EventType
	Time     time.Time
	Client   string // Conn.String
	User     string
	Channel  string
	Position Position
	Code     CloseCode
	Reason   string
	Age      time.Duration
	// Data is the message, JSON. It is not changed any more and may be kept.
	Data []byte
}
