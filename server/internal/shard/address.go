package shard

import (
	"net/netip"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/proxyproto"
)

// Who a client is: the other end of its socket, or whom a trusted proxy names,
// in a PROXY header before everything else or in a request header. Addresses
// are kept, 20 bytes a connection outside the heap, only where proxies are
// trusted or connections are counted by address; otherwise the system is asked
// when somebody wants to know.

// Addresses is what Config says about them.
type Addresses struct {
	// Proxy are the balancers whose connections begin with a PROXY header.
	Proxy handshake.Forwarding
	// Forwarding are the proxies whose request header is believed.
	Forwarding handshake.Forwarding
	// Limit is how many connections an address may have; 0 is no limit.
	Limit int
	// Rate is how many an address may make in a second; 0 is no limit.
	Rate int
	// Log: the address is wanted when a connection has ended, and the system
	// cannot be asked any more.
	Log bool
}

// tracked tells whether the shards need a table of addresses.
func (a *Addresses) tracked() bool {
	return a.Log || a.Limit > 0 || a.Rate > 0 || a.Proxy.TrustUnix || len(a.Proxy.Trusted) > 0 || a.Forwarding.TrustUnix || len(a.Forwarding.Trusted) > 0
}

// An address is a row of the table. It changes by setAddress only: what is
// counted under one address must be given back under the same one.
type address struct {
	ip      [16]byte // IPv4 is mapped; IPv6 without its zone
	port    uint16   // 0 if a request header has named the address
	known   bool     // false on a unix socket
	counted bool     // in Group.addresses
}

func (a *address) addrPort() netip.AddrPort {
	if !a.known {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.ip).Unmap(), a.port)
}

// RemoteAddr returns the client's address, the zero AddrPort if there is none.
// Its port is 0 if a proxy's request header has named it. A link-local address
// has its zone only where addresses are not kept. Loop only.
func (s *Shard) RemoteAddr(id netpoll.ID) netip.AddrPort {
	if s.addresses.rows == nil {
		return s.loop.RemoteAddr(id)
	}
	if _, ok := s.find(id); !ok {
		return netip.AddrPort{}
	}
	return s.addresses.rows[id.Slot()].addrPort()
}

// openAddress notes the address of a new connection from a listener and sets its
// first state. It reports whether the connection may stay.
func (c conn) openAddress(tag uint64) bool {
	peer, tracked := c.notePeer()
	if tracked && c.s.cfg.Addresses.Proxy.Trusts(peer) {
		c.setState(stateProxy)
		return true
	}
	c.awaitRequest()
	return c.admitAddress(peer)
}

// notePeer notes the other end of the socket as the connection's address, if
// addresses are tracked.
func (c conn) notePeer() (peer netip.Addr, tracked bool) {
	if c.s.addresses.rows == nil {
		return netip.Addr{}, false
	}
	at := c.s.loop.RemoteAddr(c.id)
	c.s.addresses.rows[c.id.Slot()] = address{}
	c.setAddress(at)
	return at.Addr(), true
}

// awaitRequest sets the state in which a connection begins on which no PROXY
// header is due, or not any more.
func (c conn) awaitRequest() {
	if c.flags&flagTLS != 0 {
		c.setState(stateTLS)
	} else {
		c.setState(stateHead)
	}
}

// handleProxy reads the PROXY header of a trusted balancer. Without one the
// connection ends: a server that guesses can be lied to.
func (c conn) handleProxy(p []byte) {
	held := c.ext() != nil
	if held {
		c.hold(p)
		p = c.input()
	}
	h, n, err := proxyproto.Parse(p)
	switch {
	case err != nil:
		c.s.count.ProxyErrors.Add(1)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "bad PROXY header", Err: err})
		return
	case n == 0:
		if !held {
			c.hold(p)
		}
		c.takePlace()
		return
	}
	rest := p[n:]
	if held {
		rest = append([]byte(nil), rest...)
		c.s.putInput(c.ext())
		c.dropExt()
	}
	c.awaitRequest()
	if h.Source.IsValid() {
		c.setAddress(h.Source)
		if !c.admitAddress(h.Source.Addr()) {
			return
		}
	}
	switch {
	case len(rest) == 0:
	case c.flags&flagTLS != 0:
		c.onDataTLS(rest)
	default:
		c.onPlain(rest)
	}
}

// forwarded finds the client in s.request if a trusted proxy has sent it, and
// tells whether it may stay.
func (c conn) forwarded() bool {
	s := c.s
	if s.addresses.rows == nil {
		return true
	}
	peer := s.addresses.rows[c.id.Slot()].addrPort().Addr()
	client := s.cfg.Addresses.Forwarding.ClientAddr(&s.request, peer)
	if client == peer {
		return true
	}
	c.setAddress(netip.AddrPortFrom(client, 0))
	return c.admitAddress(client)
}

// admitAddress counts a connection against its address's limits, and refuses it
// beyond. Trusted proxies are not clients: theirs are counted when they have
// told whose they are.
func (c conn) admitAddress(a netip.Addr) bool {
	s := c.s
	limit, rate := s.cfg.Addresses.Limit, s.cfg.Addresses.Rate
	if (limit == 0 && rate == 0) || !a.IsValid() || s.cfg.Addresses.Forwarding.Trusts(a) {
		return true
	}
	if rate > 0 {
		if retry := s.group.connectRates.take(a, rate, s.clock(), s.random); retry > 0 {
			s.count.RefusedAddressRate.Add(1)
			c.refuseAddress(Closed{Code: frame.CloseAbnormal, Reason: "one address connects too often", Err: ErrTooOftenFromAddress}, retry)
			return false
		}
	}
	if limit == 0 {
		return true
	}
	if s.group.addresses.take(a, limit) {
		s.addresses.rows[c.id.Slot()].counted = true
		return true
	}
	s.count.RefusedAddress.Add(1)
	c.refuseAddress(Closed{Code: frame.CloseAbnormal, Reason: "too many connections from one address", Err: ErrTooManyFromAddress}, retryAfter)
	return false
}

// refuseAddress tells a connection to come back later.
func (c conn) refuseAddress(why Closed, retry time.Duration) {
	// An answer has to linger until it is read, and a TLS handshake costs a
	// millisecond: a flood gets neither.
	if c.s.politeness--; c.flags&flagTLS != 0 || c.s.politeness < 0 {
		c.abort(why)
		return
	}
	c.decide(why)
	c.respond(handshake.AppendTooManyRequests(nil, retry))
}

// politeAnswers is how many connections beyond their address's limit get an
// answer between two ticks; the others are just closed. With 2 s of lingering
// and 4 ticks a second some 500 answers of a loop wait at most to be read.
const politeAnswers = 64

// setAddress notes the connection's address, the zero AddrPort for none. Its place
// in the limit of the address before is given back.
func (c conn) setAddress(p netip.AddrPort) {
	row := &c.s.addresses.rows[c.id.Slot()]
	if row.counted {
		c.s.group.addresses.give(row.addrPort().Addr())
	}
	*row = address{known: p.IsValid()}
	if row.known {
		row.ip, row.port = p.Addr().As16(), p.Port()
	}
}

// closeAddress forgets the address of a connection that has ended.
func (c conn) closeAddress() {
	if c.s.addresses.rows != nil {
		c.setAddress(netip.AddrPort{})
	}
}

// addressCounts counts connections by address. Any goroutine. It holds only
// addresses that have connections.
type addressCounts struct {
	stripes [16]struct {
		mu    sync.Mutex
		conns map[netip.Addr]int // guarded by mu
		_     [48]byte           // a cache line each
	}
}

// network is what counts as one client: an IPv4 address, or the /64 that an
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

// take counts one more connection, unless limit are there.
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
