package hub

import (
	"sync"
	"sync/atomic"

	"github.com/roostws/roost/frame"
)

// A Message is one publication, shared by all shards and by its channel's
// history. It is immutable once it is published.
type Message struct {
	// Channel is the name under which clients of a protocol see the message: a channel,
	// "user:ID", or empty for one that reaches a single connection or all of them.
	Channel string
	// Epoch and Offset are the message's place in its channel's history; empty and 0
	// without history.
	Epoch  string
	Offset uint64
	// Begins reports that the message is the first one of its history, or after a Reset,
	// so that subscribers may know another epoch.
	Begins bool
	// Time is when it was published, in Unix milliseconds, in channels with history.
	Time int64
	Key  string
	From string
	// Notice, if set before publishing, makes the message a push of the protocols
	// themselves: they encode it, and raw connections do not get it.
	Notice any
	// Except, if set before publishing, are connections that do not get the message.
	Except *Except
	// SubscribersMax, if positive, leaves the message out on shards where the channel has
	// more subscribers.
	SubscribersMax int

	raw   *frame.Prepared
	forms [ProtocolsMax]atomic.Pointer[frame.Prepared] // made when they are needed
	mu    sync.Mutex                                   // held to make one
	// unserved counts the shards that have not fanned the message out yet. Its
	// history keeps it until then.
	unserved atomic.Int32
}

// ProtocolsMax is how many protocols a server may have: each costs a pointer a
// message.
const ProtocolsMax = 4

// NewMessage encodes a message for clients that speak raw messages; the forms of
// the protocols are made when a client needs them. It copies payload.
func NewMessage(op frame.Opcode, payload []byte) *Message {
	return &Message{raw: frame.Prepare(op, payload)}
}

// NewNotice makes a message for connections that speak a protocol only.
func NewNotice(notice any) *Message { return &Message{Notice: notice} }

// Opcode returns what NewMessage was given.
func (m *Message) Opcode() frame.Opcode { return m.raw.Opcode() }

// Payload returns what NewMessage was given. It must not be changed.
func (m *Message) Payload() []byte { return m.raw.Payload() }

// Raw is the message as raw clients get it, nil if they do not.
func (m *Message) Raw() *frame.Prepared { return m.raw }

// Form returns the message as connections of a protocol get it. number is the
// protocol's, from 1; encode makes the form, once.
func (m *Message) Form(number int, encode func(*Message) *frame.Prepared) *frame.Prepared {
	form := &m.forms[number-1]
	if f := form.Load(); f != nil {
		return f
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := form.Load(); f != nil {
		return f // another loop was faster
	}
	f := encode(m)
	form.Store(f)
	return f
}

// TooMany reports whether the message is not for a channel with so many subscribers.
func (m *Message) TooMany(subscribers int) bool {
	return m.SubscribersMax > 0 && subscribers > m.SubscribersMax
}

// Resets reports whether the message is a Reset.
func (m *Message) Resets() bool { return m.Notice == Reset{} }

// noticeBytes is what a Notice is counted with: its size is not known before a
// protocol has encoded it.
const noticeBytes = 128

// Size is what the message is counted with against bounds in bytes.
func (m *Message) Size() int {
	n := 0
	if m.raw != nil {
		n = len(m.raw.Bytes())
	}
	if m.Notice != nil {
		n += noticeBytes
	}
	return n
}

// Served notes that one shard has fanned the message out: its history does not
// keep it for that shard any more.
func (m *Message) Served() { m.unserved.Add(-1) }

// overheadBytes is what a kept message is counted with beside its frame.
const overheadBytes = 256

func (m *Message) keptBytes() int { return m.Size() + overheadBytes }
