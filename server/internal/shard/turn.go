package shard

import (
	"time"

	"github.com/roostws/roost/netpoll"

	"github.com/roostws/roost/server/internal/counters"
)

// FrameSlice is how many messages and control frames of one connection are
// handled before the others have their turn. A read brings up to 64 KiB, which
// are 16,000 messages of one byte: some 4 ms in which all others would wait. 128
// take less than a delivery to fifty subscribers.
const FrameSlice = 128

// SliceInterval is the least time from one slice of a connection to the next but one.
// Without it a client that floods has all the time that a loop can spare, and whatever
// comes for others meanwhile waits for a processor. 128,000 messages a second are more
// than any client has to say.
const SliceInterval = time.Millisecond

// turns are the connections that let others have their turn, and what each connection
// has had of the current interval.
type turns struct {
	yielded []netpoll.ID // with flagPausedTurn; until the next turn
	spare   []netpoll.ID
	paced   []netpoll.ID // with flagPausedTurn; until the interval ends

	began time.Duration // the interval
	// used has the frames that were handled since then, of a few connections: two that
	// share a row lose their counts to each other, which is in their favour.
	used [64]struct {
		id     netpoll.ID
		frames int
	}
}

// left returns how many frames of a connection may be handled in this interval.
func (t *turns) left(id netpoll.ID, slice int) int {
	if row := &t.used[id.Slot()%uint32(len(t.used))]; row.id == id {
		return max(slice-row.frames, 0)
	}
	return slice
}

func (t *turns) note(id netpoll.ID, frames int) {
	row := &t.used[id.Slot()%uint32(len(t.used))]
	row.id, row.frames = id, frames
}

// begin begins another interval. Those that waited for it are resumed with the next
// turn: they would else wait for a time that moves on.
func (t *turns) begin(now time.Duration) {
	t.began = now
	clear(t.used[:])
	t.yielded, t.paced = append(t.yielded, t.paced...), t.paced[:0]
}

// endSlice follows a slice of frames. The connection goes on in the next turn, if there
// is more, or, if the slice was used up within the interval, after that.
func (c conn) endSlice(more bool) {
	s := c.s
	t, now := &s.turns, s.clock()
	if wait := t.began + s.cfg.SliceInterval - now; wait > 0 {
		if len(t.paced) == 0 {
			s.cfg.After(wait, s.loop.Wake) // no tick is fine enough
		}
		t.paced = append(t.paced, c.id)
	} else {
		t.begin(now)
		if more {
			t.yielded = append(t.yielded, c.id)
		}
		if len(t.yielded) > 0 {
			s.loop.Wake()
		}
		if !more {
			return
		}
	}
	s.count.Inc(counters.TurnsYielded)
	c.pause(flagPausedTurn)
}

// resumeYielded goes on with the connections that have yielded, and reports whether
// some have yielded again until the next turn.
func (s *Shard) resumeYielded() (again bool) {
	t := &s.turns
	if len(t.paced) > 0 {
		if now := s.clock(); now >= t.began+s.cfg.SliceInterval {
			t.begin(now)
		}
	}
	if len(t.yielded) == 0 {
		return false
	}
	list := t.yielded
	t.yielded, t.spare = t.spare[:0], nil
	for _, id := range list {
		if c, ok := s.find(id); ok {
			c.resume(flagPausedTurn)
		}
	}
	t.spare = list[:0]
	return len(t.yielded) > 0
}
