package shard

import (
	"sync"
	"sync/atomic"

	"github.com/roostws/roost/frame"
)

// A Message is one publication, shared by all shards and by the channel's
// history. Nothing of it changes once it is published.
type Message struct {
	// Channel is the name under which native clients see it: a channel, "user:ID",
	// or nothing for what reaches a connection or all of them.
	Channel string
	// Offset numbers the messages of a channel with history, from 1; else 0.
	Offset uint64
	// Time is when it was published, in Unix milliseconds, in channels with history.
	Time int64
	Key  string
	From string
	// Native, if set before, is all that native clients are sent, and others are not:
	// a word of the protocol itself.
	Native *frame.Prepared

	raw    *frame.Prepared
	once   sync.Once
	native *frame.Prepared
	// inFlight counts the shards that have not fanned it out yet; history keeps it
	// until then.
	inFlight atomic.Int32
}

// NewMessage encodes a message for clients that speak raw messages; the native
// form is made when the first one needs it. It copies payload.
func NewMessage(op frame.Opcode, payload []byte) *Message {
	return &Message{raw: frame.Prepare(op, payload)}
}

// NewWord makes a message for native clients only, of their protocol.
func NewWord(f *frame.Prepared) *Message { return &Message{Native: f} }

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
	if m.Native != nil {
		n += len(m.Native.Bytes())
	}
	return n
}

// variant tells apart the forms in which connections get a message: 0 is a plain
// raw frame, 1 to 8 are compressed ones with windows of 8 to 15 bits, and
// from nativeVariants on come the same for the native protocol.
func (sl *slot) variant() int {
	v := 0
	if sl.windowBits != 0 {
		v = int(sl.windowBits) - 7
	}
	if sl.flags&flagNative != 0 {
		v += nativeVariants
	}
	return v
}

const nativeVariants = 9

// prepared answers m as raw or native clients get it, nil if they do not.
func (s *Shard) prepared(m *Message, native bool) *frame.Prepared {
	switch {
	case !native:
		return m.raw
	case m.Native != nil:
		return m.Native
	case s.cfg.EncodeNative == nil:
		return nil
	}
	m.once.Do(func() { m.native = s.cfg.EncodeNative(m) })
	return m.native
}

// encoded answers m as the bytes that a connection of this variant gets, none if
// it is not for those.
func (s *Shard) encoded(m *Message, variant int) []byte {
	f := s.prepared(m, variant >= nativeVariants)
	switch bits := variant % nativeVariants; {
	case f == nil:
		return nil
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
