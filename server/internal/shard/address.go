package shard

import (
	"net/netip"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/proxyproto"
)

// RemoteAddr returns the client's address, the zero AddrPort if there is none.
// Its port is 0 if a proxy's request header has named it. A link-local address
// has its zone only where addresses are not kept. Loop only.
func (s *Shard) RemoteAddr(id netpoll.ID) netip.AddrPort {
	if !s.intake.tracked() {
		return s.loop.RemoteAddr(id)
	}
	c, ok := s.find(id)
	if !ok {
		return netip.AddrPort{}
	}
	return c.address().AddrPort()
}

// address returns the connection's row of addresses, if they are tracked.
func (c conn) address() *intake.Address { return &c.s.intake.addresses.Rows[c.id.Slot()] }

// tracked reports whether connections have addresses here.
func (in *intakeState) tracked() bool { return in.addresses.Rows != nil }

// openAddress notes the address of a new connection from a listener and sets its
// first state. It reports whether the connection may stay.
func (c conn) openAddress(tag uint64) bool {
	peer, tracked := c.notePeer()
	if tracked && c.s.cfg.Addresses.Proxy.Trusts(peer) {
		c.setState(stateProxy)
		return true
	}
	c.awaitRequest()
	return c.admitAddress(peer, true)
}

// notePeer notes the other end of the socket as the connection's address, if
// addresses are tracked.
func (c conn) notePeer() (peer netip.Addr, tracked bool) {
	if !c.s.intake.tracked() {
		return netip.Addr{}, false
	}
	at := c.s.loop.RemoteAddr(c.id)
	*c.address() = intake.Address{}
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

// handleProxy reads the PROXY header of a trusted balancer. A connection without
// one is ended: a server that guesses can be lied to.
func (c conn) handleProxy(p []byte) {
	held := c.ext() != nil
	if held && c.ext().proxyDue > 0 {
		c.skipProxy(p)
		return
	}
	if held {
		c.hold(p)
		p = c.input()
	}
	h, n, err := proxyproto.Parse(p)
	switch {
	case err != nil:
		c.s.count.Inc(counters.ProxyErrors)
		c.noteRefusal(intake.RefusedNoProxyHeader)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "bad PROXY header", Err: err})
		return
	case n == 0:
		if !held {
			c.hold(p)
		}
		c.takePlace()
		return
	}
	due := n - len(p)
	rest := p[min(n, len(p)):]
	if held {
		rest = append([]byte(nil), rest...)
		c.s.putInput(c.ext())
		c.dropExt()
	}
	if h.Source.IsValid() {
		c.setAddress(h.Source)
		if !c.admitAddress(h.Source.Addr(), true) {
			return
		}
	}
	if due > 0 {
		c.makeExt().proxyDue = due
		c.takePlace()
		return
	}
	c.proxied(rest)
}

// skipProxy drops what a long PROXY header has behind its addresses.
func (c conn) skipProxy(p []byte) {
	x := c.ext()
	n := min(x.proxyDue, len(p))
	if x.proxyDue -= n; x.proxyDue == 0 {
		c.dropExt()
		c.proxied(p[n:])
	}
}

// proxied goes on with what the client sent behind the PROXY header.
func (c conn) proxied(rest []byte) {
	c.awaitRequest()
	switch {
	case len(rest) == 0:
	case c.flags&flagTLS != 0:
		c.onDataTLS(rest)
	default:
		c.onPlain(rest)
	}
}

// forwarded finds the client in the request if a trusted proxy has sent it, and
// reports whether it may stay.
func (c conn) forwarded() bool {
	s := c.s
	if !s.intake.tracked() {
		return true
	}
	peer := c.address().AddrPort().Addr()
	client := s.cfg.Addresses.Forwarding.ClientAddr(&s.intake.request, peer)
	if client == peer {
		if s.cfg.Addresses.Counts() && s.cfg.Addresses.Forwarding.Ignores(&s.intake.request, peer) {
			c.noteRefusal(intake.IgnoredForwarded)
		}
		return true
	}
	c.setAddress(netip.AddrPortFrom(client, 0))
	return c.admitAddress(client, false)
}

// admitAddress counts a connection against the limits of a, its address, and
// refuses it beyond them. Trusted proxies are not clients: a connection of theirs
// is counted when its header has named the client. unread is whether the request has
// still to be read.
func (c conn) admitAddress(a netip.Addr, unread bool) bool {
	s, limits := c.s, &c.s.cfg.Addresses
	if (limits.Limit == 0 && limits.Rate == 0) || !a.IsValid() || limits.Forwarding.Trusts(a) {
		return true
	}
	switch verdict, retry := s.group.addresses.Admit(c.address(), limits, s.clock(), s.random); verdict {
	case intake.TooOften:
		s.count.Inc(counters.RefusedAddressRate)
		c.noteRefusal(intake.RefusedRate)
		c.refuseAddress(Closed{Code: frame.CloseAbnormal, Reason: "one address connects too often", Err: ErrTooOftenFromAddress}, retry, unread)
		return false
	case intake.TooMany:
		s.count.Inc(counters.RefusedAddress)
		c.noteRefusal(intake.RefusedAddress)
		c.refuseAddress(Closed{Code: frame.CloseAbnormal, Reason: "too many connections from one address", Err: ErrTooManyFromAddress}, retryAfter, unread)
		return false
	}
	return true
}

// refuseAddress ends a connection beyond its address's limits.
func (c conn) refuseAddress(why Closed, retry time.Duration, unread bool) {
	// A response has to linger until it is read, and a TLS handshake costs a
	// millisecond: a flood gets neither.
	in := &c.s.intake
	if in.refusalsLeft--; c.flags&flagTLS != 0 || in.refusalsLeft < 0 {
		c.abort(why)
		return
	}
	c.decide(why)
	env := c.envelope()
	env.Unread = unread
	c.respond(handshake.AppendTooManyRequests(nil, retry, env))
}

// refusalsPerTick is how many connections beyond their address's limit get a
// response between two ticks; the others are just closed. With 2 s of lingering
// and 4 ticks a second, at most some 500 responses of a loop wait to be read.
const refusalsPerTick = 64

// setAddress notes the connection's address, the zero AddrPort for none.
func (c conn) setAddress(p netip.AddrPort) { c.s.group.addresses.Move(c.address(), p) }

// closeAddress forgets the address of a connection that has ended.
func (c conn) closeAddress() {
	if c.s.intake.tracked() {
		c.setAddress(netip.AddrPort{})
	}
}
