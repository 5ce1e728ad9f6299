// Package gcra has the one limiter of rates that a server uses: for the messages
// and commands of a client, and for the connects of an address.
package gcra

import "time"

// A Bucket is a token bucket that holds the tokens of one second. It is kept as
// the time at which it will be full again (the generic cell rate algorithm), so
// that it takes 8 bytes and nothing has to fill it. The zero value is full. Times
// are on a monotonic clock that began at any moment.
type Bucket time.Duration

// Wait returns after how long a token will be there, 0 if one is, with rate tokens
// a second.
func (b Bucket) Wait(now time.Duration, rate int) time.Duration {
	return max(0, max(time.Duration(b), now)+cost(rate)-now-time.Second)
}

// Take takes a token and returns 0, or returns after how long one will be there.
func (b *Bucket) Take(now time.Duration, rate int) (wait time.Duration) {
	if wait = b.Wait(now, rate); wait == 0 {
		*b = Bucket(max(time.Duration(*b), now) + cost(rate))
	}
	return wait
}

// Full reports whether no token is missing: the bucket can be forgotten.
func (b Bucket) Full(now time.Duration) bool { return time.Duration(b) <= now }

// cost is how long a token takes to come.
func cost(rate int) time.Duration { return time.Second / time.Duration(rate) }
