package shard

import (
	"sort"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
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
	s.count.JournalBytes.Store(int64(s.journalBytes))
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
func (s *Shard) serve(i uint32, sl *slot, j *job, start int) {
	if sl.state != stateOpen {
		return
	}
	j.match(start)
	switch {
	case j.log != nil && sl.flags&(flagStalled|flagLagging) != 0:
		s.fallBehind(s.idOf(i), sl, j, start)
	case sl.flags&flagLagging != 0:
		// Who lags comes to this job by himself.
	case sl.flags&flagStalled != 0:
		s.lag(sl, j, start)
	case sl.flags&flagTLS != 0:
		s.served(s.idOf(i), sl, j, start, s.sendJob(s.idOf(i), sl, j, start))
	default:
		e := s.encoding(j, sl.variant())
		if p := e.chunk[e.starts[start]:]; len(p) > 0 {
			s.batch = append(s.batch, netpoll.Outgoing{ID: s.idOf(i), P: p})
			s.batchStarts = append(s.batchStarts, int32(start))
		}
	}
}

// served notes how far a connection got with a job.
func (s *Shard) served(id netpoll.ID, sl *slot, j *job, start, next int) {
	j.wrote(start, next)
	switch {
	case next == len(j.messages) || sl.flags&flagStalled == 0:
	case j.log != nil:
		s.fallBehind(id, sl, j, next)
	default:
		s.lag(sl, j, next)
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
		if sl := s.slotOf(o.ID); sl != nil {
			start := int(s.batchStarts[k])
			s.served(o.ID, sl, j, start, s.sentJob(o.ID, sl, j, start, o.N, o.Err))
		}
	}
	clear(s.batch)
	s.batch, s.batchStarts = s.batch[:0], s.batchStarts[:0]
}

// lag notes that a connection goes on with frame next of j when it has room.
func (s *Shard) lag(sl *slot, j *job, next int) {
	x := s.extOf(sl)
	x.lagJob, x.lagFrame = j.number, uint32(next)
	x.lagFrames = j.framesBefore + uint64(next)
	if sl.flags&flagLagging == 0 {
		sl.flags |= flagLagging
		s.laggers++
		s.count.Lagging.Add(1)
	}
}

// sendJob writes the job's frames from start on and answers the first one that
// is not on its way. If that is not all, the connection is stalled, or lost; of
// a frame that was cut in two the rest waits in pending.
func (s *Shard) sendJob(id netpoll.ID, sl *slot, j *job, start int) (next int) {
	e := s.encoding(j, sl.variant())
	rest := e.chunk[e.starts[start]:]
	n, err := s.write(id, sl, rest)
	return s.sentJob(id, sl, j, start, n, err)
}

// sentJob is what follows the write of a job's frames from start on, of which n
// bytes are on their way.
func (s *Shard) sentJob(id netpoll.ID, sl *slot, j *job, start, n int, err error) (next int) {
	if err != nil {
		return start // OnClose follows
	}
	e := s.encoding(j, sl.variant())
	rest := e.chunk[e.starts[start]:]
	next = len(j.messages)
	if n < len(rest) {
		at := uint32(len(e.chunk)-len(rest)) + uint32(n)
		next = start + sort.Search(len(e.starts)-start, func(k int) bool { return e.starts[start+k] > at }) - 1
		s.markStalled(id, sl, s.extOf(sl))
		if off := at - e.starts[next]; off > 0 {
			// By reference to the one frame, which many may share; the run of
			// all of them goes when the journal lets go of it.
			s.stall(id, sl, piece{s.encoded(j.messages[next], sl.variant()), int(off)}, true)
			next++
		}
	}
	s.delivered += uint64(next - start)
	if sl.ext != 0 {
		if n > 0 {
			s.exts[sl.ext].pending.progressTick = s.tick
		}
		if sl.windowBits != 0 {
			for _, m := range j.messages[start:next] {
				s.remember(sl, m)
			}
		}
	}
	return next
}

// wanted tells from which of its frames on a job is for a connection; all of
// them if none.
func (s *Shard) wanted(i uint32, sl *slot, j *job) (start int) {
	switch {
	case j.log != nil:
		return len(j.messages) // that is read from history
	case j.channel != nil:
		for sub := sl.subs; sub != 0; sub = s.sub(sub).next {
			if entry := s.sub(sub); entry.channel == j.channel.row && s.channels[entry.channel] == j.channel {
				return j.startFor(&j.channel.subscribers.at(entry.pos).from)
			}
		}
		return len(j.messages)
	case j.user != 0 && j.user != sl.user || sl.flags&flagUnready != 0:
		return len(j.messages)
	}
	return 0
}

// catchUp lets a connection with room read on from the journal.
func (s *Shard) catchUp(id netpoll.ID, sl *slot, x *ext) {
	for sl.flags&flagLagging != 0 && sl.flags&flagStalled == 0 && sl.state == stateOpen {
		if x.lagJob < s.journalFirst && !s.fellOff(id, sl, x) {
			return
		}
		j := s.inJournal(x.lagJob)
		if j == nil {
			s.caughtUp(id, sl, x)
			return
		}
		if start := max(s.wanted(id.Slot(), sl, j), int(x.lagFrame)); start < len(j.messages) {
			next := s.sendJob(id, sl, j, start)
			if next == start && sl.flags&flagStalled == 0 {
				return // lost; OnClose follows
			}
			s.lag(sl, j, next)
			if next < len(j.messages) {
				return
			}
		}
		x.lagJob, x.lagFrame, x.lagFrames = j.number+1, 0, j.framesBefore+uint64(len(j.messages))
	}
}

// fellOff applies the slow consumer policy to a connection whose next job the
// log has forgotten. It tells whether the connection goes on.
func (s *Shard) fellOff(id netpoll.ID, sl *slot, x *ext) bool {
	if !s.cfg.SlowDrop {
		s.count.SlowDisconnects.Add(1)
		s.stopLagging(sl)
		s.startClose(id, sl, frame.CloseTryAgainLater, slowReason)
		return false
	}
	before := s.framesBegun
	if j := s.inJournal(s.journalFirst); j != nil {
		before = j.framesBefore
	}
	x.missed += before - x.lagFrames
	s.count.SlowDrops.Add(before - x.lagFrames)
	x.lagJob, x.lagFrame, x.lagFrames = s.journalFirst, 0, before
	return true
}

// caughtUp ends the lag of a connection that has read the whole log: at once, or
// when the active job has passed it.
func (s *Shard) caughtUp(id netpoll.ID, sl *slot, x *ext) {
	if s.active != nil {
		s.parked = append(s.parked, id)
		return
	}
	s.stopLagging(sl)
	s.settleWish(id, sl, x)
}

// settleWish closes a connection that was to be closed behind what it has now read.
func (s *Shard) settleWish(id netpoll.ID, sl *slot, x *ext) {
	if w := x.wish; w != nil && sl.flags&flagLagging == 0 && len(x.readers) == 0 {
		x.wish = nil
		s.startClose(id, sl, w.Code, w.Reason)
	}
}

// unpark ends the lag of those who have read the job that has just ended.
func (s *Shard) unpark() {
	for _, id := range s.parked {
		if sl := s.slotOf(id); sl != nil && sl.flags&flagLagging != 0 && sl.flags&flagStalled == 0 && sl.state == stateOpen {
			x := s.exts[sl.ext]
			if s.inJournal(x.lagJob) == nil && x.lagJob >= s.journalFirst {
				s.caughtUp(id, sl, x)
				if sl := s.slotOf(id); sl != nil {
					s.dropExt(sl)
				}
			}
		}
	}
	s.parked = s.parked[:0]
}

func (s *Shard) stopLagging(sl *slot) {
	if sl.flags&flagLagging != 0 {
		sl.flags &^= flagLagging
		s.laggers--
		s.count.Lagging.Add(-1)
		if s.laggers == 0 && s.active == nil {
			for s.journalTaken < len(s.journal) {
				s.forget()
			}
			s.count.JournalBytes.Store(0)
		}
	}
}

// closeBehind closes a connection behind everything that was published before:
// now, or when it has read that.
func (s *Shard) closeBehind(id netpoll.ID, sl *slot, code frame.CloseCode, reason string) {
	if sl.state == stateOpen && (sl.flags&flagLagging != 0 || sl.ext != 0 && len(s.exts[sl.ext].readers) > 0) {
		if x := s.extOf(sl); x.wish == nil {
			x.wish = &Closed{Code: code, Reason: reason}
		}
		return
	}
	s.startClose(id, sl, code, reason)
}
