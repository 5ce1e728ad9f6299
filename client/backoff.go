package client

import (
	"math/rand/v2"
	"time"
)

// A backoff gives the delays between attempts: exponential, with full jitter.
// Each is drawn from zero to the bound, so that clients that were cut at one moment
// do not come back at one moment.
type backoff struct {
	min, max time.Duration
	attempts int
}

// next is the delay before the next attempt.
func (b *backoff) next() time.Duration {
	bound := b.min
	for range b.attempts {
		if bound >= b.max/2 {
			bound = b.max
			break
		}
		bound *= 2
	}
	b.attempts++
	return rand.N(bound + 1)
}

// reset begins anew.
func (b *backoff) reset() { b.attempts = 0 }
