package retry

import (
	"testing"
	"time"
)

func TestAfter(t *testing.T) {
	now := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "1.5": 0, "soon": 0, "99999999999999999999": 0,
		"86401": AfterMax, "18446744073709551615": AfterMax,
		"Mon, 30 Nov 2026 08:01:00 GMT": time.Minute,
		"Mon, 30 Nov 2026 07:00:00 GMT": 0,
		"Mon, 30 Nov 2099 07:00:00 GMT": AfterMax,
	} {
		if got := After(header, now); got != want {
			t.Errorf("After(%q) = %v, want %v", header, got, want)
		}
	}
}

// The delays are drawn from zero to a bound that doubles up to the maximum.
func TestBackoff(t *testing.T) {
	const rounds = 2000
	for attempt, bound := range []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 20000, 20000} {
		bound *= time.Millisecond
		var low, high, sum time.Duration = time.Hour, 0, 0
		for range rounds {
			b := Backoff{Min: 500 * time.Millisecond, Max: 20 * time.Second, Attempts: attempt}
			delay := b.Next()
			low, high, sum = min(low, delay), max(high, delay), sum+delay
		}
		if high > bound || high < bound*9/10 || low > bound/10 {
			t.Errorf("attempt %d: delays from %s to %s, want all of 0 to %s", attempt, low, high, bound)
		}
		if mean := sum / rounds; mean < bound*4/10 || mean > bound*6/10 {
			t.Errorf("attempt %d: the mean is %s, want about half of %s", attempt, mean, bound)
		}
	}
	b := Backoff{Min: time.Hour, Max: 1 << 62, Attempts: 1 << 20}
	if delay := b.Next(); delay < 0 {
		t.Errorf("after very many attempts the delay is %s", delay)
	}
	if b.Reset(); b.Attempts != 0 {
		t.Errorf("%d attempts after Reset", b.Attempts)
	}
}
