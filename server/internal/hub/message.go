package hub

import (
	"sync"
	"sync/atomic"

	"github.com/roostws/roost/frame"
)

// A Message is one publication, shared by all shards and by its channel's
// history. It is immutable once it is published.
type Message struct {
	// Channel is the name under which native clients see the message: a channel,
	// "user:ID", or empty for one that reaches a single connection or all of them.
	Channel string
	// Epoch and Offset are the message's place in its channel's history; empty and 0
	// without history.
	Epoch  string
	Offset uint64
	// Begins reports that the message is the first one of its history, so that
	// subscribers may know another epoch.
	Begins bool
	// Time is when it was published, in Unix milliseconds, in channels with history.
	Time int64
	Key  string
	From string
	// Native, if set before publishing, is all that native clients get of the
	// message, and others get nothing: a push of the protocol itself.
	Native *frame.Prepared

	raw    *frame.Prepared
	once   sync.Once
	native *frame.Prepared
	// unserved counts the shards that have not fanned the message out yet. Its
	// history keeps it until then.
	unserved atomic.Int32
}

// NewMessage encodes a message for clients that speak raw messages; the native
// form is made when the first client needs it. It copies payload.
func NewMessage(op frame.Opcode, payload []byte) *Message {
	return &Message{raw: frame.Prepare(op, payload)}
}

// NewNativePush makes a message of the native protocol itself, for native clients
// only.
func NewNativePush(f *frame.Prepared) *Message { return &Message{Native: f} }

// Opcode returns what NewMessage was given.
func (m *Message) Opcode() frame.Opcode { return m.raw.Opcode() }

// Payload returns what NewMessage was given. It must not be changed.
func (m *Message) Payload() []byte { return m.raw.Payload() }

// Raw is the message as raw clients get it, nil if they do not.
func (m *Message) Raw() *frame.Prepared { return m.raw }

// AsNative is the message as native clients get it, nil if they do not. encode
// makes it of a raw message, once; it may be nil.
func (m *Message) AsNative(encode func(*Message) *frame.Prepared) *frame.Prepared {
	switch {
	case m.Native != nil:
		return m.Native
	case encode == nil:
		return nil
	}
	m.once.Do(func() { m.native = encode(m) })
	return m.native
}

// Size is what the message is counted with against bounds in bytes.
func (m *Message) Size() int {
	n := 0
	if m.raw != nil {
		n = len(m.raw.Bytes())
	}
	if m.Native != nil {
		n += len(m.Native.Bytes())
	}
	return n
}

// Served notes that one shard has fanned the message out: its history does not
// keep it for that shard any more.
func (m *Message) Served() { m.unserved.Add(-1) }

// overheadBytes is what a kept message is counted with beside its frame.
const overheadBytes = 256

func (m *Message) keptBytes() int { return m.Size() + overheadBytes }
