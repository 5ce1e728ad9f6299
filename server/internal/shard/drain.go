package shard

import (
	"fmt"
	"math"
	"time"

	"github.com/roostws/roost/frame"
)

const (
	// drainPatience bounds CloseTimeout while a shard drains. The kernel delivers the
	// Close frame of a connection that was cut meanwhile; a client that reads nothing
	// must not keep the port from the next process.
	drainPatience = time.Second
	// drainStep is the least time between two looks at who is due.
	drainStep = 5 * time.Millisecond
)

// drain is how a shard that stops lets its connections go: slot by slot, at an even
// pace, behind everything that was published before. Newcomers are refused from its
// start. A connection whose slot it has not reached is served as ever.
type drain struct {
	code   frame.CloseCode
	reason string
	over   time.Duration
	spread time.Duration // each client comes back within it, from its close on

	begun  bool
	done   bool
	queued bool // a batch of closes waits in the job queue
	start  time.Duration
	wake   time.Duration // when the loop will be woken for it
	total  int           // connections at the start
	closed int           // those of them that it has closed
	next   uint32        // slots [0, next) are closed
}

// BeginDrain refuses newcomers from now on, and closes the connections over a time, or
// all at once if that is 0. Each client is told to come back at a moment of its own
// within spread. Any goroutine.
func (s *Shard) BeginDrain(code frame.CloseCode, reason string, over, spread time.Duration) {
	_ = s.Call(func(sh *Shard) {
		if sh == nil || sh.drain.begun {
			return
		}
		sh.drain = drain{code: code, reason: reason, over: over, spread: spread, begun: true, start: sh.clock(), total: sh.slots.used}
		after := &sh.deadlines.after
		after.close = min(after.close, sh.deadlines.ticks(drainPatience))
		sh.jobs.toAll = nil // nothing may be added behind the drain
		sh.stepDrain()
	})
}

// stepDrain puts the closes that are due behind what was published.
func (s *Shard) stepDrain() {
	d := &s.drain
	if !d.begun || d.done || d.queued {
		return
	}
	now := s.clock()
	if d.closed >= d.due(now) && d.next < s.slots.high {
		if wait := max(d.over/time.Duration(max(d.total, 1)), drainStep); d.wake <= now {
			d.wake = now + wait
			s.cfg.After(wait, s.loop.Wake)
		}
		return
	}
	d.queued = true
	j := s.jobs.new()
	j.call = s.closeDue
	s.jobs.waiting.push(j)
	s.loop.Wake()
}

// due returns how many connections are to be closed by now.
func (d *drain) due(now time.Duration) int {
	if now >= d.start+d.over {
		return math.MaxInt
	}
	return int(float64(d.total) * float64(now-d.start) / float64(d.over))
}

// closeDue closes the connections that are due: at least one, and as many as the turn still
// has writes for.
func (s *Shard) closeDue() {
	d := &s.drain
	d.queued = false
	due := d.due(s.clock())
	for first := d.closed; (d.closed == first || s.jobs.budget > 0) && d.closed < due && d.next < s.slots.high; d.next++ {
		if c := s.in(d.next); c.state != stateFree {
			s.jobs.budget--
			d.closed++
			c.drainOne()
		}
	}
	d.done = d.next >= s.slots.high
	s.stepDrain()
}

// drainOne closes the connection of a server that stops. A connection that waits for
// a response gets it: the response ends it.
func (c conn) drainOne() {
	switch c.state {
	case statePlain, stateAuthorizing, stateAnswered:
		return
	case stateOpen:
	default:
		if c.waitsOutside() {
			c.sendAway(Closed{Code: c.s.drain.code, Reason: c.s.drain.reason})
			return
		}
		c.closeBehind(c.s.drain.code, c.s.drain.reason)
		return
	}
	d := &c.s.drain
	code := d.code
	if p := c.s.protocolOf(c.slot); p != nil && p.Stopping != 0 {
		code = p.Stopping
	}
	c.closeBehind(code, fmt.Sprintf("%s; retry=%d", d.reason, c.s.random.Int64N(d.spread.Milliseconds()+1)))
	if c.isOpen() { // it has still to read
		c.makeExt().closeBy = c.s.deadlines.tick + c.s.deadlines.after.close
		c.dueBy(c.ext().closeBy)
	}
}

// leaves reports whether the drain of the shard has passed the connection, so that it
// must end with what it does now.
func (c conn) leaves() bool {
	d := &c.s.drain
	return d.begun && (d.done || c.id.Slot() < d.next)
}

// closeOverdue closes a connection that was to be closed behind what it has still to
// read, and has had its time for that.
func (c conn) closeOverdue() (closed bool) {
	x := c.ext()
	if x == nil || x.closing == nil || x.closeBy == 0 {
		return false
	}
	if c.s.deadlines.tick < x.closeBy {
		c.dueBy(x.closeBy)
		return false
	}
	why := x.closing
	x.closing, x.closeBy = nil, 0
	c.startClose(why.Code, why.Reason)
	return true
}
