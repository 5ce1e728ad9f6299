package shard

import "time"

// A paced publication reaches each connection at a moment of its own, so that an
// audience that reacts does not stampede the application. It has no offset and
// keeps no order with others: it goes beside the jobs, slot by slot, as time
// passes.
type spread struct {
	o          op
	start, end time.Duration
	next       uint32 // the next slot
	slots      uint32 // those that were in use at the start
	matched    int
	written    int
}

// Spread publishes m to a channel, a user, or all, over a time. Any goroutine.
func (p *Publisher) Spread(channel, user string, m *Message, over time.Duration, tally *Tally) error {
	o := op{kind: opSpread, name: channel, bytes: []byte(user), message: m, tally: tally, over: over}
	m.Channel = channel
	if user != "" {
		m.Channel = userChannel(user)
	}
	if p.group.full() {
		p.group.shards[0].count.InboxRefused.Add(1)
		return ErrBusy
	}
	if tally != nil {
		tally.left.Store(int32(len(p.group.shards)))
	}
	for _, s := range p.group.shards {
		if err := s.post(o, true); err != nil {
			return err
		}
	}
	return nil
}

// startSpread begins one.
func (s *Shard) startSpread(o *op) {
	now := s.clock()
	s.jobFrames.Add(1)
	s.jobBytes.Add(int64(o.message.size()))
	s.spreads = append(s.spreads, &spread{o: *o, start: now, end: now + o.over, slots: s.high})
}

// stepSpreads writes to those whose moment has come, within one slice, and tells
// whether more are due.
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
		s.jobBytes.Add(-int64(sp.o.message.size()))
		if sp.o.tally != nil {
			sp.o.tally.add(sp.matched, sp.written)
		}
	}
	clear(s.spreads[len(left):])
	s.spreads = left
	s.count.Delivered.Add(s.delivered)
	s.delivered = 0
	return again
}

// stepSpread looks at one slot and tells whether it was written to.
func (s *Shard) stepSpread(sp *spread) bool {
	c := s.in(sp.next)
	if c.state != stateOpen || c.flags&flagUnready != 0 {
		return false
	}
	switch user := string(sp.o.bytes); {
	case sp.o.name != "" && !s.Subscribed(c.id, sp.o.name):
		return false
	case user != "" && (c.user == 0 || string(s.users.name(c.user)) != user):
		return false
	}
	sp.matched++
	// Behind what waits already, if the socket is full, or by the slow consumer policy.
	if c.sendMessage(sp.o.message) && c.flags&flagStalled == 0 {
		sp.written++
	}
	return true
}
