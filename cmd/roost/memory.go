package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Starting, and a storm of clients, leaves garbage behind (TLS handshakes above
// all: 6 KiB that live and as much again that does not; a token some 200 B), and
// the collector has no reason to run while clients are idle. Three quiet seconds
// after such growth, keepMemory collects once and gives the pages back.
const (
	keeperPeriod = time.Second
	// keeperGrowthBytes and keeperGrowthShare are the growth of the heap that is
	// worth a collection: the larger of both, so that what marking costs stays in
	// proportion. Less than the first is 26 bytes for each of ten thousand clients.
	// Plain connections never cause it: they are not on the heap.
	keeperGrowthBytes = 256 << 10
	keeperGrowthShare = 16
	// keeperPause bounds what a server with a lively heap spends on this. A storm of
	// clients does not have to wait for it.
	keeperPause = 30 * time.Second
)

// defaultGCPercent lets the heap grow by less than Go's own 100 between collections.
// Connections are not on the heap, so there is little to mark, and what is
// there (messages for clients that lag, histories) need not take twice the room.
const defaultGCPercent = 25

// gcPercent is what to tell the collector, 0 to leave it alone.
func (s *ServeCmd) gcPercent() int {
	if s.GCPercent == 0 && os.Getenv("GOGC") == "" {
		return defaultGCPercent
	}
	return s.GCPercent
}

// keepMemory runs until ctx ends. accepted returns how many connections were
// ever taken.
func keepMemory(ctx context.Context, accepted func() uint64) {
	tick := time.NewTicker(keeperPeriod)
	defer tick.Stop()
	base := uint64(0) // what starting left is growth as well
	before := accepted()
	quiet, stormed := 0, false
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := accepted()
		if quiet++; now-before > 10 {
			quiet, stormed = 0, true
		}
		before = now
		heap := heapBytes()
		base = min(base, heap)
		// What starting left goes at once, so that a measurement does not find
		// it in the figure before the connections and not in the one after.
		due := base == 0 || quiet >= 3 && (stormed || time.Since(last) > keeperPause)
		if due && heap > base+max(keeperGrowthBytes, base/keeperGrowthShare) {
			runtime.GC() // pools let go of what they hold at the second collection
			debug.FreeOSMemory()
			last, stormed, base = time.Now(), false, heapBytes()
		}
	}
}

// heapBytes is what the heap holds of the system's memory.
func heapBytes() uint64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(samples)
	var sum uint64
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	return sum
}
