package shard

import (
	"sort"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
)

// Slow consumers cost no memory. A connection whose socket is full is not
// written to again until it has room, and no queue grows for it: it keeps the
// number of the job that it has to go on with, and the shard keeps the last jobs
// in its journal, one for all who lag, as long as anybody does. When the socket
// drains, the connection reads on from the journal. Whoever lags by more than
// LagMaxBytes of what was published has fallen off its end: the slow consumer
// policy decides.
//
// Jobs run one at a time, so their numbers are one order for everything that is
// published: one cursor serves a connection for all its channels.

// jobOverheadBytes is what a job in the journal is counted with, beside its frames.
const jobOverheadBytes = 512

// record makes the job that begins the last one of the journal.
func (s *Shard) record(j *job) {
	j.number = s.journalFirst + uint64(len(s.journal)-s.journalTaken)
	s.framesBegun += uint64(len(j.messages))
	j.framesBefore = s.framesBegun - uint64(len(j.messages))
	s.journal = append(s.journal, j)
}

// retire is called for a job that has ended: the journal keeps it for those who lag,
// within its bound.
func (s *Shard) retire(j *job) {
	j.weight = jobOverheadBytes + j.bytes
	for i := range j.encodings {
		if e := &j.encodings[i]; len(j.messages) > 1 {
			j.weight += len(e.chunk) + 4*len(e.starts)
		}
	}
	// Rounded-up allocations and garbage that is not collected yet take about as
	// much again (bench/results: clients that do not read).
	j.weight *= 2
	s.journalBytes += j.weight
	for s.journalTaken < len(s.journal) && (s.laggers == 0 || s.journalBytes > s.cfg.LagMaxBytes) {
		s.forget()
	}
	s.count.Set(counters.JournalBytes, int64(s.journalBytes))
}

// forget drops the oldest job of the journal.
func (s *Shard) forget() {
	j := s.journal[s.journalTaken]
	s.journal[s.journalTaken] = nil
	s.journalTaken++
	s.journalFirst++
	s.journalBytes -= j.weight
	if 2*s.journalTaken >= len(s.journal) {
		n := copy(s.journal, s.journal[s.journalTaken:])
		clear(s.journal[n:])
		s.journal, s.journalTaken = s.journal[:n], 0
	}
	s.recycle(j)
}

// inJournal is the job with this number, nil if it has not begun. Those before
// journalFirst are gone.
func (s *Shard) inJournal(number uint64) *job {
	if i := number - s.journalFirst; i < uint64(len(s.journal)-s.journalTaken) {
		return s.journal[s.journalTaken+int(i)]
	}
	return nil
}

// serve sends a job to a connection that wants it, from the given message on, if
// nothing waits there; otherwise the connection lags from now on.
func (c conn) serve(j *job, start int) {
	s := c.s
	if c.state != stateOpen {
		return
	}
	j.match(start)
	switch {
	case j.history != nil && c.flags&(flagStalled|flagLagging) != 0:
		c.fallBehind(j, start)
	case c.flags&flagLagging != 0:
		// Who lags comes to this job by himself.
	case c.flags&flagStalled != 0:
		c.lag(j, start)
	case c.flags&flagTLS != 0:
		c.served(j, start, c.sendJob(j, start))
	default:
		e := s.encoding(j, c.variant())
		if p := e.chunk[e.starts[start]:]; len(p) > 0 {
			s.batch = append(s.batch, netpoll.Outgoing{ID: c.id, P: p})
			s.batchStarts = append(s.batchStarts, int32(start))
		}
	}
}

// served notes how far a connection got with a job.
func (c conn) served(j *job, start, next int) {
	j.wrote(start, next)
	switch {
	case next == len(j.messages) || c.flags&flagStalled == 0:
	case j.history != nil:
		c.fallBehind(j, next)
	default:
		c.lag(j, next)
	}
}

// flushBatch makes the writes that serve has gathered, at the end of each slice
// and of each job: nothing else is written in between, so the order holds.
func (s *Shard) flushBatch(j *job) {
	if len(s.batch) == 0 {
		return
	}
	s.loop.WriteBatch(s.batch)
	for k := range s.batch {
		o := &s.batch[k]
		if c, ok := s.find(o.ID); ok {
			start := int(s.batchStarts[k])
			c.served(j, start, c.sentJob(j, start, o.N, o.Err))
		}
	}
	clear(s.batch)
	s.batch, s.batchStarts = s.batch[:0], s.batchStarts[:0]
}

// lag notes that a connection goes on with frame next of j when it has room.
func (c conn) lag(j *job, next int) {
	x := c.makeExt()
	x.lagJob, x.lagFrame = j.number, uint32(next)
	x.lagFrames = j.framesBefore + uint64(next)
	if c.flags&flagLagging == 0 {
		c.flags |= flagLagging
		c.s.laggers++
		c.s.count.Inc(counters.Lagging)
	}
}

// sendJob writes the job's frames from start on and answers the first one that
// is not on its way. If that is not all, the connection is stalled, or lost; of
// a frame that was cut in two the rest waits in pending.
func (c conn) sendJob(j *job, start int) (next int) {
	e := c.s.encoding(j, c.variant())
	rest := e.chunk[e.starts[start]:]
	n, err := c.write(rest)
	return c.sentJob(j, start, n, err)
}

// sentJob is what follows the write of a job's frames from start on, of which n
// bytes are on their way.
func (c conn) sentJob(j *job, start, n int, err error) (next int) {
	s := c.s
	if err != nil {
		return start // OnClose follows
	}
	e := s.encoding(j, c.variant())
	rest := e.chunk[e.starts[start]:]
	next = len(j.messages)
	if n < len(rest) {
		at := uint32(len(e.chunk)-len(rest)) + uint32(n)
		next = start + sort.Search(len(e.starts)-start, func(k int) bool { return e.starts[start+k] > at }) - 1
		c.markStalled()
		if off := at - e.starts[next]; off > 0 {
			// By reference to the one frame, which many may share; the run of
			// all of them goes when the journal lets go of it.
			c.stall(c.piece(s.encoded(j.messages[next], c.variant()), int(off)), true)
			next++
		}
	}
	s.delivered += uint64(next - start)
	if x := c.ext(); x != nil {
		if n > 0 {
			x.pending.progressTick = s.tick
		}
		if c.windowBits() != 0 {
			for _, m := range j.messages[start:next] {
				c.remember(m)
			}
		}
	}
	return next
}

// wanted tells from which of its frames on a job is for a connection; all of
// them if none.
func (c conn) wanted(j *job) (start int) {
	switch {
	case j.history != nil:
		return len(j.messages) // that is read from history
	case j.channel != nil:
		for sub := c.subs; sub != 0; sub = c.s.sub(sub).next {
			if entry := c.s.sub(sub); entry.channel == j.channel.row && c.s.channels[entry.channel] == j.channel {
				return j.startFor(&j.channel.subscribers.at(entry.pos).from)
			}
		}
		return len(j.messages)
	case j.user != 0 && j.user != c.user || c.flags&flagUnready != 0:
		return len(j.messages)
	}
	return 0
}

// catchUp lets a connection with room read on from the journal.
func (c conn) catchUp() {
	x := c.ext()
	for c.flags&flagLagging != 0 && c.flags&flagStalled == 0 && c.state == stateOpen {
		if x.lagJob < c.s.journalFirst && !c.fellOff() {
			return
		}
		j := c.s.inJournal(x.lagJob)
		if j == nil {
			c.caughtUp()
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

// fellOff applies the slow consumer policy to a connection whose next job the
// log has forgotten. It tells whether the connection goes on.
func (c conn) fellOff() bool {
	s := c.s
	x := c.ext()
	if !s.cfg.SlowDrop {
		s.count.Inc(counters.SlowDisconnects)
		c.stopLagging()
		c.startClose(frame.CloseTryAgainLater, slowReason)
		return false
	}
	before := s.framesBegun
	if j := s.inJournal(s.journalFirst); j != nil {
		before = j.framesBefore
	}
	x.missed += before - x.lagFrames
	s.count.Add(counters.SlowDrops, int64(before-x.lagFrames))
	x.lagJob, x.lagFrame, x.lagFrames = s.journalFirst, 0, before
	return true
}

// caughtUp ends the lag of a connection that has read the whole log: at once, or
// when the active job has passed it.
func (c conn) caughtUp() {
	if c.s.active != nil {
		c.s.parked = append(c.s.parked, c.id)
		return
	}
	c.stopLagging()
	c.settleWish()
}

// settleWish closes a connection that was to be closed behind what it has now read.
func (c conn) settleWish() {
	x := c.ext()
	if w := x.wish; w != nil && c.flags&flagLagging == 0 && len(x.readers) == 0 {
		x.wish = nil
		c.startClose(w.Code, w.Reason)
	}
}

// unpark ends the lag of those who have read the job that has just ended.
func (s *Shard) unpark() {
	for _, id := range s.parked {
		if c, ok := s.find(id); ok && c.flags&flagLagging != 0 && c.flags&flagStalled == 0 && c.state == stateOpen {
			x := c.ext()
			if s.inJournal(x.lagJob) == nil && x.lagJob >= s.journalFirst {
				c.caughtUp()
				if c, ok := s.find(id); ok {
					c.dropExt()
				}
			}
		}
	}
	s.parked = s.parked[:0]
}

func (c conn) stopLagging() {
	s := c.s
	if c.flags&flagLagging != 0 {
		c.flags &^= flagLagging
		s.laggers--
		s.count.Add(counters.Lagging, -1)
		if s.laggers == 0 && s.active == nil {
			for s.journalTaken < len(s.journal) {
				s.forget()
			}
			s.count.Set(counters.JournalBytes, 0)
		}
	}
}

// closeBehind closes a connection behind everything that was published before:
// now, or when it has read that.
func (c conn) closeBehind(code frame.CloseCode, reason string) {
	if c.state == stateOpen && (c.flags&flagLagging != 0 || c.reads()) {
		if x := c.makeExt(); x.wish == nil {
			x.wish = &Closed{Code: code, Reason: reason}
		}
		return
	}
	c.startClose(code, reason)
}
