package socketio

import (
	"slices"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol/engineio"
)

// except is what a broadcast leaves out.
type except = hub.Except

// A Broadcast says who gets an event: the sockets of a namespace, or of some rooms there,
// but not those of others. Its methods return another one.
type Broadcast struct {
	namespace *Namespace
	sender    *Socket // who gets nothing; nil for nobody
	rooms     []string
	except    []string
}

// To adds rooms whose sockets get it; without any, all of the namespace do. A socket that
// is in several gets it once. The ID of a socket is a room, too.
func (b Broadcast) To(rooms ...string) Broadcast {
	b.rooms = slices.Concat(b.rooms, rooms)
	return b
}

// In is To.
func (b Broadcast) In(rooms ...string) Broadcast { return b.To(rooms...) }

// Except adds rooms whose sockets do not get it.
func (b Broadcast) Except(rooms ...string) Broadcast {
	b.except = slices.Concat(b.except, rooms)
	return b
}

// Emit sends the event. The message is encoded once for all who get it. The error is that of
// an argument, or server.ErrBusy.
func (b Broadcast) Emit(event string, args ...any) error {
	m, err := newMessage(event, args)
	if err != nil {
		return err
	}
	ns := b.namespace
	whole := Channel(ns.name, "")
	var out except
	kept := ns.recovers()
	switch {
	case b.sender == nil:
	case kept: // it may have another connection when it gets what it has missed
		out.Names = append(out.Names, b.sender.name())
	default:
		out.Clients = append(out.Clients, b.sender.conn.ID())
	}
	for _, room := range b.except {
		out.Channels = append(out.Channels, Channel(ns.name, room))
		if mayBeSocketID(room) {
			out.Names = append(out.Names, Channel(ns.name, room))
		}
	}
	if len(b.rooms) == 0 {
		return b.publish(whole, m, out)
	}
	if kept || slices.ContainsFunc(b.rooms, mayBeSocketID) {
		out.Only = &hub.Group{}
		for _, room := range b.rooms {
			out.Only.Channels = append(out.Only.Channels, Channel(ns.name, room))
			if mayBeSocketID(room) {
				out.Only.Names = append(out.Only.Names, Channel(ns.name, room))
			}
		}
		return b.publish(whole, m, out)
	}
	for i, room := range b.rooms {
		if slices.Contains(b.rooms[:i], room) {
			continue
		}
		if err := b.publish(Channel(ns.name, room), m, out); err != nil {
			return err
		}
		out.Channels = append(slices.Clone(out.Channels), Channel(ns.name, room))
	}
	return nil
}

// publish publishes the event in a channel.
func (b Broadcast) publish(channel string, m message, out except) error {
	t, payload := frame.OpText, m.data
	if len(m.blobs) > 0 {
		t, payload = frame.OpBinary, m.appendBinary(nil)
	}
	var leave *except
	if len(out.Clients)+len(out.Channels)+len(out.Names) > 0 || out.Only != nil {
		leave = &out
	}
	return b.namespace.io.rules.Host.PublishExcept(channel, t, payload, leave)
}

// Join puts the sockets that would get an event, on this server, into rooms.
func (b Broadcast) Join(rooms ...string) { b.each(func(s *Socket) { _ = s.Join(rooms...) }) }

// Leave takes them out of rooms.
func (b Broadcast) Leave(rooms ...string) { b.each(func(s *Socket) { _ = s.Leave(rooms...) }) }

// Disconnect disconnects them: see Socket.Disconnect.
func (b Broadcast) Disconnect(all bool) { b.each(func(s *Socket) { _ = s.Disconnect(all) }) }

// each calls f for each socket of this server that would get an event, on its loop, soon.
func (b Broadcast) each(f func(s *Socket)) {
	ns := b.namespace
	b.namespace.io.Each(func(s *shard.Shard, c *engineio.Conn) {
		cl, _ := c.App.(*client)
		if cl == nil {
			return
		}
		socket := cl.socket(ns.name)
		if socket == nil || socket == b.sender {
			return
		}
		in := func(room string) bool {
			return room == socket.ID() || s.Subscribed(c.ID(), Channel(ns.name, room))
		}
		if (len(b.rooms) == 0 || slices.ContainsFunc(b.rooms, in)) && !slices.ContainsFunc(b.except, in) {
			f(socket)
		}
	})
}
