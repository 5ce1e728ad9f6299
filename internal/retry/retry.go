// Package retry says when to try again: what a server asks for with Retry-After,
// and random delays that grow.
package retry

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// AfterMax is the longest delay that After returns: a day is as good as more.
const AfterMax = 24 * time.Hour

// After returns the delay that a Retry-After header asks for (RFC 9110, section
// 10.2.3): seconds, or a date. It is zero if the header is empty, malformed or asks
// for a time that has passed.
func After(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(AfterMax/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), AfterMax)
	}
	return 0
}

// A Backoff returns the delays between attempts: exponential, with full jitter. Each
// is drawn from zero to a bound that doubles, so that programs that were cut at one
// moment do not come back at one moment. It is not safe for concurrent use.
type Backoff struct {
	// Min is the bound of the first delay, Max that of all. Both are more than zero.
	Min, Max time.Duration
	// Attempts is how many delays Next has returned since Reset.
	Attempts int
}

// Next returns the delay before the next attempt.
func (b *Backoff) Next() time.Duration {
	bound := min(b.Min, b.Max)
	for range b.Attempts {
		if bound >= b.Max/2 {
			bound = b.Max
			break
		}
		bound *= 2
	}
	b.Attempts++
	return rand.N(bound + 1)
}

// Reset begins anew after an attempt that succeeded.
func (b *Backoff) Reset() { b.Attempts = 0 }
