package counters

import (
	"testing"
	"time"
)

// A duration is in the bucket whose bound is the first that is not below it.
func TestObserve(t *testing.T) {
	for _, test := range []struct {
		took time.Duration
		want int // bucket, buckets for none
	}{
		{-time.Second, 0}, {0, 0}, {1, 0}, {1 << 14, 0}, {1<<14 + 1, 1}, {1 << 15, 1}, {time.Millisecond, 6},
		{1 << 34, 20}, {1<<34 + 1, buckets}, {time.Hour, buckets},
	} {
		var l Loop
		l.Observe(TurnTime, test.took)
		var sum Distributions
		sum.AddLoop(&l)
		sum.AddLoop(&l)
		d := sum.List()[TurnTime]
		if d.Count != 2 || d.Sum != 2*max(test.took, 1).Seconds() {
			t.Errorf("%v twice: count %d, sum %v", test.took, d.Count, d.Sum)
		}
		for i, n := range d.Counts {
			if want := i == test.want; (n == 2) != want {
				t.Errorf("%v twice: %d in bucket %d, up to %v s", test.took, n, i, d.Bounds[i])
			}
		}
		if test.want < buckets && d.Bounds[test.want] < max(test.took, 0).Seconds() {
			t.Errorf("%v is in the bucket up to %v s", test.took, d.Bounds[test.want])
		}
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	var l Loop
	if n := testing.AllocsPerRun(100, func() { l.Observe(PublishTime, time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
