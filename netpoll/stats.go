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
func (l *loop) publish() { l.published.show(&l.counts) }

// show stores what has changed. Only on the loop's goroutine.
func (p *publishedCounts) show(c *counts) {
	if *c == p.last {
		return
	}
	was, is := p.last.list(), c.list()
	for i := range is {
		if is[i] != was[i] {
			p.values[i].Store(is[i])
		}
	}
	p.last = *c
}

// addTo adds what was shown to s.
func (p *publishedCounts) addTo(s *Stats) {
	var v [16]uint64
	for i := range v {
		v[i] = p.values[i].Load()
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

// Stats is part of [Engine].
func (e *engine) Stats() Stats {
	var s Stats
	for _, l := range e.loops {
		l.published.addTo(&s)
	}
	return s
}
