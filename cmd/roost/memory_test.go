package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"
)

// A small heap may grow by gcHeadroomBytes, a large one by the default percentage. So it is by
// Go's own word, too.
func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live, others uint64
		want         int
	}{
		{0, 0, 100}, {1 << 20, 0, 125}, {1 << 20, 1 << 20, 125}, {4 << 20, 0, 100}, {4 << 20, 4 << 20, 50}, {16 << 20, 0, 25}, {1 << 30, 0, 25},
	} {
		if got := gcPercent(c.live, c.others); got != c.want {
			t.Errorf("%+v: %d percent", c, got)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, kept := range []int{0, 8 << 20} {
		block := make([]byte, kept)
		runtime.GC()
		pace := new(gcPace)
		pace.adjust()
		runtime.GC()
		in := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/goal:bytes"}}
		metrics.Read(in)
		if live, goal := in[0].Value.Uint64(), in[1].Value.Uint64(); goal < live+gcHeadroomBytes*3/4 || goal > live+gcHeadroomBytes*5/4 {
			t.Errorf("of %d bytes the heap may grow to %d, by %d percent", live, goal, pace.percent)
		}
		runtime.KeepAlive(block)
	}
}

// What follows each collection does so more than once.
func TestAfterEachGC(t *testing.T) {
	var called atomic.Int64
	afterEachGC(func() { called.Add(1) })
	for n := int64(1); n <= 3; n++ {
		for deadline := time.Now().Add(30 * time.Second); called.Load() < n; time.Sleep(time.Millisecond) {
			if runtime.GC(); time.Now().After(deadline) {
				t.Fatalf("%d calls after many collections", called.Load())
			}
		}
	}
}
