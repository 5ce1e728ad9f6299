package server

import (
	"time"

	"github.com/roostws/roost/netpoll"
)

// Timeouts are the deadlines of connections. Zero means the default. They cost
// four bytes a connection altogether, whether they are used or not.
type Timeouts struct {
	// HandshakeTimeout limits the time from accept to the upgrade's response,
	// Authorize included. If zero, 10 s.
	HandshakeTimeout time.Duration
	// MessageTimeout limits the time that a message takes from its first byte to
	// its last: a slower sender is closed with 1008. If zero, 60 s; if negative,
	// off.
	MessageTimeout time.Duration
	// PingInterval is how long a connection may be silent before it is pinged. If
	// zero, 45 s, below the 60 s after which common balancers drop a connection; if
	// negative, off.
	PingInterval time.Duration
	// PongTimeout is how long after a ping something must have arrived. If zero,
	// 20 s.
	PongTimeout time.Duration
	// IdleTimeout closes a connection (1001) that has sent no message for that
	// long; pongs do not count. If zero, off.
	IdleTimeout time.Duration
	// WriteStallTimeout aborts a connection that has taken no byte of waiting
	// output for that long. If zero, 30 s.
	WriteStallTimeout time.Duration
	// CloseTimeout limits the wait for the peer's part of the closing handshake.
	// If zero, 5 s; while the server stops, one second at most.
	CloseTimeout time.Duration
	// DrainDelay is for how long Shutdown serves on as before, with Stopping true and
	// /readyz 503, until balancers send no more clients. If zero, it does not wait.
	DrainDelay time.Duration
	// DrainOver is over how long Shutdown closes the connections, at an even pace. If
	// zero, all at once. Each client is told when to come back.
	DrainOver time.Duration
}

// tickInterval is a quarter of the shortest timeout, at most 250 ms: fine enough
// for every deadline, coarse enough to cost nothing.
func (t *Timeouts) tickInterval() time.Duration {
	tick := 250 * time.Millisecond
	for _, d := range []time.Duration{t.HandshakeTimeout, t.MessageTimeout, t.PingInterval, t.PongTimeout, t.IdleTimeout, t.WriteStallTimeout, t.CloseTimeout} {
		if d > 0 {
			tick = min(tick, d/4)
		}
	}
	return max(tick, 2*time.Millisecond)
}

// keepAlive is the interval of TCP keep-alive, a backstop that ends dead
// connections when pings are off. Where pings are rare it is no more frequent
// than they are, as far as the system allows.
func (t *Timeouts) keepAlive() time.Duration {
	return max(2*time.Minute, 2*min(t.PingInterval, netpoll.MaxKeepAlive/2))
}
