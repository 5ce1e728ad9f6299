package protocol

import (
	"bytes"
	"context"
	"strings"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
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
	// Path is that of its requests, for WebSockets and for those that poll. One that ends
	// in /* stands for all paths below it.
	Path() string
	// Start is called once, before anything else. rules are the server's.
	Start(rules *Rules)
	// Mailboxes are connections without a socket, for clients that poll: at most Max for
	// each loop. If Max is 0, there are none. One protocol of a server may have them.
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
	// Owned reports whether a channel may be that of one client alone: no client subscribes to
	// it by itself. Any goroutine.
	Owned(channel string) bool
}

// checkJoin refuses a client, of whatever protocol, that wants to subscribe by itself to the
// channel of a single client: it would get what is meant for that one.
func (r *Rules) checkJoin(channel string) error {
	if r.Namer != nil && r.Namer.Owned(channel) {
		return &Error{Code: CodePermissionDenied, Message: "the channel may be that of a single client: no other one can subscribe to it"}
	}
	return nil
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
		if k, ok := c.(Keeper); ok && fits(k.Path(), path) {
			return k, i + 1
		}
	}
	return nil, 0
}

// fits reports whether a path is that of a Keeper.
func fits(pattern string, path []byte) bool {
	prefix, below := strings.CutSuffix(pattern, "*")
	return below && strings.HasPrefix(string(path), prefix) || pattern == string(path)
}

// KeeperOf returns the protocol with this number if it is a Keeper.
func (r *Rules) KeeperOf(number int) Keeper {
	if number == 0 {
		return nil
	}
	k, _ := r.Codecs[number-1].(Keeper)
	return k
}

// A Registrar is a Keeper with channels whose members are users, and not connections: a
// user joins with the first connection, on whatever server, and leaves with the last one.
type Registrar interface {
	Keeper
	// Registers reports whether a channel is one of these. Any goroutine may call it.
	Registers(channel string) bool
	// Member returns who a connection is in such a channel, and what presence shows of it.
	// It returns ok false for a connection that is not among the channel's members.
	Member(s *shard.Shard, id netpoll.ID, channel string) (user string, info []byte, ok bool)
	// Changed takes a join or a leave of a connection, and calls tell with what the
	// channel's subscribers on this server are told of it, if that is anything. It returns
	// tell's error. A change that it gets twice is one. Any goroutine may call it.
	Changed(m *Membership, tell func(*Membership) error) error
	// Stopping and Silent are the close codes for connections of a server that stops, and
	// for those that have not answered a heartbeat.
	Stopping() frame.CloseCode
	Silent() frame.CloseCode
}

// Begin is called once, by the server, when the rules are complete: it starts the Keepers.
func (r *Rules) Begin() {
	for _, c := range r.Codecs {
		if k, ok := c.(Registrar); ok {
			r.registrar = k
		}
		if k, ok := c.(Keeper); ok {
			k.Start(r)
		}
	}
}

// Registrar returns the protocol to which such a channel belongs, nil for any other channel.
func (r *Rules) Registrar(channel string) Registrar {
	if r.registrar != nil && r.registrar.Registers(channel) {
		return r.registrar
	}
	return nil
}

// Member returns who a connection is in a channel, and what presence shows of it.
func (x *Sessions) Member(s *shard.Shard, id netpoll.ID, channel string) (user string, info []byte) {
	if r := x.rules.Registrar(channel); r != nil {
		if user, info, ok := r.Member(s, id, channel); ok {
			return user, info
		}
	}
	return s.User(id), x.Info(id)
}

// What a Keeper asks of the sessions. All of it on the loop only.

// Enter subscribes a connection as the command does, when the broker knows the channel, and
// then calls done: at once or later, with later messages of the connection waiting. Who may
// subscribe is the Keeper's business.
func (x *Sessions) Enter(s *shard.Shard, id netpoll.ID, channel string, done func(ChannelState, *Error)) {
	t := &task{x: x, s: s, id: id, cmd: Command{Kind: Subscribe, Channel: channel}}
	if _, err := t.namespace(); err != nil {
		done(ChannelState{}, t.explain(err))
		return
	}
	t.want([]string{channel}, func(t *task, err error) {
		var state ChannelState
		if err == nil {
			state, err = t.enter(channel, nil)
		}
		if err != nil {
			done(state, t.explain(err))
			return
		}
		done(state, nil)
	})
}

// Leave undoes Enter, and reports whether there was something to undo.
func (x *Sessions) Leave(s *shard.Shard, id netpoll.ID, channel string) bool {
	if !s.Unsubscribe(id, channel) {
		return false
	}
	x.forget(s, id, channel)
	x.left(s, id, channel)
	return true
}

// Identify gives a connection that has none its identity, and with it the user's channel. It
// calls done as Enter does.
func (x *Sessions) Identify(s *shard.Shard, id netpoll.ID, user string, done func(*Error)) {
	t := &task{x: x, s: s, id: id, cmd: Command{Kind: Subscribe, Channel: UserPrefix + user}}
	if err := CheckName("user", user, x.rules.NameMaxBytes); err != nil {
		done(t.explain(err))
		return
	}
	t.want([]string{UserPrefix + user}, func(t *task, _ error) { // without the broker it goes on all the same
		t.s.SetUser(t.id, user, nil)
		done(nil)
	})
}

// Ask runs work, which may block, on another goroutine, and then calls then on the loop, if
// the connection is still open; its later messages wait meanwhile.
func (x *Sessions) Ask(s *shard.Shard, id netpoll.ID, what string, work func(ctx context.Context) error, then func(error)) {
	t := &task{x: x, s: s, id: id, cmd: Command{Kind: Subscribe}}
	t.ask(what, work, func(_ *task, err error) { then(err) })
}

// Say publishes a connection's message to the others in a channel, and tells the
// application.
func (x *Sessions) Say(s *shard.Shard, id netpoll.ID, channel string, data []byte) *Error {
	t := &task{x: x, s: s, id: id, cmd: Command{Kind: Publish, Channel: channel}}
	err := CheckDepth("data", data, x.rules.DataMaxDepth)
	if err == nil {
		err = x.rules.Host.PublishExcept(channel, frame.OpText, data, &hub.Except{Clients: []netpoll.ID{id}})
		s.HoldPublisher(id)
	}
	if err != nil {
		return t.explain(err)
	}
	if x.rules.Events != nil {
		user, _ := x.Member(s, id, channel)
		x.event(s, id, Event{Type: EventMessage, User: user, Channel: channel, Data: bytes.Clone(data)})
	}
	return nil
}
