package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/counters"
)

// Deadlines without timers: each connection has one number, the tick at which
// somebody should look at it again, and every tick all numbers are compared:
// 0.34 ms for a million. What to do is found out then, from its state.

// ticks are the configured durations in ticks.
type ticks struct {
	handshake, ping, pong, idle, writeStall, close, message uint32
}

func (s *Shard) toTicks(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	// One more, because the current tick is partly over.
	return uint32((d+s.cfg.TickInterval-1)/s.cfg.TickInterval) + 1
}

// dueBy makes sure that slot i is looked at by tick t.
func (s *Shard) dueBy(i, t uint32) {
	if d := &s.deadlines.Rows[i]; *d == 0 || *d > t {
		*d = t
	}
}

// OnTick looks after the connections whose deadline has come.
func (s *Shard) OnTick() {
	defer s.count.Publish()
	s.tick = uint32(s.clock()/s.cfg.TickInterval) + 1
	s.intake.refusalsLeft = refusalsPerTick
	s.resumeLimited()
	s.hooks.Tick(s)
	if len(s.spreads) > 0 {
		s.loop.Wake()
	}
	if s.loop.Index() == 0 {
		s.group.refusals.Sweep(s.clock())
	}
	if s.loop.Index() == 0 && s.cfg.Addresses.Rate > 0 {
		s.group.addresses.Sweep(s.clock())
	}
	if s.loop.Index() == 0 && len(s.cfg.Hub.Namespaces) > 0 {
		s.hub().Sweep()
	}
	for i, due := range s.deadlines.Rows[:s.high] {
		if due != 0 && due <= s.tick {
			s.deadlines.Rows[i] = 0
			s.in(uint32(i)).expire()
		}
	}
	s.flushPings()
	s.makeRoom()
	s.resumePublishers()
	s.trim()
}

// expire acts on a connection whose deadline has come.
func (c conn) expire() {
	s := c.s
	if c.flags&flagStalled != 0 {
		x := c.ext()
		if stallEnd := x.pending.progressTick + s.ticks.writeStall; s.tick >= stallEnd {
			s.count.Inc(counters.WriteStalls)
			c.abort(Closed{Code: frame.CloseAbnormal, Reason: "write stalled", Err: ErrWriteStalled})
			return
		} else if c.state == stateOpen {
			c.dueBy(stallEnd)
		} else if end := x.pending.progressTick + s.ticks.close; s.tick < end && (c.state == stateClosing || c.state == stateFlushing) {
			// CloseTimeout is for the peer's part; one that still reads may take
			// its time over what was sent before.
			c.dueBy(end)
			return
		}
	}
	switch c.state {
	case stateProxy:
		s.count.Inc(counters.HandshakeTimeouts)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "no PROXY header in time", Err: ErrHandshakeTimeout})
	case stateTLS:
		s.count.Inc(counters.HandshakeTimeouts)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "TLS handshake timed out", Err: ErrHandshakeTimeout})
	case stateHead, stateAuthorizing, statePlain:
		s.count.Inc(counters.HandshakeTimeouts)
		c.decide(Closed{Code: frame.CloseAbnormal, Reason: "handshake timed out", Err: ErrHandshakeTimeout})
		c.respondTimeout()
	case stateOpen:
		c.expireOpen()
	case stateClosing, stateFlushing:
		s.count.Inc(counters.CloseTimeouts)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "closing handshake timed out", Err: ErrCloseTimeout})
	}
}

// expireOpen pings a silent connection, and ends one that is dead or idle.
func (c conn) expireOpen() {
	s := c.s
	if c.expireMessage() || c.expireToken() {
		return
	}
	if idle := s.ticks.idle; idle > 0 {
		if s.tick-c.messageTick >= idle {
			s.count.Inc(counters.IdleTimeouts)
			c.startClose(frame.CloseGoingAway, "idle for too long")
			return
		}
		c.dueBy(c.messageTick + idle)
	}
	if s.ticks.ping == 0 {
		return
	}
	// Differences of ticks, because heardTick may lie before the first one.
	silent := s.tick - c.heardTick
	switch {
	case silent < s.ticks.ping:
		c.dueBy(c.heardTick + s.ticks.ping)
	case c.flags&flagAwaitsPong != 0 && silent < s.ticks.ping+s.ticks.pong:
		c.dueBy(c.heardTick + s.ticks.ping + s.ticks.pong)
	case c.flags&flagAwaitsPong != 0:
		// A client that is paused cannot be heard; its stall has a deadline of
		// its own.
		if c.flags&flagsPaused != 0 {
			c.dueBy(s.tick + s.ticks.pong)
			return
		}
		s.count.Inc(counters.PongTimeouts)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "no pong", Err: ErrPongTimeout})
	case c.flags&flagStalled != 0:
		// A stalled connection gets no ping behind what waits already: the stall
		// shows whether it lives. Without a ping, no pong is missed.
		c.dueBy(s.tick + s.ticks.pong)
	default:
		c.ping()
	}
}

// expireToken calls Hooks.Expired if the time that SetExpiry gave is over.
func (c conn) expireToken() (ended bool) {
	s := c.s
	if s.expiry.Rows == nil || s.expiry.Rows[c.id.Slot()] == 0 {
		return false
	}
	if at := s.expiry.Rows[c.id.Slot()]; s.tick < at {
		c.dueBy(at)
		return false
	}
	s.expiry.Rows[c.id.Slot()] = 0
	s.flushPings() // the hook may write to any connection
	s.hooks.Expired(s, c.id)
	return c.state != stateOpen
}

// expireMessage ends a connection whose message takes too long to arrive: each
// may hold MessageMaxBytes of memory.
func (c conn) expireMessage() (ended bool) {
	s := c.s
	if s.ticks.message == 0 || c.decoder() == nil {
		return false
	}
	x := c.ext()
	if c.flags&flagsPaused != 0 {
		x.messageSince = s.tick // it is us who do not read
	}
	if s.tick-x.messageSince < s.ticks.message {
		c.dueBy(x.messageSince + s.ticks.message)
		return false
	}
	s.count.Inc(counters.MessageTimeouts)
	c.startClose(frame.ClosePolicyViolation, "message took too long to arrive")
	return true
}

// resumeLimited reads connections again that have used up their message rate and
// have a token again.
func (s *Shard) resumeLimited() {
	if len(s.rateLimited) == 0 {
		return
	}
	limited := s.rateLimited
	s.rateLimited = nil // resume may add to it
	now := s.clock()
	for _, id := range limited {
		if s.tokens.Rows[id.Slot()].Wait(now, s.cfg.MessageRate) > 0 {
			s.rateLimited = append(s.rateLimited, id)
		} else if c, ok := s.find(id); ok {
			c.resume(flagPausedRate)
		}
	}
}
