package hub

import "sync/atomic"

// A Tally counts, for a publisher that wants a receipt, how many connections a
// message was for and how many it was written to. Any goroutine.
type Tally struct {
	matched, written atomic.Int64
	// left is how many parts have not counted yet: shards of this node, and other nodes.
	// With a broker, until it is known which these are, it stands for far more.
	left atomic.Int32
	done chan struct{} // nil if counted is set

	// With a broker: own is 1 until this node's part begins, taken says that it has.
	own   int32
	taken atomic.Bool
	// Of another node's publication: counted is called with the tag at the end.
	tag     uint64
	counted func(tag uint64, matched, written int)
}

// unknown stands for the other nodes that count while they are not known.
const unknown = 1 << 24

// NewTally makes a Tally for one publication.
func NewTally() *Tally { return &Tally{done: make(chan struct{})} }

// Done is closed when every shard has counted, on all nodes.
func (t *Tally) Done() <-chan struct{} { return t.done }

// Matched is how many connections the message was for, so far.
func (t *Tally) Matched() int { return int(t.matched.Load()) }

// Written is for how many of them the socket took all of it at once, so far.
func (t *Tally) Written() int { return int(t.written.Load()) }

// await has the tally wait for begin and Expect, which come in any order.
func (t *Tally) await() {
	t.own = 1
	t.left.Store(t.own + unknown)
}

// begin notes how many shards of this node will count.
func (t *Tally) begin(shards int) { t.count(int32(shards) - t.own) }

// Expect notes how many other nodes will count, once.
func (t *Tally) Expect(nodes int) { t.count(int32(nodes) - unknown) }

// Add adds what one shard, or another node, has counted. Each calls it once.
func (t *Tally) Add(matched, written int) {
	t.matched.Add(int64(matched))
	t.written.Add(int64(written))
	t.count(-1)
}

// count changes how many are left. The last one ends the tally.
func (t *Tally) count(change int32) {
	switch {
	case t.left.Add(change) != 0:
	case t.counted != nil:
		t.counted(t.tag, t.Matched(), t.Written())
	default:
		close(t.done)
	}
}
