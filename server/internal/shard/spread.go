package shard

import (
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
)

// A spread is a paced publication: it reaches each connection at a moment of its
// own, so that an audience that reacts does not stampede the application. It has
// no offset and keeps no order with other messages: it is not a job, and walks its
// target as time passes.
type spread struct {
	o          op
	start, end time.Duration
	// The target: the subscribers of a channel, of which those that join before their
	// moment get the message, too; the connections that a user had at the start; or
	// slots [0, slots).
	channel *channel
	ids     []netpoll.ID
	slots   uint32

	next    uint32 // the next of them
	matched int
	written int
}

// startSpread begins one.
func (s *Shard) startSpread(o *op) {
	now := s.clock()
	sp := &spread{o: *o, start: now, end: now + o.over}
	switch o.to {
	case hub.ToChannel:
		sp.channel = s.members.byName[o.name] // nil: no subscriber here
	case hub.ToUser:
		s.UserMembers(o.name, func(id netpoll.ID) bool {
			sp.ids = append(sp.ids, id)
			return true
		})
	default:
		sp.slots = s.slots.high
	}
	s.jobs.count(1, o.message.Size())
	s.spreads = append(s.spreads, sp)
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
		all := sp.size()
		due := all
		if now < sp.end {
			due = uint32(float64(all) * float64(now-sp.start) / float64(sp.end-sp.start))
		}
		for ; sp.next < due && budget > 0; sp.next++ {
			if s.stepSpread(sp) {
				budget--
			}
		}
		if sp.next < all {
			again = again || sp.next < due
			left = append(left, sp)
			continue
		}
		s.jobs.count(-1, -sp.o.message.Size())
		if sp.o.tally != nil {
			sp.o.tally.Add(sp.matched, sp.written)
		}
	}
	clear(s.spreads[len(left):])
	s.spreads = left
	s.countDelivered()
	return again
}

// size returns how many rows of its target a spread has to walk.
func (sp *spread) size() uint32 {
	if sp.channel != nil {
		return sp.channel.subscribers.n
	}
	return max(uint32(len(sp.ids)), sp.slots)
}

// stepSpread looks at the next row of the target and reports whether its connection
// was written to.
func (s *Shard) stepSpread(sp *spread) bool {
	var c conn
	switch {
	case sp.channel != nil:
		c = s.in(sp.channel.subscribers.at(sp.next).slot)
	case sp.ids != nil:
		var ok bool
		if c, ok = s.find(s.Current(sp.ids[sp.next])); !ok {
			return false
		}
	default:
		c = s.in(sp.next)
	}
	if e := sp.o.message.Except; c.state != stateOpen || c.flags&flagUnready != 0 || e != nil && c.excepted(e) {
		return false
	}
	sp.matched++
	// If the socket is full the message waits, or the slow consumer policy decides.
	if c.sendMessage(sp.o.message) && c.flags&flagStalled == 0 {
		sp.written++
	}
	return true
}
