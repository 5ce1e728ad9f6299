package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Start-up and bursts of new clients leave garbage: a TLS handshake some 6 KiB, a
// token some 200 B. While clients are idle nothing is allocated, so the garbage
// collector would not run. Three quiet seconds after such growth, keepMemory runs a
// collection and returns the memory to the system.
const (
	keeperPeriod = time.Second
	// A collection starts if the heap has grown by keeperGrowthBytes and by one in
	// keeperGrowthShare, so that the cost of marking stays in proportion. 256 KiB are
	// 26 bytes for each of ten thousand clients. Plain connections are not on the heap
	// and never cause a collection.
	keeperGrowthBytes = 256 << 10
	keeperGrowthShare = 16
	// keeperLeftBytes of free memory may stay with the heap. The pages that a processor
	// of the runtime has set aside for itself, up to 512 KiB, are not returned while it is
	// at work: keeperTries further collections, a second apart, find it idle.
	keeperLeftBytes = 64 << 10
	keeperTries     = 4
	// keeperPause is the least time between two collections, except after a burst of
	// new clients.
	keeperPause = 30 * time.Second
	// While more than keeperBusyBytes are allocated in a keeperPeriod, memory that was
	// returned would be asked for again at once.
	keeperBusyBytes = 2 << 20
)

// defaultGCPercent is below Go's own 100. Connections are not on the heap, so a
// collection is cheap, and the messages and histories that are on it need not take
// twice their size.
const defaultGCPercent = 25

// gcHeadroomBytes is how far the heap may grow between two collections in any case, unless
// the percentage is given. A quarter of a heap of 5 MiB is garbage within 10,000 requests of
// the admin port, and a server that is busy with them would collect fifty times a second.
// What a burst leaves of it, keepMemory returns.
const gcHeadroomBytes uint64 = 4 << 20

// setGCPercent sets how far the heap may grow between two collections.
func (s *ServeCmd) setGCPercent() {
	switch {
	case s.GCPercent > 0:
		debug.SetGCPercent(s.GCPercent)
	case os.Getenv("GOGC") == "":
		debug.SetGCPercent(defaultGCPercent)
		afterEachGC(new(gcPace).adjust)
	}
}

// gcPace sets the percentage by the size of the heap.
type gcPace struct{ percent int }

// adjust follows each collection, so that a heap that grows does not grow by the percentage
// that was right for a small one.
func (p *gcPace) adjust() {
	in := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(in)
	// Each change stops all goroutines for some microseconds.
	if percent := gcPercent(in[0].Value.Uint64(), in[1].Value.Uint64()+in[2].Value.Uint64()); percent > p.percent*9/8 || percent < p.percent*7/8 {
		debug.SetGCPercent(percent)
		p.percent = percent
	}
}

// gcPercent returns the percentage with which a heap of which live bytes are in use, beside
// others that are looked through (stacks and globals), grows by gcHeadroomBytes. Go counts the
// others as well, and never collects below 4 MiB for each hundred percent (GOGC in package
// runtime).
func gcPercent(live, others uint64) int {
	const least = 4 << 20
	percent := min(gcHeadroomBytes*100/max(live+others, 1), (live+gcHeadroomBytes)*100/least)
	return max(defaultGCPercent, int(percent))
}

// afterEachGC calls f, which must be short, on a goroutine of the runtime after each
// collection from now on.
func afterEachGC(f func()) {
	type unreachable struct{ _ [16]byte }
	var again func(*unreachable)
	again = func(u *unreachable) {
		f()
		runtime.SetFinalizer(u, again)
	}
	runtime.SetFinalizer(&unreachable{}, again)
}

// keepMemory runs until ctx ends. accepted returns the number of connections
// accepted so far.
func keepMemory(ctx context.Context, accepted func() uint64) {
	tick := time.NewTicker(keeperPeriod)
	defer tick.Stop()
	base := uint64(0) // so that start-up counts as growth
	before := accepted()
	quiet, tries, stormed := 0, 0, false
	allocatedBefore := allocatedBytes()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := accepted()
		if quiet++; now-before > 10 {
			quiet, tries, stormed = 0, 0, true
		}
		before = now
		allocated := allocatedBytes()
		if allocated-allocatedBefore > keeperBusyBytes {
			quiet, tries = 0, 0
		}
		allocatedBefore = allocated
		heap, free := heapBytes()
		base = min(base, heap)
		// The garbage of start-up is collected at once: otherwise a benchmark would
		// measure it before the connections and not after.
		due := base == 0 || quiet >= 3 && (stormed || time.Since(last) > keeperPause)
		switch {
		case due && heap > base+max(keeperGrowthBytes, base/keeperGrowthShare):
			tries = keeperTries
		case quiet >= 3 && tries > 0 && free > keeperLeftBytes:
			tries--
		default:
			continue
		}
		runtime.GC() // sync.Pool drops its contents at the second collection
		debug.FreeOSMemory()
		last, stormed = time.Now(), false
		base, _ = heapBytes()
	}
}

// allocatedBytes returns how much was allocated so far.
func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// heapBytes returns the memory of the system that the heap holds, and how much of it
// is free and could be returned.
func heapBytes() (all, free uint64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(samples)
	for _, s := range samples {
		all += s.Value.Uint64()
	}
	return all, samples[0].Value.Uint64()
}
