package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/offheap"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/intake"
)

// deadlines are without timers: each connection has one number, the tick at which
// expire looks at it next, 0 for never. Every tick compares all of them, 0.34 ms for
// a million; what is due then follows from the connection's state.
type deadlines struct {
	offheap.Table[uint32]
	// expiry has the tick in which a connection's token expires, 0 for never. It has
	// no rows unless a protocol may set it.
	expiry offheap.Table[uint32]
	// messages has the tick of the last message. It has no rows without IdleTimeout.
	messages offheap.Table[uint32]

	interval time.Duration
	tick     uint32 // the current one
	after    ticks
}

// ticks are the configured durations in ticks.
type ticks struct {
	handshake, ping, pong, idle, writeStall, close, message, fallbackPing, keepAlive uint32
}

func (d *deadlines) set(cfg *Config) {
	d.interval = cfg.TickInterval
	d.after = ticks{
		handshake: d.ticks(cfg.HandshakeTimeout), ping: d.ticks(cfg.PingInterval), pong: d.ticks(cfg.PongTimeout),
		idle: d.ticks(cfg.IdleTimeout), writeStall: d.ticks(cfg.WriteStallTimeout), close: d.ticks(cfg.CloseTimeout),
		message: d.ticks(cfg.MessageTimeout), fallbackPing: d.ticks(fallbackPing), keepAlive: d.ticks(keepAlive),
	}
}

// now returns the tick of a time.
func (d *deadlines) now(clock time.Duration) uint32 { return uint32(clock/d.interval) + 1 }

// ticks returns in how many ticks a duration is over.
func (d *deadlines) ticks(duration time.Duration) uint32 {
	if duration <= 0 {
		return 0
	}
	// One more, because the current tick is partly over.
	return uint32((duration+d.interval-1)/d.interval) + 1
}

// dueBy makes sure that slot i is looked at by the given tick.
func (d *deadlines) dueBy(i, tick uint32) {
	if due := &d.Rows[i]; *due == 0 || *due > tick {
		*due = tick
	}
}

// noteMessage notes that a message came, for IdleTimeout.
func (c conn) noteMessage() {
	if d := &c.s.deadlines; d.after.idle > 0 {
		d.messages.Rows[c.id.Slot()] = d.tick
	}
}

// OnTick does what time demands, first of all of connections whose deadline has come.
func (s *Shard) OnTick() {
	defer s.count.Publish()
	s.deadlines.tick = s.deadlines.now(s.clock())
	s.intake.refusalsLeft = refusalsPerTick
	s.resumeLimited()
	s.hooks.Tick(s)
	if len(s.spreads) > 0 || len(s.turns.paced) > 0 || s.drain.begun && !s.drain.done || s.intake.admission.Waiting() > 0 {
		s.loop.Wake()
	}
	if s.index == 0 {
		s.group.refusals.Sweep(s.clock())
	}
	if s.index == 0 && s.cfg.Addresses.Rate > 0 {
		s.group.addresses.Sweep(s.clock())
	}
	if s.index == 0 && len(s.cfg.Hub.Namespaces) > 0 {
		s.hub().Sweep()
	}
	for i, due := range s.deadlines.Rows[:s.slots.high] {
		if due != 0 && due <= s.deadlines.tick {
			s.deadlines.Rows[i] = 0
			s.in(uint32(i)).expire()
		}
	}
	s.flushPings()
	s.answerPolls()
	s.makeRoom()
	s.resumePublishers()
	s.trim()
	s.inbox.rest()
}

// expire acts on a connection whose deadline has come.
func (c conn) expire() {
	s := c.s
	if c.flags&flagStalled != 0 {
		x := c.ext()
		if stallEnd := x.pending.progressTick + s.deadlines.after.writeStall; s.deadlines.tick >= stallEnd {
			s.count.Inc(counters.WriteStalls)
			c.abort(Closed{Code: frame.CloseAbnormal, Reason: "write stalled", Err: ErrWriteStalled})
			return
		} else if c.state == stateOpen {
			c.dueBy(stallEnd)
		} else if end := x.pending.progressTick + s.deadlines.after.close; s.deadlines.tick < end && (c.state == stateClosing || c.state == stateFlushing || c.state == stateAnswered) {
			// CloseTimeout is for the peer's part; one that still reads may take
			// its time over what was sent before.
			c.dueBy(end)
			return
		}
	}
	if c.waitsOutside() { // the loop became slower than was foreseen
		s.count.Inc(counters.AdmissionRefused)
		c.noteRefusal(intake.RefusedStorm)
		c.sendAway(Closed{Code: frame.CloseAbnormal, Reason: "waited too long to be let in", Err: ErrHandshakeTimeout})
		return
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
	case stateKept:
		c.shut()
	case stateOpen:
		c.expireOpen()
	case stateClosing, stateFlushing, stateAnswered:
		s.count.Inc(counters.CloseTimeouts)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "closing handshake timed out", Err: ErrCloseTimeout})
	}
}

// expireOpen pings a silent connection, and ends one that is dead or idle.
func (c conn) expireOpen() {
	s := c.s
	if c.closeOverdue() {
		return
	}
	if w := c.poll(); w != nil {
		c.expirePoll(w)
		return
	}
	if c.expireMessage() || c.expireToken() {
		return
	}
	if idle := s.deadlines.after.idle; idle > 0 && !c.oneWay() {
		last := s.deadlines.messages.Rows[c.id.Slot()]
		if s.deadlines.tick-last >= idle {
			s.count.Inc(counters.IdleTimeouts)
			c.startClose(frame.CloseGoingAway, "idle for too long")
			return
		}
		c.dueBy(last + idle)
	}
	every := c.pingEvery()
	if every == 0 {
		return
	}
	// Differences of ticks, because heardTick may lie before the first one.
	silent := s.deadlines.tick - c.heardTick
	switch {
	case silent < every:
		c.dueBy(c.heardTick + every)
	case c.flags&flagAwaitsPong != 0 && silent < s.deadlines.after.ping+s.deadlines.after.pong:
		c.dueBy(c.heardTick + s.deadlines.after.ping + s.deadlines.after.pong)
	case c.flags&flagAwaitsPong != 0:
		// A client that is paused cannot be heard; its stall has a deadline of
		// its own.
		if c.flags&flagsPaused != 0 {
			c.dueBy(s.deadlines.tick + s.deadlines.after.pong)
			return
		}
		s.count.Inc(counters.PongTimeouts)
		if p := s.protocolOf(c.slot); p != nil && p.Silent != 0 {
			c.decide(Closed{Code: p.Silent, Reason: "no pong", Err: ErrPongTimeout})
			c.startClose(p.Silent, "no pong in time")
			return
		}
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "no pong", Err: ErrPongTimeout})
	case c.flags&flagStalled != 0:
		// A stalled connection gets no ping behind what waits already: the stall
		// shows whether it lives. Without a ping, no pong is missed.
		c.dueBy(s.deadlines.tick + s.deadlines.after.pong)
	default:
		c.ping()
	}
}

// expireToken calls Hooks.Expired if the time that SetExpiry gave is over.
func (c conn) expireToken() (ended bool) {
	s := c.s
	if s.deadlines.expiry.Rows == nil || s.deadlines.expiry.Rows[c.id.Slot()] == 0 {
		return false
	}
	if at := s.deadlines.expiry.Rows[c.id.Slot()]; s.deadlines.tick < at {
		c.dueBy(at)
		return false
	}
	s.deadlines.expiry.Rows[c.id.Slot()] = 0
	s.flushPings() // the hook may write to any connection
	s.hooks.Expired(s, c.id)
	return c.state != stateOpen
}

// expireMessage ends a connection whose message takes too long to arrive: each
// may hold MessageMaxBytes of memory.
func (c conn) expireMessage() (ended bool) {
	s := c.s
	if s.deadlines.after.message == 0 || c.decoder() == nil {
		return false
	}
	x := c.ext()
	if c.flags&flagsPaused != 0 {
		x.messageSince = s.deadlines.tick // we do not read it
	}
	if s.deadlines.tick-x.messageSince < s.deadlines.after.message {
		c.dueBy(x.messageSince + s.deadlines.after.message)
		return false
	}
	s.count.Inc(counters.MessageTimeouts)
	c.startClose(frame.ClosePolicyViolation, "message took too long to arrive")
	return true
}
