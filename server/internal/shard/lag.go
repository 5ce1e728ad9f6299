package shard

import (
	"sort"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/wire"
)

// Slow consumers cost no memory. A connection whose socket is full is not written to
// again until it has room, and no queue grows for it: it lags, that is, it keeps the
// number of the job in the journal that it goes on with. A connection that lags by
// more than LagMaxBytes of what was published has lost its place: the slow consumer
// policy decides.

// serve sends a job to a subscriber, from the given message on, if no output waits
// there; otherwise the connection lags, or reads a history, from now on.
func (c conn) serve(j *job, start int) {
	s := c.s
	if c.state != stateOpen || j.except != nil && c.excepted(j.except) {
		return
	}
	j.match(start)
	switch {
	case j.history != nil && c.flags&(flagStalled|flagLagging) != 0:
		c.fallBehind(j, start)
	case c.flags&flagLagging != 0:
		// It comes to this job in the journal.
	case c.flags&flagStalled != 0:
		c.lag(j, start)
	case c.flags&flagTLS != 0 || c.kind() == wire.Poll:
		c.served(j, start, c.sendJob(j, start))
	case c.streams(j.history):
		c.serveStream(j, start)
	default:
		e := s.encoding(j, c.variant())
		if p := e.chunk[e.starts[start]:]; len(p) > 0 {
			s.output.batch = append(s.output.batch, netpoll.Outgoing{ID: c.id, P: p})
			s.output.starts = append(s.output.starts, int32(start))
		}
	}
}

// served records how far a connection got with a job.
func (c conn) served(j *job, start, next int) {
	j.wrote(start, next)
	if j.reset && next > start {
		c.s.count.Inc(counters.Resets)
	}
	if j.history != nil && next > start && c.oneWay() {
		c.keepPosition(j, next)
	}
	switch {
	case next == len(j.messages) || c.flags&flagStalled == 0:
	case j.history != nil:
		c.fallBehind(j, next)
	default:
		c.lag(j, next)
	}
}

// lag makes the connection go on with frame next of j when its socket has room.
func (c conn) lag(j *job, next int) {
	x := c.makeExt()
	x.lagJob, x.lagFrame = j.number, uint32(next)
	x.lagFrames = j.framesBefore + uint64(next)
	if c.flags&flagLagging == 0 {
		c.flags |= flagLagging
		c.s.journal.laggers++
		c.s.count.Inc(counters.Lagging)
	}
}

// sendJob writes the job's frames from start on and returns the first one that is not
// on its way. If that is not the end, the connection is stalled, or lost. The rest of
// a frame that was cut in two waits in pending.
func (c conn) sendJob(j *job, start int) (next int) {
	var rest []byte
	if c.streams(j.history) {
		rest = c.appendJob(nil, j, start)
	} else {
		e := c.s.encoding(j, c.variant())
		rest = e.chunk[e.starts[start]:]
	}
	n, err := c.write(rest)
	return c.sentJob(j, start, rest, n, err)
}

// sentJob is what follows the write of p, a job's frames from start on, of which n
// bytes are on their way.
func (c conn) sentJob(j *job, start int, p []byte, n int, err error) (next int) {
	s := c.s
	switch {
	case err != nil:
		return start // OnClose follows
	case c.streams(j.history):
		return start + c.sentEvents(p, n, len(j.messages)-start)
	}
	e := s.encoding(j, c.variant())
	rest := e.chunk[e.starts[start]:]
	next = len(j.messages)
	if n < len(rest) {
		at := uint32(len(e.chunk)-len(rest)) + uint32(n)
		next = start + sort.Search(len(e.starts)-start, func(k int) bool { return e.starts[start+k] > at }) - 1
		c.markStalled()
		if off := at - e.starts[next]; off > 0 {
			// A reference to the one frame, which many may share: the run of all of
			// them is freed with the journal's job.
			c.stall(c.piece(s.encoded(j.messages[next], c.variant()), int(off)), true)
			next++
		}
	}
	s.output.delivered += uint64(next - start)
	if x := c.ext(); x != nil {
		if n > 0 {
			x.pending.progressTick = s.deadlines.tick
		}
		if c.windowBits() != 0 {
			for _, m := range j.messages[start:next] {
				c.remember(m)
			}
		}
	}
	return next
}

// wanted returns from which of its frames on a job is for the connection, the number
// of them if none is.
func (c conn) wanted(j *job) (start int) {
	switch {
	case j.except != nil && c.excepted(j.except):
		return len(j.messages)
	case j.history != nil:
		return len(j.messages) // that is read from history
	case j.channel != nil:
		if sub := c.s.members.of(c.subs, j.channel); sub != nil {
			return j.startFor(&j.channel.subscribers.at(sub.pos).from)
		}
		return len(j.messages)
	case j.user != 0 && j.user != c.user || c.flags&flagUnready != 0 || c.openedAfter(j):
		return len(j.messages)
	}
	return 0
}

// catchUp lets a connection whose socket has room read on from the journal.
func (c conn) catchUp() {
	x := c.ext()
	for c.flags&flagLagging != 0 && c.flags&flagStalled == 0 && c.state == stateOpen {
		if x.lagJob < c.s.journal.first && !c.lostPlace() {
			return
		}
		j := c.s.journal.job(x.lagJob)
		if j == nil {
			c.reachedEnd()
			return
		}
		if start := max(c.wanted(j), int(x.lagFrame)); start < len(j.messages) {
			next := c.sendJob(j, start)
			if next == start && c.flags&flagStalled == 0 {
				return // lost; OnClose follows
			}
			c.lag(j, next)
			if next < len(j.messages) {
				return
			}
		}
		x.lagJob, x.lagFrame, x.lagFrames = j.number+1, 0, j.framesBefore+uint64(len(j.messages))
	}
}

// lostPlace applies the slow consumer policy to a connection whose next job the
// journal has dropped. It reports whether the connection goes on.
func (c conn) lostPlace() bool {
	s := c.s
	x := c.ext()
	if !s.cfg.SlowDrop {
		s.count.Inc(counters.SlowDisconnects)
		c.stopLagging()
		c.startClose(frame.CloseTryAgainLater, slowReason)
		return false
	}
	before := s.journal.framesBefore()
	x.missed += before - x.lagFrames
	s.count.Add(counters.SlowDrops, int64(before-x.lagFrames))
	x.lagJob, x.lagFrame, x.lagFrames = s.journal.first, 0, before
	return true
}

// reachedEnd ends the lag of a connection that has read the whole journal: now, or
// at the end of the active job, which must not be sent to it again.
func (c conn) reachedEnd() {
	if c.s.jobs.active != nil {
		c.s.journal.atEnd = append(c.s.journal.atEnd, c.id)
		return
	}
	c.stopLagging()
	c.closeIfRead()
}

// endLags ends the lag of connections that have read the job that has just ended.
func (s *Shard) endLags() {
	for _, id := range s.journal.atEnd {
		if c, ok := s.find(id); ok && c.flags&flagLagging != 0 && c.flags&flagStalled == 0 && c.state == stateOpen {
			x := c.ext()
			if s.journal.job(x.lagJob) == nil && x.lagJob >= s.journal.first {
				c.reachedEnd()
				if c, ok := s.find(id); ok {
					c.dropExt()
				}
			}
		}
	}
	s.journal.atEnd = s.journal.atEnd[:0]
}

// stopLagging ends the lag of a connection.
func (c conn) stopLagging() {
	s := c.s
	if c.flags&flagLagging != 0 {
		c.flags &^= flagLagging
		s.journal.laggers--
		s.count.Add(counters.Lagging, -1)
		if s.journal.laggers == 0 && s.jobs.active == nil {
			s.shortenJournal()
		}
	}
}
