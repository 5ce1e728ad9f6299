package protocol

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/shard"
)

// A Keeper is a protocol that is found by its path, and keeps a state of its own for
// each connection: its clients are carried over from one connection to another, or are
// several clients on one. It decides what their messages mean. What is published to its
// connections is encoded by its Message, as by that of any Codec, and its channels are
// channels like all others; Decode, Reply and Error are not called.
//
// Its methods run on the event loops and must not block.
type Keeper interface {
	Codec
	// Name is what the application, and lists of connections, call the protocol.
	Name() string
	// Path is that of its requests, for WebSockets and for those that poll.
	Path() string
	// Start is called once, before anything else. rules are the server's.
	Start(rules *Rules)
	// Mailboxes are connections without a socket, for clients that poll: at most Max for
	// each loop.
	Mailboxes() shard.Mailboxes
	// Admit checks a request for a WebSocket; what it returns is given to Open. An error
	// refuses it.
	Admit(r *handshake.Request) (kept any, err error)
	// Open reports a new connection, a WebSocket or a mailbox, and returns whether it is a
	// new client: Handler.Open is called for those. kept is what Admit has returned, or an
	// Errand of Mailboxes.Read.
	Open(x *Sessions, s *shard.Shard, id netpoll.ID, kept any) bool
	// Received reports a message; p is valid until it returns.
	Received(s *shard.Shard, id netpoll.ID, p []byte, binary bool)
	// Expired reports that the time is over that Shard.SetExpiry gave a connection.
	Expired(s *shard.Shard, id netpoll.ID)
	// Dismissed reports that the application closes a connection with this code and
	// reason: what it is sent now goes before the Close frame.
	Dismissed(s *shard.Shard, id netpoll.ID, code frame.CloseCode, reason string)
	// Closed reports the end of a connection that Open reported, and returns whether a
	// client is gone with it: Handler.Close is called for those. The Keeper has told the
	// application of it with Sessions.Tell, as of its beginning.
	Closed(s *shard.Shard, id netpoll.ID, why shard.Closed) bool
}

// A Namer is a Keeper that knows clients by names of its own, which hub.Except takes.
type Namer interface {
	Keeper
	// Named returns the connection of this loop that has a name, 0 for none. Loop only.
	Named(s *shard.Shard, name string) netpoll.ID
	// Single reports whether a channel may stand for one client alone: then it returns its
	// name, and a channel that it is in. Any goroutine.
	Single(channel string) (whole, name string, ok bool)
}

// Single reports whether a channel may stand for one client, of whatever protocol: see Namer.
func (r *Rules) Single(channel string) (whole, name string, ok bool) {
	if r.Namer == nil {
		return "", "", false
	}
	return r.Namer.Single(channel)
}

// Named returns the connection of this loop that a protocol knows by a name, 0 for none. Loop
// only.
func (r *Rules) Named(s *shard.Shard, name string) netpoll.ID { return r.Namer.Named(s, name) }

// NameOf returns what lists of connections call a protocol.
func NameOf(c Codec) string {
	if k, ok := c.(Keeper); ok {
		return k.Name()
	}
	return c.Subprotocol()
}

// Keeper returns the protocol with this path, and its number: its place in
// Application.Protocols, from 1; nil for none.
func (r *Rules) Keeper(path []byte) (k Keeper, number int) {
	for i, c := range r.Codecs {
		if k, ok := c.(Keeper); ok && k.Path() == string(path) {
			return k, i + 1
		}
	}
	return nil, 0
}

// KeeperOf returns the protocol with this number if it is a Keeper.
func (r *Rules) KeeperOf(number int) Keeper {
	if number == 0 {
		return nil
	}
	k, _ := r.Codecs[number-1].(Keeper)
	return k
}
