package shard

import (
	"bytes"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/counters"
)

// pacedRig is a shard with slices of 10 frames, one a millisecond. It appends to wakes
// when it wants to be woken.
func pacedRig(t *testing.T, wakes *[]time.Duration) (r *rig) {
	r = newRig(t, 1, func(c *Config) {
		c.FrameSlice, c.SliceInterval = 10, time.Millisecond
		c.After = func(d time.Duration, _ func()) { *wakes = append(*wakes, r.now+d) }
	})
	r.now = time.Minute
	return r
}

// One that floods gets one slice an interval, in one read or in many, and others are
// served meanwhile.
func TestFloodIsPaced(t *testing.T) {
	ping := frame.AppendMaskedFrame(nil, frame.OpPing, [4]byte{1, 2, 3, 4}, []byte("x"))
	for name, reads := range map[string]int{"one read": 1, "many reads": 100} {
		t.Run(name, func(t *testing.T) {
			var wakes []time.Duration
			r := pacedRig(t, &wakes)
			flood, other := r.open(0, "flood"), r.open(0, "other")
			s, l := r.shards[0], r.loops[0]
			for range reads {
				l.Deliver(flood, bytes.Repeat(ping, 100/reads))
			}
			r.settle()
			// A slice that may have begun before, and one of this interval.
			want := int64(20)
			for ; want < 100; want += 10 {
				if got := s.count.Get(counters.PingsReceived); got != want {
					t.Fatalf("after %v %d pings were answered, want %d", r.now, got, want)
				}
				l.Deliver(other, frame.AppendMaskedFrame(nil, frame.OpText, [4]byte{1, 2, 3, 4}, []byte("hello")))
				r.settle()
				if got := l.TakeReceived(other); !bytes.Contains(got, []byte("hello")) {
					t.Fatalf("the other got %q", got)
				}
				if n := len(wakes); n == 0 || wakes[n-1] <= r.now || wakes[n-1] > r.now+time.Millisecond {
					t.Fatalf("the loop is to wake at %v, and it is %v", wakes, r.now)
				}
				r.now = wakes[len(wakes)-1]
				l.Wake()
				r.settle()
			}
			if got := s.count.Get(counters.PingsReceived); got != 100 {
				t.Errorf("%d pings were answered in the end", got)
			}
			r.now += time.Millisecond
			l.Wake()
			r.settle()
			if n := s.count.Get(counters.Paused); n != 0 {
				t.Errorf("%d connections are paused", n)
			}
		})
	}
}

// The end of an interval may be noticed first by a connection that uses up a slice: those
// that waited for it go on all the same.
func TestPacedGoOnWhenAnotherEndsTheInterval(t *testing.T) {
	ping := frame.AppendMaskedFrame(nil, frame.OpPing, [4]byte{1, 2, 3, 4}, []byte("x"))
	for name, pings := range map[string]int{"a slice": 10, "more than a slice": 15} {
		t.Run(name, func(t *testing.T) {
			var wakes []time.Duration
			r := pacedRig(t, &wakes)
			flood, other := r.open(0, "flood"), r.open(0, "other")
			s, l := r.shards[0], r.loops[0]
			l.Deliver(flood, bytes.Repeat(ping, 40))
			r.settle()
			if got := s.count.Get(counters.PingsReceived); got != 20 || len(wakes) != 1 {
				t.Fatalf("%d pings were answered, want 20; the loop is to wake at %v", got, wakes)
			}
			r.now = wakes[0]
			s.OnData(other, bytes.Repeat(ping, pings)) // before the loop has woken
			l.Wake()
			r.settle()
			if got, want := s.count.Get(counters.PingsReceived), int64(20+pings+10); got != want {
				t.Errorf("%d pings were answered, want %d", got, want)
			}
			if len(wakes) != 2 || wakes[1] != r.now+time.Millisecond {
				t.Errorf("the loop is to wake at %v, and it is %v", wakes, r.now)
			}
		})
	}
}

// Bytes that are held while one after the other slice is handled stay where they are.
func TestHeldBytesAreNotCopied(t *testing.T) {
	ping := frame.AppendMaskedFrame(nil, frame.OpPing, [4]byte{1, 2, 3, 4}, []byte("x"))
	r := newRig(t, 1, func(c *Config) { c.FrameSlice, c.SliceInterval = 10, time.Millisecond })
	id := r.open(0, "flood")
	s, l := r.shards[0], r.loops[0]
	l.Deliver(id, bytes.Repeat(ping, 1000))
	r.settle()
	c, _ := s.find(id)
	end := func() *byte { p := c.input(); return &p[len(p)-1] }
	first := end()
	for range 50 {
		r.now += time.Millisecond
		l.Wake()
		r.settle()
		if end() != first {
			t.Fatalf("after %d pings the bytes were copied", s.count.Get(counters.PingsReceived))
		}
	}
	if got := s.count.Get(counters.PingsReceived); got < 500 {
		t.Errorf("%d pings were answered", got)
	}
}
