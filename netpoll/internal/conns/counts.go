//go:build linux || darwin || freebsd

package conns

import (
	"sync/atomic"
	"unsafe"

	"github.com/roostws/roost/netpoll"
)

// Counts are a loop's own counters, as [netpoll.Stats] describes them. They are
// plain numbers, as a locked addition for each message would cost more than the
// counting is worth. The loop publishes them at the end of each turn.
type Counts netpoll.Stats

// words is a Stats as an array: all its fields are 64-bit numbers.
type words [unsafe.Sizeof(netpoll.Stats{}) / 8]uint64

// published are counts that any goroutine may read.
type published struct {
	last   Counts // what the atomics hold; owned by the loop's goroutine
	values [len(words{})]atomic.Uint64
}

// Publish shows the loop's counters to other goroutines. Only on the loop's
// goroutine.
func (c *Conns) Publish() {
	p := &c.published
	if c.Count == p.last {
		return
	}
	was, is := (*words)(unsafe.Pointer(&p.last)), (*words)(unsafe.Pointer(&c.Count))
	for i := range is {
		if is[i] != was[i] {
			p.values[i].Store(is[i])
		}
	}
	p.last = c.Count
}

// AddTo adds the published counters to s. Any goroutine.
func (c *Conns) AddTo(s *netpoll.Stats) {
	sum := (*words)(unsafe.Pointer(s))
	for i := range sum {
		sum[i] += c.published.values[i].Load()
	}
}
