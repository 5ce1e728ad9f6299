package shard

import "github.com/roostws/roost/server/internal/counters"

// FrameSlice is how many messages and control frames of one connection are
// handled before the others have their turn. A read brings up to 64 KiB, which
// are 16,000 messages of one byte: some 4 ms in which all others would wait. 256
// take less than a delivery to a hundred subscribers.
const FrameSlice = 256

// yield lets the other connections have their turn before id goes on.
func (c conn) yield() {
	s := c.s
	s.count.Inc(counters.TurnsYielded)
	s.yielded = append(s.yielded, c.id)
	c.pause(flagPausedTurn)
	s.loop.Wake()
}

// resumeYielded goes on with the connections that let others go first, and
// tells whether some have to go on once more.
func (s *Shard) resumeYielded() (again bool) {
	if len(s.yielded) == 0 {
		return false
	}
	list := s.yielded
	s.yielded, s.spareYielded = s.spareYielded[:0], nil
	for _, id := range list {
		if c, ok := s.find(id); ok {
			c.resume(flagPausedTurn)
		}
	}
	s.spareYielded = list[:0]
	return len(s.yielded) > 0
}
