package protocol

import (
	"encoding/json"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
)

// A Result is what a command has done. Which field is set depends on the
// command's Kind; those of Unsubscribe and Ack set none.
type Result struct {
	Connected Connected        // Connect
	Channel   ChannelState     // Subscribe
	Position  history.Position // Publish; empty without history
	Members   ChannelMembers   // Presence
	Page      history.Page     // History
	Data      []byte           // Call; JSON or nothing
	Expires   Expiry           // Refresh
}

// Connected is the result of Connect.
type Connected struct {
	Client  string
	User    string // may be empty
	Expires Expiry
	// Ping is how long the connection may be silent before the server sends a
	// heartbeat, 0 if it sends none.
	Ping time.Duration
	// MessageMaxBytes and SubscriptionsMax are what the connection may send at once,
	// and the channels that it may be in.
	MessageMaxBytes, SubscriptionsMax int
	// Data is the application's, JSON or nothing.
	Data []byte
	// Channels are those that the server has subscribed.
	Channels []ChannelState
}

// An Expiry is how long a token is still good; the zero value means for ever.
type Expiry struct {
	Set  bool
	Left time.Duration
}

// expiryAt returns the Expiry of a moment that lies ahead, or is zero.
func expiryAt(t, now time.Time) Expiry {
	if t.IsZero() {
		return Expiry{}
	}
	return Expiry{true, max(t.Sub(now), 1)}
}

// A ChannelState is what a client learns of a subscription.
type ChannelState struct {
	Channel string
	// Position is where live delivery begins; empty without history.
	Position history.Position
	// Resumed: the client asked to resume. Recovered: it gets all that it missed.
	Resumed, Recovered bool
	// Expires is when the subscription ends unless a new token comes.
	Expires Expiry
}

// ChannelMembers are the connections in a channel.
type ChannelMembers struct {
	// Clients is the number of connections that subscribe.
	Clients int
	// Members are some of them, at most as many as were asked for, in no order.
	Members []Member
	// Truncated: there are more.
	Truncated bool
	// Incomplete: a server did not answer in time. Its connections are not among these.
	Incomplete bool
}

// memberOverheadBytes is what a member takes beside its texts.
const memberOverheadBytes = 40

// cut leaves out members beyond some bytes.
func (m *ChannelMembers) cut(maxBytes int) {
	for i := range m.Members {
		one := &m.Members[i]
		if maxBytes -= memberOverheadBytes + len(one.Client) + len(one.User) + len(one.Info); maxBytes < 0 {
			m.Members, m.Truncated = m.Members[:i], true
			return
		}
	}
}

// A Member is one connection in a channel.
type Member struct {
	// Client is the connection's name, as Conn.String returns it.
	Client string
	// User is its identity, empty if it has none.
	User string
	// Info is what the application set in ConnectRequest.Info, JSON or nothing.
	Info json.RawMessage
}

// A Message is a publication as its receivers see it.
type Message struct {
	// Channel is empty for a message to one connection, or to all.
	Channel string
	// Offset is 0 in channels without history.
	Offset uint64
	// Epoch is set in the first message of a history only: subscribers may know the
	// epoch of one that was forgotten. Place is set in all.
	Epoch string
	Place history.Position
	// Data is the message; Binary if it is not text.
	Data   []byte
	Binary bool
	// Key and From may be empty.
	Key, From string
}

// A Membership is the news that a connection has joined a channel, or left it.
type Membership struct {
	Channel, Client, User string
	Left                  bool
	// Info is what a Registrar shows of the member, JSON or nothing.
	Info []byte
	// ID is the connection, if it is one of this server's, which is not told of itself where
	// a Registrar says so by Others; 0 for others.
	ID     netpoll.ID
	Others bool
}
