package socketio

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/engineio"
)

// Namespaces that the server's Application serves in place of handlers in Go: see
// Options.Namespaces.

// protocolName is what the application calls the protocol.
const protocolName = "socketio"

// Name is what the application, and lists of connections, call the protocol.
func (*Server) Name() string { return protocolName }

// Codes with which a client is closed whose token does not do: those of the native protocol.
const closeUnauthorized frame.CloseCode = 4401

// connecting is a client that the application is asked about.
type connecting struct {
	id      netpoll.ID
	request protocol.ConnectRequest
	allow   []string // channels that the connection may enter already
}

// connecting returns what the application is asked about a new socket. Loop only.
func (x *clients) connecting(c *engineio.Conn, cl *client, s *Socket, h *Handshake) *connecting {
	sh, id := c.Shard(), c.ID()
	k := &connecting{id: id, allow: x.Sessions(sh).Allowed(id)}
	token, data := takeToken(h.Auth.raw)
	if token == "" {
		token = h.Query.Get("token")
	}
	k.request = protocol.ConnectRequest{
		Client: x.rules.Host.Name(sh.Origin(id)), Token: token, Data: data, Protocol: protocolName, Namespace: s.ns.name,
		RemoteAddr: sh.RemoteAddr(id), Upgrade: h.Parts, User: sh.User(id),
	}
	return k
}

// takeToken returns the token that a client shows in its auth, an object, and what else is
// there, nil for nothing.
func takeToken(auth []byte) (token string, rest []byte) {
	for w := jsonx.Walk(auth); w.More(); {
		name, value := w.Member()
		if string(name) == `"token"` && value[0] == '"' {
			if text, err := jsonx.Text(value); err == nil {
				token = string(text)
			}
			continue
		}
		if rest = append(rest, ','); len(rest) == 1 {
			rest[0] = '{'
		}
		rest = append(append(append(rest, name...), ':'), value...)
	}
	if len(rest) > 0 {
		rest = append(rest, '}')
	}
	return token, rest
}

// blocks reports whether check may block.
func (k *connecting) blocks(rules *protocol.Rules) bool {
	ns := rules.Namespaces[ChannelNamespace]
	return rules.Asks(&k.request) || ns != nil && ns.Subscribe == protocol.AccessGranted
}

// check asks the application. It may block.
func (k *connecting) check(ctx context.Context, rules *protocol.Rules) error {
	r := &k.request
	if e := rules.Check(ctx, k.id, r); e != nil {
		return told(e)
	}
	ns := rules.Namespaces[ChannelNamespace]
	if ns == nil || ns.Subscribe != protocol.AccessGranted && ns.Subscribe != protocol.AccessUsers {
		return nil
	}
	channel := Channel(r.Namespace, "")
	if e := rules.CheckChannel(ctx, k.id, append(k.allow, r.Allow.Subscribe...), &protocol.SubscribeRequest{Client: r.Client, User: r.User, Channel: channel}); e != nil {
		return told(e)
	}
	return nil
}

// problem is an error as clients are told it.
type problem struct {
	Code    protocol.Code `json:"code"`
	Message string        `json:"message,omitempty"`
	Retry   int64         `json:"retry,omitempty"` // milliseconds
}

func problemOf(e *protocol.Error) problem {
	return problem{Code: e.Code, Message: e.Message, Retry: e.RetryAfter.Milliseconds()}
}

// told returns why a client may not connect.
func told(e *protocol.Error) *Error {
	p := problemOf(e)
	p.Message = ""
	return &Error{Message: e.Message, Data: p}
}

// admit gives the connection of a client that was checked what the application has set; with
// an error it counts the client as refused. It returns why the client may not connect. Loop only.
func (x *clients) admit(sh *shard.Shard, id netpoll.ID, cl *client, s *Socket, err error) error {
	sessions := x.Sessions(sh)
	r := &s.rare.connect.request
	if err == nil {
		if e := sessions.Admit(sh, id, r, !sh.IsReady(id)); e != nil {
			err = told(e)
		}
	}
	if cl.rest == nil && (err != nil || !r.Expires.IsZero()) {
		cl.rest = &clientRest{}
	}
	if err == nil {
		if !r.Expires.IsZero() && (cl.rest.expires.IsZero() || r.Expires.Before(cl.rest.expires)) {
			cl.rest.expires = r.Expires
			x.expect(s.conn, 0)
		}
		return nil
	}
	sessions.TurnedAway(sh)
	var known *Error
	if errors.As(err, &known) {
		p, _ := known.Data.(problem)
		switch p.Code {
		case protocol.CodeUnauthorized, protocol.CodeTokenExpired, protocol.CodePermissionDenied:
			cl.rest.refused++
		}
	}
	return err
}

// ask hands an event to the application. Loop only.
func (s *Socket) ask(e *Event) {
	io, sh, id := s.ns.io, s.conn.Shard(), s.conn.ID()
	x := io.Sessions(sh)
	if err := x.Spend(sh, id); err != nil {
		e.fail(err)
		return
	}
	if s.joins(e, x, sh, id) {
		return
	}
	data := marked(e.values)
	if !e.wanted && !io.options.AskAll && io.rules.Listens() {
		x.Tell(sh, id, protocol.Event{Type: protocol.EventCalled, Namespace: s.ns.name, Socket: s.ID(), Method: e.Name, Data: data})
		return
	}
	io.tallies.called.Add(1)
	r := &protocol.CallRequest{Method: e.Name, Data: data, Protocol: protocolName, Namespace: s.ns.name, Socket: s.ID()}
	x.Call(sh, id, r, s.conn.Do, func(sh *shard.Shard, id netpoll.ID, err *protocol.Error) {
		switch {
		case s.isGone():
		case err != nil:
			e.fail(err)
		default:
			s.enter(sh, id, r.Join)
			s.leaveRooms(sh, id, r.Leave)
			e.answer(r.Reply)
		}
	})
}

// Events of clients that join and leave rooms by themselves, where the settings of the
// channels' namespace let them.
const (
	joinEvent  = "join"
	leaveEvent = "leave"
)

// joins has a client join or leave rooms if the event says that and the client may do so at
// all; otherwise it returns false, and the event is the application's.
func (s *Socket) joins(e *Event, x *protocol.Sessions, sh *shard.Shard, id netpoll.ID) bool {
	ns := s.ns.io.rules.Namespaces[ChannelNamespace]
	if e.Name != joinEvent && e.Name != leaveEvent || ns == nil || ns.Subscribe == protocol.AccessNobody {
		return false
	}
	var room string
	if len(e.values) != 1 || e.Decode(&room) != nil || room == "" {
		e.fail(&protocol.Error{Code: protocol.CodeBadRequest, Message: "want the name of a room"})
		return true
	}
	if e.Name == leaveEvent {
		s.leaveRooms(sh, id, []string{room})
		e.answer(nil)
		return true
	}
	rules, allow := s.ns.io.rules, x.Allowed(id)
	r := &protocol.SubscribeRequest{Client: rules.Host.Name(sh.Origin(id)), User: sh.User(id), Channel: Channel(s.ns.name, room)}
	x.Question(sh, id, "join", func(ctx context.Context) error {
		if err := rules.CheckChannel(ctx, id, allow, r); err != nil {
			return err
		}
		return nil
	}, s.conn.Do, func(sh *shard.Shard, id netpoll.ID, err *protocol.Error) {
		switch {
		case s.isGone():
		case err != nil:
			e.fail(err)
		default:
			s.enter(sh, id, []string{room})
			e.answer(nil)
		}
	})
	return true
}

// enter puts the socket into rooms. Loop only.
func (s *Socket) enter(sh *shard.Shard, id netpoll.ID, rooms []string) {
	s.eachRoom(rooms, func(channel string) { s.ns.io.Sessions(sh).Join(sh, id, channel) })
}

// leaveRooms takes it out. Loop only.
func (s *Socket) leaveRooms(sh *shard.Shard, id netpoll.ID, rooms []string) {
	s.eachRoom(rooms, func(channel string) { s.ns.io.Sessions(sh).Part(sh, id, channel) })
}

func (s *Socket) eachRoom(rooms []string, f func(channel string)) {
	for _, room := range rooms {
		channel := Channel(s.ns.name, room)
		if err := protocol.CheckChannel(channel, s.ns.io.rules.NameMaxBytes); err != nil || room == "" {
			s.ns.io.rules.Logger.Error("the application names a room that cannot be", "socket", s.ID(), "room", room, "err", err)
			continue
		}
		f(channel)
	}
}

// fail tells the client why an event has no answer: in place of the arguments of its
// acknowledgement, if it waits for one.
func (e *Event) fail(err *protocol.Error) {
	_ = e.Ack(struct {
		Error problem `json:"error"`
	}{problemOf(err)})
}

// answer acknowledges an event with what the application has answered: the arguments, if it
// is an array; the only one, if it is something else.
func (e *Event) answer(reply []byte) {
	if !e.WantsAck() {
		return
	}
	switch {
	case len(reply) == 0:
		reply = []byte("[]")
	case reply[0] != '[':
		reply = append(append([]byte("["), reply...), ']')
	}
	_ = e.acknowledge(readMarked(reply))
}

// dismiss tells a client that its sockets are disconnected, and do not come back by themselves.
// Loop only.
func (io *Server) dismiss(sh *shard.Shard, id netpoll.ID) {
	c := io.Conn(sh, id)
	if c == nil {
		return
	}
	cl, _ := c.App.(*client)
	if cl == nil {
		return
	}
	for s := cl.first; s != nil; s = s.next {
		sh.Push(id, appendHead(nil, typeDisconnect, s.ns.name, 0, nil), nil)
	}
}

// Dismissed tells the client of a connection that the application closes for good. With other
// codes, or with a time to come back, it sees that the transport has ended, and comes back.
func (io *Server) Dismissed(sh *shard.Shard, id netpoll.ID, code frame.CloseCode, reason string) {
	if (code == frame.CloseNormal || code >= 4000) && !strings.Contains(reason, "; retry=") {
		io.dismiss(sh, id)
	}
}

// Expired ends a connection whose token is over, or from which what was due did not come.
func (io *Server) Expired(sh *shard.Shard, id netpoll.ID) {
	if c := io.Conn(sh, id); c != nil {
		cl, _ := c.App.(*client)
		if cl != nil && cl.rest != nil && !cl.rest.expires.IsZero() && (cl.first != nil && cl.rest.partial == nil || !time.Now().Before(cl.rest.expires)) {
			sh.Count(counters.TokensExpired)
			sh.Shut(id, closeUnauthorized, "token expired: come back with a new one")
			return
		}
	}
	sh.Count(counters.HandshakeTimeouts)
	code, reason := io.Close(protocol.EndUnconnected)
	sh.Shut(id, code, reason)
}

// tellEnd tells the application that a socket is gone. Loop only.
func (x *clients) tellEnd(c *engineio.Conn, s *Socket, code frame.CloseCode, reason string, age time.Duration) {
	if x.rules.Listens() {
		sh := c.Shard()
		x.Sessions(sh).Tell(sh, c.ID(), protocol.Event{
			Type: protocol.EventDisconnected, Namespace: s.ns.name, Socket: s.ID(), Code: code, Reason: reason, Age: age,
		})
	}
}
