package server

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/shard"
)

// MessageType tells text from binary messages.
type MessageType = frame.Opcode

// The types of a message (RFC 6455, section 5.6).
const (
	Text   MessageType = frame.OpText
	Binary MessageType = frame.OpBinary
)

// Handler is the application: callbacks, each of which may be nil.
//
// All but Authorize run on an event loop and must not block: while one does,
// some thousands of connections wait. A connection's callbacks come one after
// the other, in order, on one loop; those of different connections may run at
// the same time. The events that they are given are valid only until they
// return; what is to be kept must be copied. Conn values may be kept.
//
// A panic in a callback ends that connection with 1011 (before the upgrade: with
// a 500), is counted and logged, and hurts no other connection.
type Handler struct {
	// Upgrade decides on a request for a WebSocket, after it was found to be
	// valid and of an allowed origin. An error refuses it: a *Rejection with
	// its own status, others with 403.
	Upgrade func(r *UpgradeRequest) error
	// Authorize is the form of Upgrade that may block, for a look into a
	// database or another service: it runs on a goroutine of its own, after
	// Upgrade. ctx ends with HandshakeTimeout. At most AuthorizeMaxPending
	// run at a time; newcomers beyond that get 503.
	Authorize func(ctx context.Context, r *UpgradeRequest) error
	// Open reports a connection that is ready.
	Open func(e *OpenEvent)
	// Message reports a message.
	Message func(m *Message)
	// Close reports the end of a connection that Open reported.
	Close func(e *CloseEvent)
}

// An UpgradeRequest is what a client asks with, and what the application
// answers. It belongs to the callback.
type UpgradeRequest struct {
	// User is the identity to give to the connection: PublishUser and
	// Audience.User find it by that. Set by the application; may stay empty.
	User string
	// Subprotocol is what was chosen from Handshake.Subprotocols. The application
	// may choose another one that the client offered.
	Subprotocol string
	// Header are more lines for the 101 response. Set by the application.
	Header http.Header
	// Channels are joined before Open. Set by the application.
	Channels []string

	conn    Conn
	request *handshake.Request
	// On the loop the address and the TLS state are looked up when they are
	// asked for: that is a system call, and a large copy. Elsewhere (shard is
	// nil) they were looked up before.
	shard  *shard.Shard
	remote netip.AddrPort
	tls    *tls.ConnectionState
}

// Path is the request's path as sent, not decoded.
func (r *UpgradeRequest) Path() string { return string(r.request.Path) }

// RawQuery is what follows the '?', as sent; net/url.ParseQuery reads it.
func (r *UpgradeRequest) RawQuery() string { return string(r.request.RawQuery) }

// Host is the Host header.
func (r *UpgradeRequest) Host() string { return string(r.request.Host) }

// Get is the value of a request header, empty if it is not there.
func (r *UpgradeRequest) Get(name string) string { return string(r.request.Get(name)) }

// RemoteAddr is the client's address, as trusted proxies tell it
// (Proxies.ProxyProtocol, Proxies.TrustedProxies; port 0 for the latter), else
// that of the other end; the zero AddrPort on a unix socket.
func (r *UpgradeRequest) RemoteAddr() netip.AddrPort {
	if r.shard != nil {
		return r.shard.RemoteAddr(r.conn.id)
	}
	return r.remote
}

// TLS is the TLS state of the connection (client certificates, server name),
// nil without TLS.
func (r *UpgradeRequest) TLS() *tls.ConnectionState {
	if r.shard != nil {
		return r.shard.TLS(r.conn.id)
	}
	return r.tls
}

// An OpenEvent reports a new connection.
type OpenEvent struct {
	hooks *hooks
	shard *shard.Shard
	id    netpoll.ID
	grant *shard.Grant
}

// Conn names the connection; keep it to reach the client later.
func (e *OpenEvent) Conn() Conn { return Conn{e.hooks.server, e.id} }

// User is the identity that the application gave.
func (e *OpenEvent) User() string { return e.grant.User }

// Subprotocol is the agreed one, empty if none.
func (e *OpenEvent) Subprotocol() string { return e.grant.Agreed() }

// RemoteAddr is the client's address, as in UpgradeRequest.
func (e *OpenEvent) RemoteAddr() netip.AddrPort { return e.shard.RemoteAddr(e.id) }

// Send sends a message at once, before anything that is published from now on.
// It copies payload.
func (e *OpenEvent) Send(t MessageType, payload []byte) {
	if checkType(t) == nil {
		e.shard.Reply(e.id, t, payload)
	}
}

// A Message is a message from a client.
type Message struct {
	// Type is Text or Binary. The payload of a text is valid UTF-8.
	Type MessageType
	// Payload is the message, unmasked and whole. It is the callback's to
	// change, and dies with it.
	Payload []byte

	hooks *hooks
	shard *shard.Shard
	id    netpoll.ID
}

// Conn names the sender.
func (m *Message) Conn() Conn { return Conn{m.hooks.server, m.id} }

// User is the sender's identity, empty if it has none.
func (m *Message) User() string { return m.shard.User(m.id) }

// Reply sends a message to the sender. All replies of a turn go out with one
// system call, ahead of anything sent with Conn.Send. It copies payload,
// allocates nothing while the client reads, and cannot fail: to a client that
// is gone or going it does nothing.
func (m *Message) Reply(t MessageType, payload []byte) {
	if checkType(t) == nil {
		m.shard.Reply(m.id, t, payload)
	}
}

// Publish publishes to a channel, as Server.Publish does, on behalf of the
// sender: while the fan-out is behind, the sender is not read, so that its
// messages wait in its own socket and none is dropped.
func (m *Message) Publish(channel string, t MessageType, payload []byte) error {
	err := m.hooks.server.Publish(channel, t, payload)
	m.shard.HoldPublisher(m.id)
	return err
}

// Broadcast does the same as Publish for everybody.
func (m *Message) Broadcast(t MessageType, payload []byte) error {
	err := m.hooks.server.Broadcast(t, payload)
	m.shard.HoldPublisher(m.id)
	return err
}

// A CloseEvent reports the end of a connection.
type CloseEvent struct {
	// Code and Reason are those of the Close frame: the client's if ByPeer, ours
	// otherwise. 1005 is a Close frame without a code, 1006 an end without a
	// Close frame.
	Code   frame.CloseCode
	Reason string
	ByPeer bool
	// Err is what went wrong, nil after an orderly end.
	Err error
	// Age is how long the connection was open.
	Age time.Duration
	// Missed is how many messages SlowDrop left out.
	Missed uint64

	hooks *hooks
	shard *shard.Shard
	id    netpoll.ID
}

// Conn names the connection that ended, as OpenEvent.Conn did; it does nothing any more.
func (e *CloseEvent) Conn() Conn { return Conn{e.hooks.server, e.shard.Origin(e.id)} }

// User was its identity.
func (e *CloseEvent) User() string { return e.shard.User(e.id) }
