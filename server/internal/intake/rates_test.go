package intake

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// A bucket of one second, for each address, a /64 of IPv6 being one.
func TestConnectRates(t *testing.T) {
	const rate = 10
	var rates connectRates
	random := rand.New(rand.NewPCG(1, 2))
	a, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := 5 * time.Second
	take := func(a netip.Addr) time.Duration { return rates.take(a, rate, now, random) }
	for i := range rate {
		if retry := take(a); retry != 0 {
			t.Fatalf("connect %d of a burst of %d: come back after %v", i, rate, retry)
		}
	}
	if retry := take(a); retry < time.Second || retry > 2*time.Second {
		t.Errorf("one too many may come back after %v, want a second or so", retry)
	}
	if retry := take(other); retry != 0 {
		t.Errorf("another address has to wait for %v", retry)
	}
	now += 100 * time.Millisecond
	if first, second := take(a), take(a); first != 0 || second == 0 {
		t.Errorf("after a tenth of a second: %v and %v, want one more", first, second)
	}
	// Those who are refused are spread over the time that they need.
	var early, late int
	for range 600 {
		switch retry := take(a); {
		case retry < time.Second || retry > 61500*time.Millisecond:
			t.Fatalf("come back after %v", retry)
		case retry < 10*time.Second:
			early++
		case retry > 30*time.Second:
			late++
		}
	}
	if early < 100 || late < 50 {
		t.Errorf("of 600, %d come back early and %d late: not spread", early, late)
	}
	for range 5000 {
		if retry := take(a); retry > connectRetryMax {
			t.Fatalf("come back after %v", retry)
		}
	}
	// It is forgotten when its bucket is full, and not before.
	rates.sweep(now + 900*time.Millisecond)
	if now += 900 * time.Millisecond; rates.stripes[stripeOf(a)].buckets == nil {
		t.Error("a bucket that is not full is forgotten")
	}
	now += time.Second
	rates.sweep(now)
	for i := range rates.stripes {
		if len(rates.stripes[i].buckets) > 0 {
			t.Errorf("stripe %d still knows %v", i, rates.stripes[i].buckets)
		}
	}
	six, neighbour := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for range rate {
		take(six)
	}
	if take(neighbour) == 0 {
		t.Error("an address of the same /64 has a bucket of its own")
	}
}
