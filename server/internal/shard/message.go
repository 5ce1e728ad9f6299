package shard

import (
	"sync"
	"sync/atomic"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/wire"
)

// A Message is one publication, shared by all shards and by the channel's
// history. It is immutable once it is published.
type Message struct {
	// Channel is the name under which clients of a protocol see it: a channel,
	// "user:ID", or empty for one that reaches a single connection or all of them.
	Channel string
	// Offset numbers the messages of a channel with history, from 1; else 0.
	Offset uint64
	// Time is when it was published, in Unix milliseconds, in channels with history.
	Time int64
	Key  string
	From string
	// Notice, if set before publishing, makes the message a push of the protocols
	// themselves: they encode it, and raw connections do not get it.
	Notice any

	raw   *frame.Prepared
	forms [ProtocolsMax]atomic.Pointer[frame.Prepared] // made when they are needed
	mu    sync.Mutex                                   // held to make one
	// inFlight counts the shards that have not fanned it out yet; history keeps it
	// until then.
	inFlight atomic.Int32
}

// NewMessage encodes a message for clients that speak raw messages; the forms of
// the protocols are made when a client needs them. It copies payload.
func NewMessage(op frame.Opcode, payload []byte) *Message {
	return &Message{raw: frame.Prepare(op, payload)}
}

// NewNotice makes a message for connections that speak a protocol only.
func NewNotice(notice any) *Message { return &Message{Notice: notice} }

// Opcode is what was given to NewMessage.
func (m *Message) Opcode() frame.Opcode { return m.raw.Opcode() }

// Payload is what was given to NewMessage. Nobody may change it.
func (m *Message) Payload() []byte { return m.raw.Payload() }

// size is what m is counted with against bounds in bytes.
func (m *Message) size() int {
	n := 0
	if m.raw != nil {
		n = len(m.raw.Bytes())
	}
	if m.Notice != nil {
		n += noticeBytes
	}
	return n
}

// noticeBytes is what a Notice is counted with: its size is not known before a
// protocol has encoded it.
const noticeBytes = 128

// variant tells apart the forms in which connections get a message: of each wire and
// protocol, the first is plain, and the others are compressed with windows of 8 to
// 15 bits, which only WebSocket is.
func (sl *slot) variant() int {
	v := wireVariants*int(sl.kind()) + windowVariants*sl.protocol()
	if bits := sl.windowBits(); bits != 0 {
		v += bits - 7
	}
	return v
}

const (
	windowVariants = 9
	wireVariants   = windowVariants * (ProtocolsMax + 1)
)

// prepared returns m as connections of a protocol get it, nil if they do not.
func (s *Shard) prepared(m *Message, protocol int) *frame.Prepared {
	if protocol == 0 {
		return m.raw
	}
	form := &m.forms[protocol-1]
	if f := form.Load(); f != nil {
		return f
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := form.Load(); f != nil {
		return f // another loop was faster
	}
	f := s.protocols[protocol-1].Encode(m)
	form.Store(f)
	return f
}

// encoded returns m as the bytes that a connection of this variant gets, none if
// it does not get the message.
func (s *Shard) encoded(m *Message, variant int) []byte {
	kind := wire.Kind(variant / wireVariants)
	f := s.prepared(m, variant%wireVariants/windowVariants)
	switch bits := variant % windowVariants; {
	case f == nil:
		return nil
	case kind != wire.WebSocket:
		// Jobs keep it; a message that is read later is encoded again.
		return wire.Of(kind).AppendMessage(nil, f.Opcode(), f.Payload())
	case bits == 0:
		return f.Bytes()
	default:
		return f.Compressed(bits + 7)
	}
}

// A Tally counts, for whoever published, what became of a message. Any
// goroutine.
type Tally struct {
	matched, written atomic.Int64
	left             atomic.Int32 // shards that have not counted yet
	done             chan struct{}
}

// NewTally makes one for a single publication.
func NewTally() *Tally { return &Tally{done: make(chan struct{})} }

// Done is closed when every shard has counted.
func (t *Tally) Done() <-chan struct{} { return t.done }

// Matched is how many connections the message was for, so far.
func (t *Tally) Matched() int { return int(t.matched.Load()) }

// Written is for how many of them the socket took all of it at once, so far.
func (t *Tally) Written() int { return int(t.written.Load()) }

// add notes the part of one shard.
func (t *Tally) add(matched, written int) {
	t.matched.Add(int64(matched))
	t.written.Add(int64(written))
	if t.left.Add(-1) == 0 {
		close(t.done)
	}
}
