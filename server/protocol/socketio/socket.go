package socketio

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/engineio"
)

// A Socket is one client in one namespace. Any goroutine may call its methods, from
// OnConnection on; those that set handlers belong there. After the client is gone they do
// nothing.
type Socket struct {
	// Immutable once it is connected.
	conn *engineio.Conn
	ns   *Namespace

	next *Socket // the client's next one; owned by the loop

	mu sync.Mutex
	// Guarded by mu.
	rare *rare // nil if there is nothing
	gone bool
	// leaving: the application has disconnected it, or is about to; its client does not
	// come back as this socket.
	leaving bool

	ended uint32 // clientRest.ended when it began; immutable
}

// rare is what most sockets never need.
type rare struct {
	handshake *Handshake
	connect   *connecting // of a socket of the application
	data      any
	// With Options.Recovery: the ID of a socket that has come back, and where its namespace
	// stood when it connected.
	id    string
	began history.Position
	moves []move // that wait for the loop
	// Owned by the loop.
	handlers   map[string]func(e *Event)
	disconnect func(reason string)

	acks    map[uint64]*waiting
	lastAck uint64
}

// waiting is an acknowledgement that has not come.
type waiting struct {
	timer *time.Timer
	done  func(args []Value, err error)
}

// with calls f with the socket's rare state, made if need be.
func (s *Socket) with(f func(r *rare)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rare == nil {
		s.rare = &rare{}
	}
	f(s.rare)
}

// peek returns the rare state, nil without.
func (s *Socket) peek() *rare {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rare
}

// ID returns the socket's ID, which the client knows as socket.id. It is a room of the
// socket alone.
func (s *Socket) ID() string {
	if r := s.peek(); r != nil && r.id != "" {
		return r.id
	}
	return s.ns.io.socketID(s.conn.Began(), s.ns.number, s.ended)
}

// Recovered reports whether the client has come back after its connection was lost: it has
// its ID, its rooms and its Data, and gets what it has missed (Options.Recovery).
func (s *Socket) Recovered() bool {
	r := s.peek()
	return r != nil && r.id != ""
}

// Namespace returns where the socket is.
func (s *Socket) Namespace() *Namespace { return s.ns }

// Handshake returns what the client has come with. It is forgotten after OnConnection.
func (s *Socket) Handshake() *Handshake {
	if r := s.peek(); r != nil && r.handshake != nil {
		return r.handshake
	}
	return &Handshake{Auth: Value{raw: []byte("{}")}}
}

// Data returns what SetData was given.
func (s *Socket) Data() any {
	if r := s.peek(); r != nil {
		return r.data
	}
	return nil
}

// SetData keeps v with the socket.
func (s *Socket) SetData(v any) { s.with(func(r *rare) { r.data = v }) }

// On sets the handler of an event of this socket. A handler of Namespace.On costs less
// memory.
func (s *Socket) On(event string, f func(e *Event)) {
	s.with(func(r *rare) {
		if r.handlers == nil {
			r.handlers = map[string]func(*Event){}
		}
		r.handlers[event] = f
	})
}

// OnDisconnect sets what is called when the socket is gone, and why, in the words of
// Socket.IO: "transport close", "ping timeout", "client namespace disconnect", "server
// namespace disconnect".
func (s *Socket) OnDisconnect(f func(reason string)) { s.with(func(r *rare) { r.disconnect = f }) }

// Emit sends an event to the client. Arguments are what encoding/json takes; []byte is
// binary data.
func (s *Socket) Emit(event string, args ...any) error {
	m, err := newMessage(event, args)
	if err != nil {
		return err
	}
	if s.ns.recovers() {
		return s.emitKept(m)
	}
	return s.send(typeEvent, m, nil)
}

// EmitVolatile does the same unless output waits for the client already: then the event is
// dropped.
func (s *Socket) EmitVolatile(event string, args ...any) error {
	m, err := newMessage(event, args)
	if err != nil {
		return err
	}
	text := s.packet(typeEvent, m, nil)
	return s.do(func(sh *shard.Shard, id netpoll.ID) {
		if _, pending := sh.Lag(id); pending == 0 && !sh.Unasked(id) {
			sh.Push(id, text, m.blobs)
		}
	})
}

// EmitWithAck sends an event and calls done with the client's acknowledgement, on the
// client's loop, or with ErrTimeout or ErrGone.
func (s *Socket) EmitWithAck(timeout time.Duration, done func(args []Value, err error), event string, args ...any) error {
	m, err := newMessage(event, args)
	if err != nil {
		return err
	}
	var id uint64
	full := false
	s.with(func(r *rare) {
		if full = len(r.acks) >= acksMax; full {
			return
		}
		if r.acks == nil {
			r.acks = map[uint64]*waiting{}
		}
		id = r.lastAck
		r.lastAck++
		r.acks[id] = &waiting{time.AfterFunc(timeout, func() { s.acknowledged(id, nil, ErrTimeout) }), done}
	})
	if full {
		return errAcks
	}
	if err := s.send(typeEvent, m, &id); err != nil {
		s.acknowledged(id, nil, err)
	}
	return nil
}

// acknowledged ends the wait for an acknowledgement. One that nothing waits for is
// dropped.
func (s *Socket) acknowledged(id uint64, args []Value, err error) {
	s.mu.Lock()
	var w *waiting
	if s.rare != nil {
		if w = s.rare.acks[id]; w != nil {
			delete(s.rare.acks, id)
		}
	}
	s.mu.Unlock()
	if w != nil {
		w.timer.Stop()
		w.done(args, err)
	}
}

// packet returns the text packet of a message.
func (s *Socket) packet(kind byte, m message, id *uint64) []byte {
	return append(appendHead(nil, kind, s.ns.name, len(m.blobs), id), m.data...)
}

func (s *Socket) send(kind byte, m message, id *uint64) error {
	text := s.packet(kind, m, id)
	if s.ns.recovers() {
		return s.behind(func(sh *shard.Shard, id netpoll.ID) { sh.Push(id, text, m.blobs) })
	}
	if s.isGone() || !s.conn.Send(text, m.blobs...) {
		return ErrGone
	}
	return nil
}

// do calls f on the socket's loop, in order with what is sent, while it is connected.
func (s *Socket) do(f doer) error {
	if !s.conn.Do(func(sh *shard.Shard, id netpoll.ID) {
		if !s.isGone() {
			f(sh, id)
		}
	}) {
		return ErrGone
	}
	return nil
}

// leaves notes that the application ends the socket.
func (s *Socket) leaves() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
}

func (s *Socket) isLeaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

func (s *Socket) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// Connected reports whether the client is there.
func (s *Socket) Connected() bool { return !s.isGone() }

// Join puts the socket into rooms: it gets what is emitted there after that. The error is
// that of a room whose name cannot be one of a channel, then the socket joins none of them,
// or ErrGone.
func (s *Socket) Join(rooms ...string) error {
	for _, room := range rooms {
		if err := protocol.CheckChannel(Channel(s.ns.name, room), s.ns.io.rules.NameMaxBytes); err != nil {
			return err
		}
	}
	return s.move(rooms, false)
}

// Leave takes the socket out of rooms.
func (s *Socket) Leave(rooms ...string) error {
	return s.move(rooms, true)
}

// move puts the socket into rooms, or takes it out.
func (s *Socket) move(rooms []string, leave bool) error {
	rooms = slices.Clone(rooms)
	f := func(sh *shard.Shard, id netpoll.ID) {
		sessions := s.ns.io.Sessions(sh)
		for _, room := range rooms {
			switch {
			case room == "":
			case leave:
				sessions.UnsubscribeByServer(sh, id, Channel(s.ns.name, room))
			default:
				sessions.SubscribeByServer(sh, id, Channel(s.ns.name, room))
			}
		}
	}
	if s.ns.recovers() {
		return s.moveKept(rooms, leave, f)
	}
	return s.do(f)
}

// To returns where to emit to the others in rooms.
func (s *Socket) To(rooms ...string) Broadcast { return s.Broadcast().To(rooms...) }

// Except returns where to emit to the others that are not in these rooms.
func (s *Socket) Except(rooms ...string) Broadcast { return s.Broadcast().Except(rooms...) }

// Broadcast returns where to emit to all others in the namespace.
func (s *Socket) Broadcast() Broadcast { return Broadcast{namespace: s.ns, sender: s} }

// SetUser gives the client's connection an identity: what is published to the user
// reaches it, and access rules, limits and the dashboard know it. The first one counts.
func (s *Socket) SetUser(user string) error {
	return s.do(func(sh *shard.Shard, id netpoll.ID) { sh.SetUser(id, user, nil) })
}

// RemoteAddr calls f with the client's address, on its loop.
func (s *Socket) RemoteAddr(f func(netip.AddrPort)) error {
	return s.do(func(sh *shard.Shard, id netpoll.ID) { f(sh.RemoteAddr(id)) })
}

// Disconnect ends the socket behind what was sent before; with all, the client's
// connection, and its sockets in other namespaces. Its client cannot come back as this socket
// from now on (Options.Recovery).
func (s *Socket) Disconnect(all bool) error {
	s.leaves()
	if all && s.ns.io.options.Recovery.on() {
		_ = s.do(func(*shard.Shard, netpoll.ID) {
			cl, _ := s.conn.App.(*client)
			for other := cl.first; other != nil; other = other.next {
				other.leaves()
			}
		})
	}
	return s.behind(func(sh *shard.Shard, id netpoll.ID) {
		if all {
			s.ns.io.dismiss(sh, id)
			sh.Shut(id, 1000, "")
			return
		}
		sh.Push(id, appendHead(nil, typeDisconnect, s.ns.name, 0, nil), nil)
		s.leave(sh, id, "server namespace disconnect")
	})
}

// An Event is one that a client has sent. It may be kept.
type Event struct {
	// Name is what it is called.
	Name   string
	socket *Socket
	values []Value
	id     uint64
	mu     sync.Mutex
	wanted bool // guarded by mu: an acknowledgement is wanted and was not sent
}

// Socket returns the sender.
func (e *Event) Socket() *Socket { return e.socket }

// Len returns the number of arguments.
func (e *Event) Len() int { return len(e.values) }

// Arg returns argument i, from 0; null if there are fewer.
func (e *Event) Arg(i int) Value {
	if i < 0 || i >= len(e.values) {
		return Value{raw: []byte("null")}
	}
	return e.values[i]
}

// Decode puts the first arguments into pointers, as Value.Decode does.
func (e *Event) Decode(into ...any) error {
	for i, v := range into {
		if err := e.Arg(i).Decode(v); err != nil {
			return err
		}
	}
	return nil
}

// Values returns all arguments, to be emitted again.
func (e *Event) Values() []any { return anys(e.values) }

func anys(values []Value) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}

// WantsAck reports whether the client waits for an acknowledgement.
func (e *Event) WantsAck() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wanted
}

// Ack sends the acknowledgement, if the client waits for one; the first one counts. Any
// goroutine.
func (e *Event) Ack(args ...any) error {
	m, err := newMessage("", args)
	if err != nil {
		return err
	}
	return e.acknowledge(m)
}

func (e *Event) acknowledge(m message) error {
	e.mu.Lock()
	wanted := e.wanted
	e.wanted = false
	e.mu.Unlock()
	if !wanted {
		return nil
	}
	e.socket.ns.io.tallies.answers.Add(1)
	return e.socket.send(typeAck, m, &e.id)
}
