package shard

import (
	"github.com/roostws/roost/netpoll"

	"github.com/roostws/roost/server/internal/counters"
)

// FrameSlice is how many messages and control frames of one connection are
// handled before the others have their turn. A read brings up to 64 KiB, which
// are 16,000 messages of one byte: some 4 ms in which all others would wait. 256
// take less than a delivery to a hundred subscribers.
const FrameSlice = 256

// turns are the connections that let others have their turn.
type turns struct {
	yielded []netpoll.ID // with flagPausedTurn
	spare   []netpoll.ID
}

// yield lets the other connections have their turn before this one goes on.
func (c conn) yield() {
	s := c.s
	s.count.Inc(counters.TurnsYielded)
	s.turns.yielded = append(s.turns.yielded, c.id)
	c.pause(flagPausedTurn)
	s.loop.Wake()
}

// resumeYielded goes on with the connections that have yielded, and reports whether
// some have yielded again.
func (s *Shard) resumeYielded() (again bool) {
	if len(s.turns.yielded) == 0 {
		return false
	}
	list := s.turns.yielded
	s.turns.yielded, s.turns.spare = s.turns.spare[:0], nil
	for _, id := range list {
		if c, ok := s.find(id); ok {
			c.resume(flagPausedTurn)
		}
	}
	s.turns.spare = list[:0]
	return len(s.turns.yielded) > 0
}
