package intake

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/roostws/roost/server/internal/handshake"
)

// A client is the other end of its socket, or the one that a trusted proxy names,
// in a PROXY header before everything else or in a request header.

// Addresses is what Config says about clients' addresses.
type Addresses struct {
	// Proxy are the balancers whose connections begin with a PROXY header.
	Proxy handshake.Forwarding
	// Forwarding are the proxies whose request header is believed.
	Forwarding handshake.Forwarding
	// Limit is how many connections an address may have; 0 is no limit.
	Limit int
	// Rate is how many connections an address may make in a second; 0 is no limit.
	Rate int
	// Log: the address is wanted when a connection has ended, and the system
	// cannot be asked any more.
	Log bool
}

// Tracked reports whether the addresses of connections must be kept. Otherwise
// the system can be asked when one is wanted.
func (a *Addresses) Tracked() bool {
	return a.Log || a.Limit > 0 || a.Rate > 0 || a.Proxy.TrustUnix || len(a.Proxy.Trusted) > 0 || a.Forwarding.TrustUnix || len(a.Forwarding.Trusted) > 0
}

// Counts reports whether it matters to the limits whose a connection is.
func (a *Addresses) Counts() bool { return a.Limit > 0 || a.Rate > 0 }

// An Address is whose a connection is, in 20 bytes without a pointer. It changes
// by Limits.Move and TakeCount only: what is counted under one address must be given back under
// the same one.
type Address struct {
	ip      [16]byte // IPv4 is mapped; IPv6 without its zone
	port    uint16   // 0 if a request header has named the address
	known   bool     // false on a unix socket
	counted bool     // in Limits
}

// AddrPort returns the address, the zero AddrPort if there is none.
func (a *Address) AddrPort() netip.AddrPort {
	if !a.known {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.ip).Unmap(), a.port)
}

// Limits bounds connections by address, for all shards of a server. Its methods
// may be called from any goroutine, with an Address that is the caller's.
type Limits struct {
	connections addressCounts
	rates       connectRates
}

// A Verdict is what Limits.Admit says.
type Verdict uint8

const (
	// Admitted: the connection may stay.
	Admitted Verdict = iota
	// TooMany: the address has as many connections as it may.
	TooMany
	// TooOften: the address connects more often than it may.
	TooOften
)

// Move makes a the address p, the zero AddrPort for none. Its place in the limit
// of the address before is given back.
func (l *Limits) Move(a *Address, p netip.AddrPort) {
	if a.counted {
		l.connections.give(a.AddrPort().Addr())
	}
	*a = Address{known: p.IsValid()}
	if a.known {
		a.ip, a.port = p.Addr().As16(), p.Port()
	}
}

// TakeCount lets a, unless it is counted, take the place of b: the connection of a goes on
// with what the one of b began, which ends. b is empty then.
func (a *Address) TakeCount(b *Address) {
	if !a.counted && b.counted {
		*a, *b = *b, Address{}
	}
}

// Admit counts a connection of a, which is valid, against its limits. With
// TooOften, retry is after how long the client should come back. now is on the
// shards' clock.
func (l *Limits) Admit(a *Address, limits *Addresses, now time.Duration, random *rand.Rand) (v Verdict, retry time.Duration) {
	addr := a.AddrPort().Addr()
	if limits.Rate > 0 {
		if retry := l.rates.take(addr, limits.Rate, now, random); retry > 0 {
			return TooOften, retry
		}
	}
	if limits.Limit > 0 {
		if !l.connections.take(addr, limits.Limit) {
			return TooMany, 0
		}
		a.counted = true
	}
	return Admitted, 0
}

// Sweep forgets addresses that may connect as often as any other again. One
// goroutine calls it, a few times a second.
func (l *Limits) Sweep(now time.Duration) { l.rates.sweep(now) }

// Counted is how many connections are counted, over all addresses.
func (l *Limits) Counted() (n int) {
	for i := range l.connections.stripes {
		stripe := &l.connections.stripes[i]
		stripe.mu.Lock()
		for _, conns := range stripe.conns {
			n += conns
		}
		stripe.mu.Unlock()
	}
	return n
}

// addressCounts counts connections by address. It holds only addresses that have
// connections.
type addressCounts struct {
	stripes [16]struct {
		mu    sync.Mutex
		conns map[netip.Addr]int // guarded by mu
		_     [48]byte           // a cache line each
	}
}

// network returns what counts as one client: an IPv4 address, or the /64 that an
// IPv6 subscriber gets and may take any address from.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64) // cannot fail: it is IPv6
	return p.Addr()
}

func stripeOf(a netip.Addr) int {
	ip, sum := a.As16(), 0
	for _, b := range ip {
		sum = sum*31 + int(b)
	}
	return sum & 15
}

// take counts one more connection. It returns false if there are limit already.
func (c *addressCounts) take(a netip.Addr, limit int) bool {
	a = network(a)
	stripe := &c.stripes[stripeOf(a)]
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	n := stripe.conns[a]
	if n >= limit {
		return false
	}
	if stripe.conns == nil {
		stripe.conns = map[netip.Addr]int{}
	}
	stripe.conns[a] = n + 1
	return true
}

// give counts one less.
func (c *addressCounts) give(a netip.Addr) {
	a = network(a)
	stripe := &c.stripes[stripeOf(a)]
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	if n := stripe.conns[a]; n > 1 {
		stripe.conns[a] = n - 1
		return
	}
	delete(stripe.conns, a)
	if len(stripe.conns) == 0 {
		stripe.conns = nil // maps do not shrink
	}
}
