package procs

import (
	"runtime"
	"testing"
)

func TestTakeAndGive(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	want := func(when string, procs int, spare bool) {
		t.Helper()
		if got := runtime.GOMAXPROCS(0); got != procs || Spare() != spare || Own() != was {
			t.Errorf("%s: GOMAXPROCS %d, spare %v, own %d; want %d, %v, %d", when, got, Spare(), Own(), procs, spare, was)
		}
	}
	for range was {
		Take(false)
	}
	want("a P for each loop", 2*was, true)
	for range was {
		Take(true)
	}
	want("as many loops as Ps", 2*was, false)
	Give(true)
	want("one loop less", 2*was, true)
	for range was {
		Give(false)
	}
	for range was - 1 {
		Give(true)
	}
	want("without loops", was, true)
}

// A program may change GOMAXPROCS while loops run: Look notices it.
func TestLook(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	defer func() {
		runtime.GOMAXPROCS(was)
		Look()
	}()
	Take(true)
	defer Give(true)
	runtime.GOMAXPROCS(1)
	if Look(); Spare() {
		t.Error("one P and one loop: there is no spare P")
	}
	runtime.GOMAXPROCS(2)
	if Look(); !Spare() {
		t.Error("two Ps and one loop: there is a spare P")
	}
}
