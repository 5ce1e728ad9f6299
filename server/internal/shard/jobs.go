package shard

import (
	"sync/atomic"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
)

const (
	// jobMaxBytes bounds the frames that are written to a subscriber at once. Larger
	// writes gain little (the system call is 1 % of 64 KiB) and hold the memory of
	// slow consumers longer.
	jobMaxBytes = 64 << 10
	// jobMaxMessages bounds them in number, for the sake of tiny messages.
	jobMaxMessages = 4096
	// sparesMax is how many ended jobs are kept to be used again.
	sparesMax = 16
)

// A job is one fan-out: what was published to one target while the loop was busy, on
// its way to each subscriber with one write. Jobs run in order, one at a time, so a
// channel's order is the order of its jobs.
type job struct {
	// The target: a channel, the connections of a user (a row of Shard.users),
	// or, with neither, all connections.
	channel *channel
	user    uint32

	messages []*hub.Message
	bytes    int
	// since is when the first message was put into the inbox.
	since time.Duration
	// history is the target's, nil without.
	history *hub.History
	// offset is that of the first message, with a history.
	offset uint64
	// reset: the one message tells of a new epoch, of which offset is the position after
	// which delivery goes on.
	reset bool
	// first is the channel's sequence before the first message: a subscriber
	// with from == first gets all of them. With a history it is the Seq of an offset. It is
	// not compared if all is set.
	first uint32
	all   bool
	// opened is Shard.opened when the job was made. To a user or to all, it is not for
	// connections that opened after that.
	opened uint32
	// tallies are of publishers that want a receipt. For them is counted how often the
	// job was matched and written from message k on.
	tallies          []tallied
	matched, written []int32

	// encodings are what goes out, one for each variant of subscribers, made when the
	// first subscriber of a variant is met.
	encodings []encoding
	// cursor is the next subscriber: index in channel.subscribers, slot+1 in a
	// user's list, slot.
	cursor uint32
	// Set when the job begins: its number in the journal, and how many frames began
	// before it. weight is what it counts for in the journal's bound.
	number       uint64
	framesBefore uint64
	weight       int
	// closing is an opClose that waits behind what was published.
	closing *op
	// except are connections that do not get the job's one message. If few is set, it is for
	// those in chosen only.
	except *hub.Except
	few    bool
	chosen []netpoll.ID
	// call is what waits behind what was published.
	call func()
}

// tallied is a message whose publisher wants a receipt.
type tallied struct {
	message int
	tally   *hub.Tally
}

// An encoding is a job's frames as one run of bytes, shared by all subscribers and
// never changed, and where each frame begins.
type encoding struct {
	variant int
	chunk   []byte
	starts  []uint32
	// events is chunk with an ID before each event, for event streams that are in no
	// other channel with history; nil until the first of them is met.
	events []byte
}

// message returns one of the frames.
func (e *encoding) message(k int) []byte {
	if k+1 == len(e.starts) {
		return e.chunk[e.starts[k]:]
	}
	return e.chunk[e.starts[k]:e.starts[k+1]]
}

// oneStart is where the frames of a job with one message begin.
var oneStart = []uint32{0}

// jobQueue is what was published and is not fanned out yet.
type jobQueue struct {
	waiting fifo[*job]
	active  *job // the one that is under way
	// toAll is the waiting job for all connections, if more may be added to it.
	toAll *job
	// budget is how many writes are left in this turn.
	budget int

	spare       []*job   // ended ones
	spareStarts []uint32 // an ended encoding's

	// Atomic: any goroutine. frames are the messages in jobs, spreads included, and
	// bytes their size.
	frames, bytes atomic.Int64
}

// idle reports whether nothing is to be fanned out.
func (q *jobQueue) idle() bool { return q.active == nil && q.waiting.len() == 0 }

// new returns an empty job.
func (q *jobQueue) new() *job {
	if n := len(q.spare); n > 0 {
		j := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return j
	}
	return &job{}
}

// count counts n messages of together so many bytes.
func (q *jobQueue) count(n, bytes int) {
	q.frames.Add(int64(n))
	q.bytes.Add(int64(bytes))
}

// recycle keeps a job that is not referred to any more.
func (q *jobQueue) recycle(j *job) {
	if len(j.messages) > 1 && len(j.encodings) > 0 {
		q.spareStarts = j.encodings[len(j.encodings)-1].starts
	}
	clear(j.messages)
	clear(j.encodings)
	*j = job{messages: j.messages[:0], encodings: j.encodings[:0]}
	if len(q.spare) < sparesMax && cap(j.messages) <= jobMaxMessages {
		q.spare = append(q.spare, j)
	}
}

// continues reports whether a message may be added to the job.
func (j *job) continues(o *op) bool {
	return j.bytes+o.message.Size() <= jobMaxBytes && len(j.messages) < jobMaxMessages &&
		!j.reset && !o.message.Resets() && j.except == nil && o.message.Except == nil && j.history == o.history && (j.history == nil || o.message.Offset == j.offset+uint64(len(j.messages)))
}

// openedAfter reports whether the connection opened after the job was made: its
// generation is one of those that were given since.
func (c conn) openedAfter(j *job) bool { return c.generation-j.opened-1 < c.s.opened-j.opened }

// add adds a message.
func (j *job) add(o *op) {
	j.except = o.message.Except
	if o.tally != nil {
		j.tallies = append(j.tallies, tallied{len(j.messages), o.tally})
	}
	j.messages = append(j.messages, o.message)
	j.bytes += o.message.Size()
}

// startFor returns the first message for a subscriber that joined at *from.
func (j *job) startFor(from *uint32) int {
	if j.all {
		return 0
	}
	missed := int32(*from - j.first)
	if missed > 0 {
		return min(int(missed), len(j.messages))
	}
	if missed < -parkedAhead {
		*from = j.first // so that the difference never overflows
	}
	return 0
}

// match records that a subscriber should receive messages[start:]. It does nothing
// if no publisher wants a receipt.
func (j *job) match(start int) {
	if j.tallies != nil {
		if j.matched == nil {
			j.matched, j.written = make([]int32, len(j.messages)+1), make([]int32, len(j.messages)+1)
		}
		j.matched[start]++
	}
}

// wrote records that messages[start:next] were handed to a subscriber's socket.
func (j *job) wrote(start, next int) {
	if j.written != nil && next > start {
		j.written[start]++
		j.written[next]--
	}
}

// giveReceipts completes the receipts.
func (j *job) giveReceipts() {
	matched, written, at := 0, 0, 0
	for _, t := range j.tallies {
		for ; j.matched != nil && at <= t.message; at++ {
			matched += int(j.matched[at])
			written += int(j.written[at])
		}
		t.tally.Add(matched, written)
	}
}
