package shard

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
)

// opKind is what an op wants.
type opKind uint8

const (
	opSend        opKind = iota // message to connection id
	opPublish                   // message to the subscribers of channel name
	opUser                      // message to the connections of user name
	opBroadcast                 // message to all
	opJoin                      // id joins channel name
	opLeave                     // id leaves channel name
	opClose                     // close id with code and name as reason
	opAuthorized                // the answer to id's upgrade
	opRespond                   // bytes are the response to id's plain HTTP request
	opRespondKeep               // the same, and the connection may go on
	opCall                      // call runs on the loop
	opSpread                    // message to a channel, a user, or all, over a time
)

// An op is one entry of an inbox.
type op struct {
	kind    opKind
	to      hub.Target // of opSpread
	code    frame.CloseCode
	id      netpoll.ID
	name    string
	message *hub.Message
	history *hub.History // has the message
	tally   *hub.Tally   // of a publisher that wants a receipt
	at      hub.Place    // of the channel, before a join
	over    time.Duration
	since   time.Duration // when a publication was put here, by Config.Clock
	bytes   []byte
	grant   *Grant
	call    func(*Shard)
}

// maySubscribe reports whether a connection may be in another channel, or have a user, when
// an op of this kind is done.
func (k opKind) maySubscribe() bool {
	return k == opJoin || k == opAuthorized || k == opCall
}

// opBytes is what an entry itself is counted with, beside what it refers to.
const opBytes = 128

func (o *op) size() int {
	n := opBytes + len(o.bytes) + len(o.name)
	if o.message != nil {
		n += o.message.Size()
	}
	return n
}

// The inbox is the only way into a shard from elsewhere: ordered, bounded
// (see Shard.Full), with one doorbell for any number of entries.
type inbox struct {
	// Atomic: any goroutine. They may lag behind by what is being added.
	entries atomic.Int64
	bytes   atomic.Int64
	// subscribing counts the ops that maySubscribe from before they are here until they are
	// done.
	subscribing atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	ops    []op
	closed bool

	// Owned by the loop.
	taken []op // the entries taken last, whose array is used again
	used  bool // since the last call of rest
}

// put appends o without checking the inbox's bounds: callers that must respect them
// check Shard.Full first. It returns false after the shard has ended.
func (b *inbox) put(o op) bool {
	size := int64(o.size())
	if o.kind.maySubscribe() {
		b.subscribing.Add(1)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.ops = append(b.ops, o)
	b.mu.Unlock()
	b.entries.Add(1)
	b.bytes.Add(size)
	return true
}

// take returns all entries, in order. They are valid until the next take.
func (b *inbox) take() []op {
	spare := b.taken[:0]
	if cap(spare) > 4096 || cap(spare) > 64 && len(b.taken) < cap(spare)/8 {
		spare = nil // do not keep the array of a peak, or of one that is over
	}
	b.mu.Lock()
	b.taken, b.ops = b.ops, spare
	b.mu.Unlock()
	b.used = b.used || len(b.taken) > 0
	var size int64
	for i := range b.taken {
		size += int64(b.taken[i].size())
	}
	b.entries.Add(-int64(len(b.taken)))
	b.bytes.Add(-size)
	return b.taken
}

// rest gives up large arrays if nothing came since the last call. A storm leaves two,
// and no further entry may come for hours that would.
func (b *inbox) rest() {
	if b.used {
		b.used = false
		return
	}
	if cap(b.taken) > 64 {
		b.taken = nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ops) == 0 && cap(b.ops) > 64 {
		b.ops = nil
	}
}

// shut refuses all further entries and returns those that are left.
func (b *inbox) shut() []op {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.take()
}
