package counters

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A Duration names one row of the durations that are kept as distributions.
type Duration uint8

// The durations.
const (
	// HandshakeTime is from a socket's first callback to the open connection.
	HandshakeTime Duration = iota
	// TurnTime is the part of a loop's turn that takes the inbox and writes.
	TurnTime
	// PublishTime is from the moment that a publication was put into a loop's inbox to
	// the last write of the fan-out that it was part of.
	PublishTime

	durations
)

var durationTable = [durations]Info{
	HandshakeTime: {"handshake_seconds", Total, "time from a socket's first callback to the open connection, TLS and the application's decision included"},
	TurnTime:      {"turn_seconds", Total, "time that a loop spends at once on its inbox and on writing what was published, before it looks at its sockets again"},
	PublishTime:   {"publish_seconds", Total, "time from a publication's place in a loop's inbox to that loop's last write of it"},
}

// Durations are counted in buckets that double: the first is up to 2^14 ns (16 us),
// the last up to 2^34 ns (17 s), and what took longer is in none.
const (
	firstBucket = 14
	buckets     = 21
)

// distribution is one loop's, of one duration. Written by the loop, read by any
// goroutine.
type distribution struct {
	counts [buckets + 1]atomic.Uint64
	nanos  atomic.Uint64
}

// Observe counts a duration. Loop only.
func (l *Loop) Observe(d Duration, took time.Duration) {
	took = max(took, 1)
	at := min(max(bits.Len64(uint64(took-1))-firstBucket, 0), buckets)
	into := &l.distributions[d]
	into.counts[at].Store(into.counts[at].Load() + 1) // one writer: no locked addition
	into.nanos.Store(into.nanos.Load() + uint64(took))
}

// A Distribution is how often a duration was in each of its buckets.
type Distribution struct {
	Info
	// Bounds are the upper ends of the buckets, in seconds, and Counts how many
	// durations were within each but not within the one before.
	Bounds []float64
	Counts []uint64
	// Count is the number of durations, and Sum their sum in seconds.
	Count uint64
	Sum   float64
}

// Distributions are the durations of some loops, added up. The zero value is
// ready.
type Distributions [durations]struct {
	counts [buckets + 1]uint64
	nanos  uint64
}

// AddLoop adds those of a loop. Any goroutine.
func (sum *Distributions) AddLoop(l *Loop) {
	for d := range l.distributions {
		for i := range l.distributions[d].counts {
			sum[d].counts[i] += l.distributions[d].counts[i].Load()
		}
		sum[d].nanos += l.distributions[d].nanos.Load()
	}
}

// List returns them.
func (sum *Distributions) List() []Distribution {
	list := make([]Distribution, durations)
	for d := range list {
		list[d] = Distribution{Info: durationTable[d], Sum: float64(sum[d].nanos) / float64(time.Second)}
		for i, n := range sum[d].counts {
			if list[d].Count += n; i < buckets {
				list[d].Bounds = append(list[d].Bounds, float64(uint64(1)<<(firstBucket+i))/float64(time.Second))
				list[d].Counts = append(list[d].Counts, n)
			}
		}
	}
	return list
}
