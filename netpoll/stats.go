//go:build linux || darwin || freebsd

package netpoll

import "sync/atomic"

// counts are a loop's own counters: plain numbers, as a locked addition for each
// message would cost more than the counting is worth. They are published at the
// end of each turn.
type counts struct {
	conns, lingering                                      int64
	accepted, attached                                    uint64
	refusedMaxConns, refusedNoDescriptor, refusedNoMemory uint64
	acceptErrors                                          uint64
	reads, writes, shortWrites                            uint64
	bytesRead, bytesWritten                               uint64
	lingerTimeouts, wakes, handlerPanics                  uint64
}

// publishedCounts are counts that any goroutine may read.
type publishedCounts struct {
	last   counts // what the atomics hold; owned by the loop's goroutine
	values [16]atomic.Uint64
}

// list is the counters in the order of publishedCounts.values.
func (c *counts) list() [16]uint64 {
	return [16]uint64{
		uint64(c.conns), uint64(c.lingering), c.accepted, c.attached,
		c.refusedMaxConns, c.refusedNoDescriptor, c.refusedNoMemory, c.acceptErrors,
		c.reads, c.writes, c.shortWrites, c.bytesRead, c.bytesWritten,
		c.lingerTimeouts, c.wakes, c.handlerPanics,
	}
}

// publish shows the loop's counters to everybody.
func (l *loop) publish() {
	if l.counts == l.published.last {
		return
	}
	was, is := l.published.last.list(), l.counts.list()
	for i := range is {
		if is[i] != was[i] {
			l.published.values[i].Store(is[i])
		}
	}
	l.published.last = l.counts
}

// Stats is part of [Engine].
func (e *engine) Stats() Stats {
	var sum [16]uint64
	for _, l := range e.loops {
		for i := range sum {
			sum[i] += l.published.values[i].Load()
		}
	}
	return Stats{
		Conns: int64(sum[0]), Lingering: int64(sum[1]), Accepted: sum[2], Attached: sum[3],
		RefusedMaxConns: sum[4], RefusedNoDescriptor: sum[5], RefusedNoMemory: sum[6], AcceptErrors: sum[7],
		Reads: sum[8], Writes: sum[9], ShortWrites: sum[10], BytesRead: sum[11], BytesWritten: sum[12],
		LingerTimeouts: sum[13], Wakes: sum[14], HandlerPanics: sum[15],
	}
}
