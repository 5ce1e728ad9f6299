package shard

import (
	"errors"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/handshake"
)

// Why connections end, for those that ended without a Close frame.
var (
	ErrHandshakeTimeout = errors.New("server: the request or its authorisation took too long")
	ErrPongTimeout      = errors.New("server: no answer to a ping")
	ErrWriteStalled     = errors.New("server: the peer took no byte of waiting output for WriteStallTimeout")
	ErrCloseTimeout     = errors.New("server: the peer did not answer our Close frame")
	// ErrTooManyFromAddress: ConnectionsPerAddress was reached.
	ErrTooManyFromAddress = errors.New("server: too many connections from one address")
	// ErrTooOftenFromAddress: ConnectRatePerAddress was reached.
	ErrTooOftenFromAddress = errors.New("server: one address connects too often")
)

// Closed is why a connection ended.
type Closed struct {
	// Code and Reason are the Close frame's: the peer's if ByPeer, else ours.
	// Without a Close frame the code is 1006.
	Code   frame.CloseCode
	Reason string
	ByPeer bool
	// Err is what went wrong, nil if nothing.
	Err error
	// Age is how long the WebSocket connection was open, in whole ticks.
	Age time.Duration
	// Missed counts messages that SlowDrop left out.
	Missed uint64
}

// Hooks are the server's part of the work. They are called on the loop and must not
// block.
type Hooks interface {
	// Upgrade decides on a request (see Upgrade).
	Upgrade(s *Shard, u *Upgrade)
	// Open reports a new WebSocket connection. g is valid until it returns.
	Open(s *Shard, id netpoll.ID, g *Grant)
	// Message reports a message; payload is valid until it returns and may be
	// changed.
	Message(s *Shard, id netpoll.ID, op frame.Opcode, payload []byte)
	// Closed reports the end of a connection that Open reported.
	Closed(s *Shard, id netpoll.ID, c Closed)
	// Gap reports that messages of a channel, from offset from to offset to of this
	// epoch, will not come to a connection that speaks a protocol.
	Gap(s *Shard, id netpoll.ID, channel, epoch string, from, to uint64)
	// Reset reports to a connection that speaks a protocol that its channel has a new
	// epoch: delivery goes on after this position, and what was before may be lost.
	Reset(s *Shard, id netpoll.ID, channel string, at history.Position)
	// Tick is called at each tick.
	Tick(s *Shard)
	// Expired is called when the time that SetExpiry gave is over.
	Expired(s *Shard, id netpoll.ID)
	// Closing is called before a connection is closed at the wish of Close: what it is sent
	// then goes before the Close frame.
	Closing(s *Shard, id netpoll.ID, code frame.CloseCode, reason string)
	// Occupied is called, with hub.Config.Occupancy, when a channel gets its first
	// subscriber or has lost its last. It is called with a lock held: it must not
	// publish or subscribe.
	Occupied(s *Shard, channel string, occupied bool)
	// Joined and Left are called after Join and Leave took effect. at is the position
	// at which delivery starts, zero without history. For a connection that has not
	// connected in its protocol nothing was subscribed: the hook may record the
	// channel and subscribe it at Ready.
	Joined(s *Shard, id netpoll.ID, channel string, at history.Position)
	Left(s *Shard, id netpoll.ID, channel string)
	// OpFailed reports a join that was refused.
	OpFailed(s *Shard, id netpoll.ID, channel string, err error)
	// ServesHTTP reports whether plain HTTP requests are given to HTTP.
	ServesHTTP() bool
	// Fallback returns how a plain request is served that asks for the messages of a
	// protocol without a WebSocket, nil for any other request.
	Fallback(r *handshake.Request) *Fallback
	// Commands returns what a request for which Fallback has returned f says, with
	// this body, which the result must not refer to. An error refuses the request.
	Commands(r *handshake.Request, f *Fallback, body []byte) (Said, error)
	// Settled reports whether nothing is under way of what a connection has said. When
	// it is so later, the hooks call Shard.Settled.
	Settled(id netpoll.ID) bool
	// Busy appends the protocol's message that the server is busy, and when to come
	// back.
	Busy(dst []byte, protocol int, retryAfter time.Duration) []byte
	// HTTP starts work on a plain request, head and body, which it owns; the response
	// comes by Respond. An error refuses the request at once.
	HTTP(s *Shard, id netpoll.ID, request []byte) error
}
