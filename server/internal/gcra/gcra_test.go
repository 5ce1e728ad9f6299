package gcra

import (
	"testing"
	"time"
)

// A burst of a second's tokens, then one at a time; never more than twice the rate
// in any second, and the rate itself in the long run.
func TestBucket(t *testing.T) {
	for _, rate := range []int{1, 3, 50, 1000, 65_535, 1_000_000} {
		var b Bucket
		now := 5 * time.Second
		if !b.Full(now) {
			t.Errorf("rate %d: the zero Bucket is not full", rate)
		}
		for i := range rate {
			if wait := b.Take(now, rate); wait != 0 {
				t.Fatalf("rate %d: token %d of the burst comes after %v", rate, i, wait)
			}
		}
		wait := b.Take(now, rate)
		if each := time.Second / time.Duration(rate); wait <= 0 || wait > each {
			t.Errorf("rate %d: one more comes after %v, want at most %v", rate, wait, each)
		}
		if b.Full(now) || !b.Full(now+time.Second) {
			t.Errorf("rate %d: full now: %v, a second later: %v", rate, b.Full(now), b.Full(now+time.Second))
		}
		now += wait
		if first, second := b.Take(now, rate), b.Take(now, rate); first != 0 || second == 0 {
			t.Errorf("rate %d: when it is there: %v, then %v", rate, first, second)
		}
		taken := 0
		for range 10_000 { // ten seconds
			now += time.Millisecond
			for b.Take(now, rate) == 0 {
				taken++
			}
		}
		if want := 10 * rate; taken < want-1 || taken > want+want/100+1 {
			t.Errorf("rate %d: %d tokens in ten seconds", rate, taken)
		}
		// What was saved while nothing happened is one second's.
		now += time.Hour
		taken = 0
		for b.Take(now, rate) == 0 {
			taken++
		}
		if taken != rate && taken != rate+1 {
			t.Errorf("rate %d: %d at once after an hour", rate, taken)
		}
	}
}
