package intake

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/roostws/roost/server/internal/gcra"
)

// connectRates bounds how often an address may connect: a token bucket for each.
// It holds only addresses whose bucket is not full.
type connectRates struct {
	stripes [16]struct {
		mu      sync.Mutex
		buckets map[netip.Addr]bucket // guarded by mu
		_       [48]byte              // a cache line each
	}
}

type bucket struct {
	tokens gcra.Bucket
	// refused counts the connections that found it empty since it was full last.
	refused uint32
}

// connectRateAddresses bounds the addresses that a stripe remembers, some 100
// bytes each. A limit for each address cannot stop an attacker with a million of
// them.
const connectRateAddresses = 1 << 14

// connectRetryMax is the longest delay that a client is told.
const connectRetryMax = 2 * time.Minute

// take counts a connect of a at now. It returns 0 if rate connects a second are
// not exceeded, otherwise after how long to come back. Refused connects are spread
// over the time in which all of them could come in: behind one address may be an
// office whose clients all come back at once.
func (c *connectRates) take(a netip.Addr, rate int, now time.Duration, random *rand.Rand) (retry time.Duration) {
	a = network(a)
	stripe := &c.stripes[stripeOf(a)]
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	b, known := stripe.buckets[a]
	if b.tokens.Full(now) {
		b.refused = 0
	}
	if b.tokens.Take(now, rate) > 0 {
		b.refused++
		stripe.buckets[a] = b // known, since it is not full
		spread := min(time.Duration(b.refused)*time.Second/time.Duration(rate), connectRetryMax)
		return min(time.Second+time.Duration(random.Int64N(int64(spread)+1)), connectRetryMax)
	}
	if !known && len(stripe.buckets) >= connectRateAddresses {
		return 0
	}
	if stripe.buckets == nil {
		stripe.buckets = map[netip.Addr]bucket{}
	}
	stripe.buckets[a] = b
	return 0
}

// sweep forgets full buckets. One loop calls it, at each tick.
func (c *connectRates) sweep(now time.Duration) {
	for i := range c.stripes {
		stripe := &c.stripes[i]
		stripe.mu.Lock()
		for a, b := range stripe.buckets {
			if b.tokens.Full(now) {
				delete(stripe.buckets, a)
			}
		}
		if len(stripe.buckets) == 0 {
			stripe.buckets = nil // maps do not shrink
		}
		stripe.mu.Unlock()
	}
}
