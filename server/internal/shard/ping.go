package shard

import (
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/wire"
)

// Pings tell a silent connection from a dead one. They are due at ticks, some
// hundreds at a time, and go out together: where the system has io_uring, one
// system call makes up to pingsAtOnce of the writes.

// pingsAtOnce bounds a batch of pings. Larger ones save nothing that can be
// measured, and their array stays.
const pingsAtOnce = 128

// fallbackPing is the longest silence on a wire that HTTP proxies take for a slow
// response: many cut it after 30 s.
const fallbackPing = 25 * time.Second

// pingEvery returns after how many ticks of silence the connection is pinged, 0 for
// never.
func (c conn) pingEvery() uint32 {
	after := &c.s.deadlines.after
	switch c.kind() {
	case wire.Poll:
		return 0
	case wire.EventStream:
		return min(after.ping, after.fallbackPing)
	}
	return after.ping
}

// oneWay reports whether the client can say nothing after its request.
func (c conn) oneWay() bool { return c.kind() == wire.EventStream || c.kind() == wire.Poll }

// firstPing spreads the pings of connections that came together: somewhere in
// the second half of the interval.
func (s *Shard) firstPing(every uint32) uint32 {
	half := every / 2
	return s.deadlines.tick + half + s.random.Uint32N(half+1) + 1
}

// ping pings a silent connection, soon: see flushPings.
func (c conn) ping() {
	s := c.s
	s.count.Inc(counters.PingsSent)
	w := wire.Of(c.kind())
	p := w.Ping()
	if w.PingIsAnswered() {
		c.flags |= flagAwaitsPong
		c.heardTick = s.deadlines.tick - s.deadlines.after.ping
		// The answer moves heardTick, and the next ping is due PingInterval after that,
		// which may be before this one's PongTimeout.
		c.dueBy(s.deadlines.tick + min(s.deadlines.after.ping, s.deadlines.after.pong))
		if protocol := s.protocolOf(c.slot); protocol != nil && len(protocol.ask) > 0 {
			c.flags |= flagHeartbeat
			p = protocol.ask
		}
	} else {
		// A peer that is gone takes no bytes: WriteStallTimeout, or the system, ends it.
		c.heardTick = s.deadlines.tick
		c.dueBy(s.deadlines.tick + c.pingEvery())
	}
	if c.flags&flagTLS != 0 {
		c.tls().Trim() // it was silent for so long
		c.send(p)
		return
	}
	if s.output.batch = append(s.output.batch, netpoll.Outgoing{ID: c.id, P: p}); len(s.output.batch) == pingsAtOnce {
		s.flushPings()
	}
}

// flushPings writes the pings that were gathered. Nothing else may be written to
// their connections, or gathered, in between.
func (s *Shard) flushPings() {
	if len(s.output.batch) == 0 {
		return
	}
	s.loop.WriteBatch(s.output.batch)
	for i := range s.output.batch {
		if o := &s.output.batch[i]; o.Err == nil && o.N < len(o.P) {
			if c, ok := s.findOpen(o.ID); ok {
				c.stall(c.piece(o.P, o.N), true)
			}
		}
	}
	clear(s.output.batch)
	s.output.batch = s.output.batch[:0]
}

// handleHeartbeat takes a heartbeat for the answer to ours, if that is due, and
// replies otherwise. It reports whether the message is one.
func (c conn) handleHeartbeat(p *Protocol, payload []byte) bool {
	asks, answers := string(payload) == p.Ask, string(payload) == p.Answer
	if len(p.ask) == 0 || !asks && !answers {
		return false
	}
	s := c.s
	switch {
	case answers && c.flags&flagHeartbeat != 0:
		c.flags &^= flagHeartbeat
		s.count.Inc(counters.PongsReceived)
	case asks:
		s.count.Inc(counters.PingsReceived)
		s.output.replies = append(s.output.replies, p.answer...)
		if len(s.output.replies) >= replyDirectBytes {
			c.flushReplies()
		}
	}
	return true
}
