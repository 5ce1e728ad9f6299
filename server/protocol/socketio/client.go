package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/engineio"
)

// clients is a Server as Engine.IO sees it: what lies above.
type clients Server

// client is one connection, with its sockets. Owned by the loop.
type client struct {
	first *Socket
	rest  *clientRest // nil if there is nothing
}

// clientRest is what a client has until it is connected, while attachments come, and when it has
// left a namespace.
type clientRest struct {
	query      url.Values
	parts      *protocol.UpgradeParts
	expires    time.Time       // when the client's token ends; zero: never
	refused    int             // connects
	connecting map[string]bool // namespaces whose checks are under way
	partial    *packet         // attachments of it are still to come
	blobs      [][]byte
	blobBytes  int
	ended      uint32 // sockets that have left their namespaces
}

// Bounds of what a client may leave with the server.
const (
	acksMax       = 1024 // acknowledgements that it owes
	connectingMax = 16   // namespaces that it connects to at a time
	partialShare  = 4    // attachments of a packet, times MessageMaxBytes
)

var errAcks = errors.New("socketio: the client owes too many acknowledgements")

func (x *clients) io() *Server { return (*Server)(x) }

// Opened notes a new client, which has to connect to a namespace in time.
func (x *clients) Opened(c *engineio.Conn, query url.Values, parts *protocol.UpgradeParts) {
	cl := &client{rest: &clientRest{parts: parts}}
	if len(query) > 0 {
		cl.rest.query = query
	}
	c.App = cl
	x.tallies.clients.Add(1)
	x.expect(c, x.options.ConnectTimeout)
}

// expect ends a client from which what is due does not come in time; 0: nothing is due. A
// client whose token ends before is ended then.
func (x *clients) expect(c *engineio.Conn, within time.Duration) {
	c.Do(func(s *shard.Shard, id netpoll.ID) {
		if cl, _ := c.App.(*client); cl != nil && cl.rest != nil && !cl.rest.expires.IsZero() {
			if left := max(time.Until(cl.rest.expires), 1); within == 0 || left < within {
				within = left
			}
		}
		s.SetExpiry(id, within)
	})
}

// Closed ends a client's sockets.
func (x *clients) Closed(c *engineio.Conn, why shard.Closed) {
	cl, _ := c.App.(*client)
	if cl == nil {
		return
	}
	reason := "transport close"
	switch {
	case why.Err == shard.ErrPongTimeout:
		reason = "ping timeout"
	case why.Code == 1000 && !why.ByPeer:
		reason = "server namespace disconnect"
	case why.Err != nil && !why.ByPeer:
		reason = "transport error"
	}
	x.tallies.clients.Add(-1)
	back := mayComeBack(why)
	for s := cl.first; s != nil; s = s.next {
		x.tellEnd(c, s, why.Code, reason, why.Age)
		if back && s.ns.recovers() && !s.isLeaving() {
			x.io().keep(s.asLost(c.Shard(), c.ID()), c.Shard())
		}
		s.end(reason)
		x.tallies.sockets.Add(-1)
	}
	cl.first = nil
}

// Message acts on what a client says. It returns false if that cannot be.
func (x *clients) Message(c *engineio.Conn, p []byte, binary bool) bool {
	cl, _ := c.App.(*client)
	if cl == nil {
		return false
	}
	if binary {
		return x.attachment(c, cl, p)
	}
	if cl.rest != nil && cl.rest.partial != nil {
		return false // the attachments were to come first
	}
	k, err := parse(p, x.rules.DataMaxDepth)
	if err != nil {
		return false
	}
	if k.attachments > 0 {
		k.data = bytes.Clone(k.data)
		if cl.first == nil || !checkPlaceholders(k.data, k.attachments) {
			return false
		}
		if cl.rest == nil {
			cl.rest = &clientRest{}
		}
		cl.rest.partial, cl.rest.blobs, cl.rest.blobBytes = &k, nil, 0
		x.expect(c, x.options.ConnectTimeout)
		return true
	}
	return x.act(c, cl, &k, nil)
}

// attachment takes the next attachment of a packet.
func (x *clients) attachment(c *engineio.Conn, cl *client, p []byte) bool {
	r := cl.rest
	if r == nil || r.partial == nil {
		return false
	}
	if r.blobBytes += len(p); r.blobBytes > partialShare*x.rules.MessageMaxBytes {
		return false
	}
	if r.blobs = append(r.blobs, bytes.Clone(p)); len(r.blobs) < r.partial.attachments {
		x.expect(c, x.options.ConnectTimeout)
		return true
	}
	x.expect(c, 0)
	k, blobs := r.partial, r.blobs
	r.partial, r.blobs = nil, nil
	cl.trim()
	return x.act(c, cl, k, blobs)
}

// trim drops what is not needed any more.
func (cl *client) trim() {
	if r := cl.rest; r != nil && r.query == nil && r.parts == nil && r.partial == nil && r.ended == 0 && len(r.connecting) == 0 && r.expires.IsZero() {
		cl.rest = nil
	}
}

// socket returns the client's in a namespace, nil if it is not connected to that.
func (cl *client) socket(namespace string) *Socket {
	for s := cl.first; s != nil; s = s.next {
		if s.ns.name == namespace {
			return s
		}
	}
	return nil
}

// act acts on a whole packet.
func (x *clients) act(c *engineio.Conn, cl *client, k *packet, blobs [][]byte) bool {
	if k.kind == typeConnect {
		return x.connect(c, cl, k)
	}
	s := cl.socket(k.namespace)
	if s == nil {
		// What was sent before our disconnect packet has arrived is no fault.
		return cl.first != nil && x.io().find(k.namespace) != nil
	}
	switch k.kind {
	case typeDisconnect:
		c.Do(func(sh *shard.Shard, id netpoll.ID) { s.leave(sh, id, "client namespace disconnect") })
	case typeEvent, typeBinaryEvent:
		x.tallies.received.Add(1)
		name, _ := eventName(k.data)
		s.received(&Event{Name: name, socket: s, values: values(k.data, blobs, 1), id: k.id, wanted: k.hasID})
	case typeAck, typeBinaryAck:
		s.acknowledged(k.id, values(k.data, blobs, 0), nil)
	}
	return true
}

// received calls the handler of an event.
func (s *Socket) received(e *Event) {
	if s.ns.application {
		s.ask(e)
		return
	}
	if r := s.peek(); r != nil {
		if f := r.handlers[e.Name]; f != nil {
			f(e)
			return
		}
	}
	if f := s.ns.handlers[e.Name]; f != nil {
		f(s, e)
	} else if s.ns.other != nil {
		s.ns.other(s, e)
	}
}

// connect connects a client to a namespace.
func (x *clients) connect(c *engineio.Conn, cl *client, k *packet) bool {
	ns := x.io().find(k.namespace)
	if ns == nil {
		return x.refuse(c, k.namespace, &Error{Message: "Invalid namespace"})
	}
	if cl.socket(ns.name) != nil {
		return false
	}
	s := &Socket{conn: c, ns: ns}
	h := &Handshake{Auth: Value{raw: []byte("{}")}}
	if len(k.data) > 0 {
		h.Auth.raw = bytes.Clone(k.data)
	}
	if cl.rest != nil {
		h.Query, h.Parts, s.ended = cl.rest.query, cl.rest.parts, cl.rest.ended
	}
	if len(k.data) > 0 || h.Query != nil || h.Parts != nil {
		s.rare = &rare{handshake: h}
	}
	if id, at := x.io().returning(ns, k.data); id != "" {
		return cl.begin(ns.name) && x.comeBack(cl, s, id, at)
	}
	if ns.application {
		s.rare = &rare{handshake: h, connect: x.connecting(c, cl, s, h)}
	}
	return x.beginAdmission(cl, s)
}

// beginAdmission asks the application or the middleware, if there is any.
func (x *clients) beginAdmission(cl *client, s *Socket) bool {
	ns := s.ns
	if ns.application && !s.rare.connect.blocks(x.rules) {
		err := s.rare.connect.check(context.Background(), x.rules)
		if err = x.admit(s.conn.Shard(), s.conn.ID(), cl, s, err); err != nil {
			return x.turnAway(s.conn, cl, ns.name, err)
		}
		x.connected(cl, s)
		return true
	}
	if !ns.application && len(ns.middleware) == 0 {
		x.connected(cl, s)
		return true
	}
	if !cl.begin(ns.name) {
		return false
	}
	if !x.rules.Host.Work(func() { x.check(cl, s) }) {
		delete(cl.rest.connecting, ns.name)
		return x.refuse(s.conn, ns.name, &Error{Message: "the server is busy"})
	}
	return true
}

// begin notes that the client is about to be connected to a namespace. It returns false if
// it may not ask for that now.
func (cl *client) begin(namespace string) bool {
	if cl.rest == nil {
		cl.rest = &clientRest{}
	}
	if cl.rest.connecting[namespace] || len(cl.rest.connecting) >= connectingMax {
		return false
	}
	if cl.rest.connecting == nil {
		cl.rest.connecting = map[string]bool{}
	}
	cl.rest.connecting[namespace] = true
	return true
}

// check asks the middleware. It runs on a goroutine of its own.
func (x *clients) check(cl *client, s *Socket) {
	ctx, cancel := context.WithTimeout(x.rules.Host.Context(), x.rules.Timeout)
	defer cancel()
	err := errors.New("something went wrong in the server") // unless it comes to its end
	defer func() {
		if value := recover(); value != nil {
			x.rules.Host.Panicked("socketio.Use", s.conn.Began(), value)
		}
		s.conn.Do(func(sh *shard.Shard, id netpoll.ID) {
			if cl.rest != nil {
				delete(cl.rest.connecting, s.ns.name)
			}
			if s.ns.application {
				err = x.admit(sh, id, cl, s, err)
			}
			if err != nil {
				x.turnAway(s.conn, cl, s.ns.name, err)
				return
			}
			x.connected(cl, s)
		})
	}()
	if s.ns.application {
		if err = s.rare.connect.check(ctx, x.rules); err != nil {
			return
		}
	}
	for _, f := range s.ns.middleware {
		if e := f(ctx, s); e != nil {
			err = e
			return
		}
	}
	err = ctx.Err()
}

// turnAway refuses a client, and ends one that was refused too often.
func (x *clients) turnAway(c *engineio.Conn, cl *client, namespace string, why error) bool {
	x.refuse(c, namespace, why)
	if cl.rest != nil && cl.rest.refused >= protocol.KeeperConnectTries {
		c.Do(func(sh *shard.Shard, id netpoll.ID) { sh.Shut(id, closeUnauthorized, "unauthorized") })
	}
	return true
}

// refuse tells a client that it may not connect.
func (x *clients) refuse(c *engineio.Conn, namespace string, why error) bool {
	x.tallies.refused.Add(1)
	told := struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{Message: why.Error()}
	var known *Error
	if errors.As(why, &known) {
		told.Message, told.Data = known.Message, known.Data
	}
	data, err := json.Marshal(told)
	if err != nil {
		data = []byte(`{"message":"refused"}`)
	}
	c.Send(append(appendHead(nil, typeConnectError, namespace, 0, nil), data...))
	return true
}

// connected admits a socket to its namespace.
func (x *clients) connected(cl *client, s *Socket) {
	x.tallies.sockets.Add(1)
	s.next, cl.first = cl.first, s
	only := s.next == nil
	var rooms []string
	if s.ns.application {
		rooms = s.rare.connect.request.Rooms
		s.rare = nil
	}
	s.conn.Send(append(appendHead(nil, typeConnect, s.ns.name, 0, nil), x.io().connectData(s)...))
	func(sh *shard.Shard, id netpoll.ID) { // at once: what OnConnection emits is for this socket, too
		sessions := x.Sessions(sh)
		if only {
			x.expect(s.conn, 0)
			sh.Ready(id)
		}
		if x.rules.Listens() && !s.Recovered() {
			sessions.Tell(sh, id, protocol.Event{Type: protocol.EventConnected, Namespace: s.ns.name, Socket: s.ID()})
		}
		if at := sessions.SubscribeByServer(sh, id, Channel(s.ns.name, "")); s.ns.recovers() && at.Epoch != "" {
			s.with(func(r *rare) { r.began = at })
		}
		s.enter(sh, id, rooms)
	}(s.conn.Shard(), s.conn.ID())
	if s.ns.connection != nil {
		s.ns.connection(s)
	}
	s.mu.Lock()
	if s.rare != nil {
		s.rare.handshake = nil
	}
	s.mu.Unlock()
	if cl.rest != nil {
		cl.rest.query, cl.rest.parts = nil, nil
		cl.trim()
	}
}

// leave ends a socket whose connection goes on. Loop only.
func (s *Socket) leave(sh *shard.Shard, id netpoll.ID, reason string) {
	cl, _ := s.conn.App.(*client)
	for link := &cl.first; *link != nil; link = &(*link).next {
		if *link != s {
			continue
		}
		*link = s.next
		if cl.rest == nil {
			cl.rest = &clientRest{}
		}
		cl.rest.ended++
		(*clients)(s.ns.io).tellEnd(s.conn, s, frame.CloseNormal, reason, sh.Age(id))
		s.end(reason)
		s.ns.io.tallies.sockets.Add(-1)
		var channels []string
		sh.Channels(id, func(name string) bool {
			if isOf(name, s.ns.name) {
				channels = append(channels, name)
			}
			return true
		})
		for _, name := range channels {
			s.ns.io.Sessions(sh).UnsubscribeByServer(sh, id, name)
		}
		return
	}
}

// end tells the application that a socket is gone.
func (s *Socket) end(reason string) {
	s.mu.Lock()
	s.gone = true
	r := s.rare
	var acks map[uint64]*waiting
	if r != nil {
		acks, r.acks = r.acks, nil
	}
	s.mu.Unlock()
	if r != nil && r.id != "" {
		s.ns.io.lost.forget(r.id, s.conn.Began())
	}
	for _, w := range acks {
		w.timer.Stop()
		w.done(nil, ErrGone)
	}
	if r != nil && r.disconnect != nil {
		r.disconnect(reason)
	}
}

// isOf reports whether a channel is that of a namespace or of a room there.
func isOf(channel, namespace string) bool {
	whole := Channel(namespace, "")
	return channel == whole || len(channel) > len(whole) && channel[:len(whole)] == whole && channel[len(whole)] == '#'
}
