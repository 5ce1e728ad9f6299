package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/counters"
)

func (s *Shard) countClose(why Closed) {
	switch {
	case why.Code == frame.CloseAbnormal:
		s.count.Inc(counters.ClosedAbnormally)
	case why.ByPeer:
		s.count.Inc(counters.ClosedByPeer)
	default:
		s.count.Inc(counters.ClosedByServer)
	}
}

// Count adds 1 to a counter. Loop only.
func (s *Shard) Count(c counters.Counter) { s.count.Inc(c) }

// CountShared adds 1 to a counter of something rare that happens off the loops. Any
// goroutine.
func (g *Group) CountShared(c counters.Counter) { g.counted.Inc(c) }

// AddTo adds what the shards have counted up to their loops' last callbacks. Any
// goroutine.
func (g *Group) AddTo(sum *counters.Sum) {
	sum.AddShared(&g.counted)
	for _, s := range g.shards {
		s.addTo(sum)
	}
}

// Loops returns what each shard has counted up to its loop's last callback. Any
// goroutine.
func (g *Group) Loops() []counters.Sum {
	sums := make([]counters.Sum, len(g.shards))
	for i, s := range g.shards {
		s.addTo(&sums[i])
	}
	return sums
}

func (s *Shard) addTo(sum *counters.Sum) {
	sum.AddLoop(&s.count)
	sum[counters.InboxEntries] += int64(s.Waiting())
}

// AddDurations adds the durations that the shards have seen. Any goroutine.
func (g *Group) AddDurations(sum *counters.Distributions) {
	for _, s := range g.shards {
		sum.AddLoop(&s.count)
	}
}

// Waiting is the number of entries that wait in the inbox, or in jobs that are
// not done. Any goroutine.
func (s *Shard) Waiting() int { return int(max(s.inbox.entries.Load()+s.jobs.frames.Load(), 0)) }
