package main

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// A small heap may grow by gcHeadroomBytes, a large one by the default percentage.
func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 4 << 20: 100, 16 << 20: 25, 64 << 20: 25, 1 << 30: 25,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes: %d percent, want %d", live, got, want)
		}
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
