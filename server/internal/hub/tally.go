package hub

import "sync/atomic"

// A Tally counts, for a publisher that wants a receipt, how many connections a
// message was for and how many it was written to. Any goroutine.
type Tally struct {
	matched, written atomic.Int64
	left             atomic.Int32 // shards that have not counted yet
	done             chan struct{}
}

// NewTally makes a Tally for one publication.
func NewTally() *Tally { return &Tally{done: make(chan struct{})} }

// Done is closed when every shard has counted.
func (t *Tally) Done() <-chan struct{} { return t.done }

// Matched is how many connections the message was for, so far.
func (t *Tally) Matched() int { return int(t.matched.Load()) }

// Written is for how many of them the socket took all of it at once, so far.
func (t *Tally) Written() int { return int(t.written.Load()) }

// finish ends the count of a message that does not arrive.
func (t *Tally) finish(shards int) {
	t.left.Store(int32(shards))
	for range shards {
		t.Add(0, 0)
	}
}

// Add adds what one shard has counted. Each shard calls it once.
func (t *Tally) Add(matched, written int) {
	t.matched.Add(int64(matched))
	t.written.Add(int64(written))
	if t.left.Add(-1) == 0 {
		close(t.done)
	}
}
