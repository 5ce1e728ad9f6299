package shard

import (
	"time"

	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// A spread is a paced publication: it reaches each connection at a moment of its
// own, so that an audience that reacts does not stampede the application. It has
// no offset and keeps no order with other messages: it is not a job, and is written
// slot by slot as time passes.
type spread struct {
	o          op
	start, end time.Duration
	next       uint32 // the next slot
	slots      uint32 // those that were in use at the start
	matched    int
	written    int
}

// startSpread begins one.
func (s *Shard) startSpread(o *op) {
	now := s.clock()
	s.jobFrames.Add(1)
	s.jobBytes.Add(int64(o.message.Size()))
	s.spreads = append(s.spreads, &spread{o: *o, start: now, end: now + o.over, slots: s.high})
}

// stepSpreads writes to the connections whose moment has come, within one slice,
// and reports whether more are due.
func (s *Shard) stepSpreads() (again bool) {
	if len(s.spreads) == 0 {
		return false
	}
	now := s.clock()
	budget := s.cfg.FanoutSlice
	left := s.spreads[:0]
	for _, sp := range s.spreads {
		due := sp.slots
		if now < sp.end {
			due = uint32(float64(sp.slots) * float64(now-sp.start) / float64(sp.end-sp.start))
		}
		for ; sp.next < due && budget > 0; sp.next++ {
			if s.stepSpread(sp) {
				budget--
			}
		}
		if sp.next < sp.slots {
			again = again || sp.next < due
			left = append(left, sp)
			continue
		}
		s.jobFrames.Add(-1)
		s.jobBytes.Add(-int64(sp.o.message.Size()))
		if sp.o.tally != nil {
			sp.o.tally.Add(sp.matched, sp.written)
		}
	}
	clear(s.spreads[len(left):])
	s.spreads = left
	s.count.Add(counters.Delivered, int64(s.delivered))
	s.delivered = 0
	return again
}

// stepSpread looks at one slot and reports whether it was written to.
func (s *Shard) stepSpread(sp *spread) bool {
	c := s.in(sp.next)
	if c.state != stateOpen || c.flags&flagUnready != 0 {
		return false
	}
	switch {
	case sp.o.to == hub.ToChannel && !s.Subscribed(c.id, sp.o.name):
		return false
	case sp.o.to == hub.ToUser && (c.user == 0 || string(s.users.name(c.user)) != sp.o.name):
		return false
	}
	sp.matched++
	// If the socket is full the message waits, or the slow consumer policy decides.
	if c.sendMessage(sp.o.message) && c.flags&flagStalled == 0 {
		sp.written++
	}
	return true
}
