//go:build linux || darwin || freebsd

package conns

import (
	"sync/atomic"

	"github.com/roostws/roost/netpoll"
)

// Counts are a loop's own counters, as [netpoll.Stats] describes them. They are
// plain numbers, as a locked addition for each message would cost more than the
// counting is worth. The loop publishes them at the end of each turn.
type Counts netpoll.Stats

// publishedCounts are counts that any goroutine may read.
type publishedCounts struct {
	last   Counts // what the atomics hold; owned by the loop's goroutine
	values [16]atomic.Uint64
}

// list returns the counters in the order of publishedCounts.values.
func (c *Counts) list() [16]uint64 {
	return [16]uint64{
		uint64(c.Conns), uint64(c.Lingering), c.Accepted, c.Attached,
		c.RefusedMaxConns, c.RefusedNoDescriptor, c.RefusedNoMemory, c.AcceptErrors,
		c.Reads, c.Writes, c.ShortWrites, c.BytesRead, c.BytesWritten,
		c.LingerTimeouts, c.Wakes, c.HandlerPanics,
	}
}

// Publish shows the loop's counters to other goroutines. Only on the loop's
// goroutine.
func (c *Conns) Publish() {
	p := &c.published
	if c.Count == p.last {
		return
	}
	was, is := p.last.list(), c.Count.list()
	for i := range is {
		if is[i] != was[i] {
			p.values[i].Store(is[i])
		}
	}
	p.last = c.Count
}

// AddTo adds the published counters to s. Any goroutine.
func (c *Conns) AddTo(s *netpoll.Stats) {
	var v [16]uint64
	for i := range v {
		v[i] = c.published.values[i].Load()
	}
	s.Conns += int64(v[0])
	s.Lingering += int64(v[1])
	s.Accepted += v[2]
	s.Attached += v[3]
	s.RefusedMaxConns += v[4]
	s.RefusedNoDescriptor += v[5]
	s.RefusedNoMemory += v[6]
	s.AcceptErrors += v[7]
	s.Reads += v[8]
	s.Writes += v[9]
	s.ShortWrites += v[10]
	s.BytesRead += v[11]
	s.BytesWritten += v[12]
	s.LingerTimeouts += v[13]
	s.Wakes += v[14]
	s.HandlerPanics += v[15]
}
