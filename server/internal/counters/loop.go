package counters

import (
	"math/bits"
	"sync/atomic"
)

// A Loop is what one event loop counts: plain numbers, because a locked addition
// for each message would cost more than the counting is worth. The loop publishes
// them at the end of each callback.
type Loop struct {
	// Owned by the loop.
	now     [counted]int64
	changed [(counted + 63) / 64]uint64 // bits of counters that were added to since Publish

	// Atomic: any goroutine.
	published     [counted]atomic.Int64
	distributions [durations]distribution
}

// Add adds n. Loop only.
func (l *Loop) Add(c Counter, n int64) {
	l.now[c] += n
	l.changed[c/64] |= 1 << (c % 64)
}

// Inc adds 1. Loop only.
func (l *Loop) Inc(c Counter) { l.Add(c, 1) }

// Set sets a gauge. Loop only.
func (l *Loop) Set(c Counter, n int64) { l.Add(c, n-l.now[c]) }

// Get returns what the loop has counted. Loop only.
func (l *Loop) Get(c Counter) int64 { return l.now[c] }

// Publish shows everybody what was counted. Loop only.
func (l *Loop) Publish() {
	for i, rest := range l.changed {
		for ; rest != 0; rest &= rest - 1 {
			c := 64*i + bits.TrailingZeros64(rest)
			l.published[c].Store(l.now[c])
		}
		l.changed[i] = 0
	}
}

// A Shared is what any goroutine counts: rare events off the loops.
type Shared [counted]atomic.Int64

// Inc adds 1. Any goroutine.
func (s *Shared) Inc(c Counter) { s[c].Add(1) }

// A Sum adds up counters.
type Sum [count]int64

// AddLoop adds what a loop has published. Any goroutine.
func (s *Sum) AddLoop(l *Loop) {
	for c := range l.published {
		s[c] += l.published[c].Load()
	}
}

// AddShared adds what other goroutines have counted. Any goroutine.
func (s *Sum) AddShared(shared *Shared) {
	for c := range shared {
		s[c] += shared[c].Load()
	}
}

// Stats returns the sums as Stats.
func (s *Sum) Stats() Stats {
	stats := make(Stats, count)
	for c := range stats {
		stats[c] = Stat{table[c], s[c]}
	}
	return stats
}
