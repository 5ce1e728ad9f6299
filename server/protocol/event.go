package protocol

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/shard"
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
	// EventMessage: a client has published: Client, User, Channel, Data, Binary, Position.
	EventMessage EventType = "message"
	// EventAcknowledged: a client has processed everything up to Position:
	// Client, User, Channel, Position.
	EventAcknowledged EventType = "acknowledged"
	// EventCalled: a client has sent an event for the application that wants no reply:
	// Client, User, Protocol, Namespace, Socket, Method, Data. Protocols with such events only.
	EventCalled EventType = "called"
)

// An Event tells the application what happened to clients, whatever they speak.
// server.Config.Events gets it.
type Event struct {
	Type     EventType
	Time     time.Time
	Client   string // Conn.String
	User     string
	Channel  string
	Position history.Position
	Code     frame.CloseCode
	Reason   string
	Age      time.Duration
	// Data is the message, JSON unless it is Binary. It is immutable and may be kept.
	Data   []byte
	Binary bool
	// Protocol is that of the client if it is a Keeper; Namespace and Socket are what it
	// calls the part of its server and the client there (connected, disconnected, called),
	// and Method is the name of a client's event (called).
	Protocol, Namespace, Socket, Method string
}

// Connected tells the application of a connection that speaks raw messages, and
// of the channels that it came with.
func (x *Sessions) Connected(s *shard.Shard, id netpoll.ID) {
	x.event(s, id, Event{Type: EventConnected})
	x.eachChannel(s, id, x.joined)
}

// Occupied tells the application that a channel has its first subscriber, or has
// lost its last one.
func (x *Sessions) Occupied(channel string, occupied bool) {
	e := Event{Type: EventVacated, Channel: channel}
	if occupied {
		e.Type = EventOccupied
	}
	x.tell(0, &e)
}

// Listens reports whether the application is told anything.
func (r *Rules) Listens() bool { return r.Events != nil }

// Tell tells the application of a client of a Keeper; Client, User, Protocol and Time of the
// event are set here.
func (x *Sessions) Tell(s *shard.Shard, id netpoll.ID, e Event) { x.event(s, id, e) }

// event tells the application of a connection. Polls come and go with each request:
// only what they say is told.
func (x *Sessions) event(s *shard.Shard, id netpoll.ID, e Event) {
	if x.rules.Events != nil && !(s.Polls(id) && e.Type != EventMessage && e.Type != EventAcknowledged) {
		own := e // so that nothing is allocated where nothing listens
		if own.Client = x.name(s, id); own.User == "" {
			own.User = s.User(id)
		}
		if k := x.rules.KeeperOf(s.Protocol(id)); k != nil {
			own.Protocol = k.Name()
		}
		x.tell(id, &own)
	}
}

// tell calls Rules.Events. A panic there changes nothing: what happened has
// happened.
func (x *Sessions) tell(id netpoll.ID, e *Event) {
	defer func() {
		if value := recover(); value != nil {
			x.rules.Host.Panicked("Events", id, value)
		}
	}()
	e.Time = time.Now()
	x.rules.Events(e)
}
