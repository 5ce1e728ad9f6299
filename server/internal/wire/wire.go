// Package wire is how messages travel on the socket of an open connection:
// WebSocket frames, Server-Sent Events. A new transport is one file here: it registers a Wire,
// and intake opens connections with its Kind.
//
// A Wire is functions on byte slices, one value for all connections of its kind. It
// knows no shard, no socket and no clock.
package wire

import "github.com/roostws/roost/frame"

// Kind names a wire in one byte: the row of a connection has it, and so has each
// run of bytes that waits for a socket.
type Kind uint8

// The kinds of wires.
const (
	// WebSocket is RFC 6455, the zero value.
	WebSocket Kind = iota
	// Response is an HTTP response before a connection is open: it is of one piece,
	// and nothing arrives on it.
	Response
	// EventStream is Server-Sent Events: what the client wants it has said in its
	// request, and pings are not answered.
	EventStream
	// Poll is a long poll: what the client wants it has said in its request, and what
	// it gets is gathered for one response.
	Poll
	// Mailbox is no wire of a connection: a Fallback of this kind is served by mailboxes,
	// connections without a socket that are WebSockets in all else.
	Mailbox
	// Free is the first kind that is not in use.
	Free
)

// A Wire frames one kind of connection.
type Wire interface {
	// AppendMessage appends a message as it travels.
	AppendMessage(dst []byte, op frame.Opcode, payload []byte) []byte
	// Unit returns the unit, run[start:end], that the byte at off belongs to. Output
	// that is sent up to off may be cut at end, or at off if that is start: what
	// follows there may begin with another unit. run begins with a unit.
	Unit(run []byte, off int) (start, end int)
	// Ping returns what shows whether a silent client is still there, empty if
	// nothing does. The caller must not change it.
	Ping() []byte
	// PingIsAnswered reports whether a client that is there answers a ping. Otherwise
	// the system finds out by itself when nothing takes the pings.
	PingIsAnswered() bool
	// AppendClose appends the last unit, which tells the client why the connection
	// ends.
	AppendClose(dst []byte, code frame.CloseCode, reason string) []byte
	// CloseIsAnswered reports whether the client answers the unit of AppendClose, so
	// that the connection waits for that.
	CloseIsAnswered() bool
	// Next takes the next message or control frame out of p, which has arrived: n
	// bytes are used, and m.Opcode is 0 if more must arrive first, which d remembers.
	// It may change p. An error ends the connection (see frame.CloseCodeOf).
	Next(d *frame.Decoder, p []byte) (m frame.Message, n int, err error)
}

var wires = [16]Wire{WebSocket: webSocket{}, Response: response{}, EventStream: eventStream{}, Poll: poll{}}

// Of returns the wire of a kind.
func Of(k Kind) Wire { return wires[k] }

// Register makes w the wire of a kind from Free on. Call it from an init function.
func Register(k Kind, w Wire) { wires[k] = w }
