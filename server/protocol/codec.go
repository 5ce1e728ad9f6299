package protocol

import (
	"sync"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
)

// A Codec translates between the bytes of one protocol and the commands, results
// and pushes that all protocols share. It holds no state of a connection and no
// rule of access: a protocol is a Codec and nothing else. Its methods run on the
// event loops, several at the same time, and must not block. What they are given
// is valid until they return.
//
// Channels have the server's names here: a protocol whose clients know other names
// translates in Decode and in what it appends. The same goes for error codes and
// close codes.
type Codec interface {
	// Subprotocol is the WebSocket subprotocol by which clients ask for the protocol.
	Subprotocol() string
	// Heartbeat returns the protocol's heartbeats. The shards send and answer them
	// by themselves.
	Heartbeat() Heartbeat

	// Decode reads the first command of a message from a client into c and returns
	// what follows it, for protocols that put several into one message. The error
	// is an *Error, which the client is told (with c.ID, if Decode has set it), or an
	// Ending.
	Decode(p []byte, binary bool, c *Command) (rest []byte, err error)

	// Reply appends the result of a command; its Data is gone.
	Reply(out *Packets, c *Command, r *Result)
	// Error appends an error: of a command, or, with ID 0, of one without a reply.
	Error(out *Packets, id uint64, e *Error)
	// Message appends what a publication is to each of its receivers: of a channel,
	// or, without a channel, to this connection or to all.
	Message(out *Packets, m *Message)
	// Membership appends that a connection has joined or left a channel.
	Membership(out *Packets, m *Membership)
	// Gap appends that the messages from and to of this epoch, and all between them,
	// will not come.
	Gap(out *Packets, channel, epoch string, from, to uint64)
	// Reset appends that a channel has a new epoch: messages may have been lost, and
	// delivery goes on after this position.
	Reset(out *Packets, channel string, at history.Position)
	// Subscribed appends that the server has subscribed the connection.
	Subscribed(out *Packets, s *ChannelState)
	// Unsubscribed appends that the server has ended a subscription, and why.
	Unsubscribed(out *Packets, channel string, why *Error)

	// Close returns the code and the reason of a Close frame for an ending.
	Close(e Ending) (frame.CloseCode, string)
}

// A Heartbeat is how a protocol finds out whether the other side is there. A
// client that sends Ask gets Answer, and the server sends Ask to a silent
// connection and counts Answer. They may be the same. Each is one text message;
// empty: the WebSocket's own ping frames are used.
//
// Paced: clients end a connection on which Ask does not come in time, so it is sent at
// its time whatever they say meanwhile.
type Heartbeat struct {
	Ask, Answer string
	Paced       bool
}

// An Ending is why the server closes the connection of a client. As an error of
// Decode, it ends the connection.
type Ending uint8

const (
	// EndMalformed: a message cannot be read, so no command of it can be refused.
	EndMalformed Ending = iota
	// EndBinary: a binary message, in a protocol without any.
	EndBinary
	// EndUnconnected: no successful Connect in time.
	EndUnconnected
	// EndUnauthorized: too many refused Connects.
	EndUnauthorized
	// EndExpired: no Refresh before the token's end.
	EndExpired
	// EndRefused: the Connect could not be decided on, and the client has no other way
	// to try again than to come back.
	EndRefused
)

// Error describes the ending for logs; clients get what Codec.Close returns.
func (e Ending) Error() string {
	return [...]string{"malformed message", "binary message", "no connect in time", "too many refused connects", "token expired", "connect refused for now"}[e]
}

// Packets are the messages of the wire in which a codec says one thing, or
// several. Most protocols say one thing with one text message; those that send
// binary attachments on their own put one packet after the other.
type Packets struct {
	buf  []byte
	ends []packetEnd
}

type packetEnd struct {
	at     int
	binary bool
}

// Begin returns the buffer to which the next packet's payload is appended.
func (p *Packets) Begin() []byte { return p.buf }

// Text ends a text packet. b is what Begin returned with the payload appended.
func (p *Packets) Text(b []byte) { p.end(b, false) }

// Binary ends a binary packet, as Text does.
func (p *Packets) Binary(b []byte) { p.end(b, true) }

func (p *Packets) end(b []byte, binary bool) {
	p.buf, p.ends = b, append(p.ends, packetEnd{len(b), binary})
}

// Each calls f with each packet. The payload is valid until the next Reset.
func (p *Packets) Each(f func(op frame.Opcode, payload []byte)) {
	from := 0
	for _, e := range p.ends {
		op := frame.OpText
		if e.binary {
			op = frame.OpBinary
		}
		f(op, p.buf[from:e.at])
		from = e.at
	}
}

// packetsKeepBytes is how much buffer is kept for the next packets.
const packetsKeepBytes = 64 << 10

// Reset empties p for the next use.
func (p *Packets) Reset() {
	if cap(p.buf) > packetsKeepBytes {
		p.buf = nil
	}
	p.buf, p.ends = p.buf[:0], p.ends[:0]
}

// spare are *Packets that Prepare uses again: what they hold is copied.
var spare = sync.Pool{New: func() any { return new(Packets) }}

// Prepare encodes a push once for all the connections that get it, whatever number of
// packets push appends.
func Prepare(push func(out *Packets)) (f *frame.Prepared) {
	out := spare.Get().(*Packets)
	defer func() {
		out.Reset()
		spare.Put(out)
	}()
	push(out)
	switch len(out.ends) {
	case 0:
		return nil
	case 1:
		out.Each(func(op frame.Opcode, payload []byte) { f = frame.Prepare(op, payload) })
		return f
	}
	var run []byte
	out.Each(func(op frame.Opcode, payload []byte) { run = frame.AppendFrame(run, op, payload) })
	return frame.PrepareRun(run)
}
