package shard

import "github.com/roostws/roost/server/internal/counters"

// The fan-out, and the life of a subscriber in it.
//
// What is published waits in jobs, one for each target, which run one after the other.
// The active job goes to each subscriber with one write, a slice of FanoutSlice writes
// at a time. A subscriber that cannot take it falls behind, at no cost for the others,
// and catches up from what is kept once for all:
//
//	            the socket has room, nothing waits
//	     ┌────────────────────────────────────────────────────┐
//	     ▼       short write                                   │
//	   live ───────────────────► stalled                       │
//	     ▲                       │     │                       │
//	     │        a job without  │     │ a job with            │
//	     │              history  ▼     ▼ history               │
//	     │                 lagging     reading ────────────────┤ at the tip
//	     │    room: catchUp   │  │     │ room: readOn, in turn │
//	     │                    │  └─────┴──► place lost:        │
//	     │                    ▼             policy: goes on, or is closed
//	     └──────────────── at the end ─────────────────────────┘
//	      the active job   of the journal
//	      has ended
//
//	stalled   flagStalled: the socket is full, ext.pending has what is half sent
//	lagging   flagLagging: goes on with message ext.lagFrame of job ext.lagJob
//	reading   a reader in ext.readers goes on with an offset of the channel's history
//	at the end  in journal.atEnd: it has read the active job, which must not be
//	          sent to it again by the fan-out
//
// A connection lags as a whole and reads for each channel with history, and it may do
// both. Resuming at a position begins as reading, without a stall.
//
// Invariants, which the simulation checks or depends on:
//
//   - Nothing is written to a stalled connection but by OnWritable. The fan-out adds to
//     its pending output at most the rest of the unit that was cut: it costs no more
//     memory the longer it stalls.
//   - A lagging connection gets jobs without history from the journal only: serve skips
//     it. A reading one gets that channel from its history only: its subscriber's from
//     is parkedAhead of the tip, so that startFor skips it, until it is at the tip.
//   - The order of jobs is the order of the journal is the order of delivery, so one
//     cursor serves a connection for all channels without history. Jobs with history
//     are in the journal, but are nothing to catch up with there (wanted).
//   - The journal is empty when no connection lags and no job is active, and within
//     LagMaxBytes otherwise.
//   - A change of the epoch is a job, too (job.reset). A connection that cannot take it at
//     once, or still reads the history that has ended, goes on as reading: when its turn
//     comes it is told where the channel stands by then, and is at the tip.
//   - A batch is written before anything else is written to its connections.
//
// Why there are two ways to catch up: docs/decisions/0017-catching-up.md.

// FanoutSlice is how many writes a turn makes before the sockets have their turn:
// some 4 ms at 7 us a write.
const FanoutSlice = 512

// enqueue adds a message to the target's waiting job, or to a new one at the end.
func (s *Shard) enqueue(ch *channel, user uint32, o *op) {
	q := &s.jobs
	var j *job
	switch {
	case ch != nil:
		j = ch.waiting
	case user == 0:
		j = q.toAll
	case q.waiting.len() > 0:
		if last := q.waiting.at(q.waiting.len() - 1); last.user == user {
			j = last
		}
	}
	if j != nil && ch == nil && j.opened != s.opened {
		j = nil // connections have opened since
	}
	if j == nil || !j.continues(o) {
		j = s.newJob(ch, user, o)
	}
	if ch != nil && ch.ns == nil {
		ch.sequence++
	}
	j.add(o)
	q.count(1, o.message.Size())
}

// newJob puts a job for a target, which begins with o's message, into the queue.
func (s *Shard) newJob(ch *channel, user uint32, o *op) *job {
	q := &s.jobs
	j := q.new()
	j.channel, j.user, j.history, j.since, j.opened = ch, user, o.history, o.since, s.opened
	switch {
	case o.history != nil:
		j.offset, j.first, j.reset = o.message.Offset, o.history.Seq(o.message.Offset)-1, o.message.Resets()
	case ch != nil:
		// A notice in a channel with history has no offset there.
		j.first, j.all = ch.sequence, ch.ns != nil
	default:
		j.all = true
	}
	switch {
	case ch != nil:
		ch.waiting = j
	case user != 0:
		s.users.pin(user)
	default:
		q.toAll = j
	}
	q.waiting.push(j)
	return j
}

// begin makes the next job the active one.
func (s *Shard) begin() {
	q := &s.jobs
	j := q.waiting.take()
	q.active = j
	s.journal.begin(j)
	s.choose(j)
	switch {
	case j.channel != nil:
		if j.channel.waiting == j {
			j.channel.waiting = nil
		}
		if j.history != nil {
			j.channel.moveTo(j.history.At(j.offset + uint64(len(j.messages)) - 1))
		}
	case j.user != 0:
		j.cursor = s.users.head(j.user)
	default:
		if q.toAll == j {
			q.toAll = nil
		}
	}
}

// encoding returns the job's frames for a subscriber of this variant. It is valid
// until the next call.
func (s *Shard) encoding(j *job, variant int) *encoding {
	for i := range j.encodings {
		if e := &j.encodings[i]; e.variant == variant {
			return e
		}
	}
	e := encoding{variant: variant, starts: oneStart}
	if len(j.messages) == 1 {
		e.chunk = s.encoded(j.messages[0], variant)
	} else {
		// One run of bytes is cheaper to send 15,000 times than a vector of hundreds
		// of pieces. Slow consumers keep references to it, so it is not reused.
		e.chunk, e.starts, s.jobs.spareStarts = make([]byte, 0, j.bytes), s.jobs.spareStarts[:0], nil
		for _, m := range j.messages {
			e.starts = append(e.starts, uint32(len(e.chunk)))
			e.chunk = s.appendEncoded(e.chunk, m, variant)
		}
	}
	j.encodings = append(j.encodings, e)
	return &j.encodings[len(j.encodings)-1]
}

// end ends the active job: the journal keeps it for connections that lag.
func (s *Shard) end() {
	q := &s.jobs
	j := q.active
	q.active = nil
	q.count(-len(j.messages), -j.bytes)
	if len(j.messages) > 0 {
		s.count.Observe(counters.PublishTime, s.clock()-j.since)
	}
	if j.history != nil {
		for _, m := range j.messages {
			m.Served()
		}
	}
	if j.tallies != nil {
		j.giveReceipts()
	}
	s.journal.end(j)
	s.shortenJournal()
	s.endLags()
}

// shortenJournal drops jobs that are not to be kept.
func (s *Shard) shortenJournal() {
	for j := s.journal.surplus(); j != nil; j = s.journal.surplus() {
		if j.user != 0 {
			s.users.unpin(j.user)
		}
		s.jobs.recycle(j)
	}
	s.count.Set(counters.JournalBytes, int64(s.journal.bytes))
}

// fanOut makes up to one slice of writes and reports whether more are due.
func (s *Shard) fanOut() (again bool) {
	q := &s.jobs
	q.budget = s.cfg.FanoutSlice
	for q.budget > 0 {
		if q.active == nil {
			if q.waiting.len() == 0 {
				break
			}
			s.begin()
		}
		if j := q.active; s.step(j) {
			s.end()
		}
	}
	s.countDelivered()
	return !q.idle()
}

// step goes on with a job and reports whether it is done.
func (s *Shard) step(j *job) (done bool) {
	defer s.flushBatch(j)
	switch {
	case j.closing != nil:
		s.jobs.budget--
		s.closeNow(j.closing)
		return true
	case j.call != nil:
		s.jobs.budget--
		j.call()
		return true
	case j.few:
		return s.fanOutFew(j)
	case j.channel != nil:
		return s.fanOutChannel(j)
	case j.user != 0:
		return s.fanOutUser(j)
	default:
		return s.fanOutAll(j)
	}
}

func (s *Shard) fanOutChannel(j *job) (done bool) {
	for ; j.cursor < j.channel.subscribers.n; j.cursor++ {
		if s.jobs.budget == 0 {
			return false
		}
		to := j.channel.subscribers.at(j.cursor)
		if start := j.startFor(&to.from); start < len(j.messages) {
			s.jobs.budget--
			s.in(to.slot).serve(j, start)
		}
	}
	return true
}

func (s *Shard) fanOutUser(j *job) (done bool) {
	for j.cursor != 0 {
		if s.jobs.budget == 0 {
			return false
		}
		i := j.cursor - 1
		c := s.in(i)
		j.cursor = c.userNext
		if start := j.startFor(&c.userFrom); start < len(j.messages) && c.flags&flagUnready == 0 && !c.openedAfter(j) {
			s.jobs.budget--
			c.serve(j, start)
		}
	}
	return true
}

func (s *Shard) fanOutAll(j *job) (done bool) {
	for ; j.cursor < s.slots.high; j.cursor++ {
		if s.jobs.budget == 0 {
			return false
		}
		c := s.in(j.cursor)
		if c.state == stateOpen && c.flags&flagUnready == 0 && !c.openedAfter(j) {
			s.jobs.budget--
			c.serve(j, 0)
		}
	}
	return true
}

// flushBatch makes the writes that serve has gathered, at the end of each slice and
// of each job: nothing else is written in between, so the order holds.
func (s *Shard) flushBatch(j *job) {
	if len(s.output.batch) == 0 {
		return
	}
	s.loop.WriteBatch(s.output.batch)
	for k := range s.output.batch {
		o := &s.output.batch[k]
		if c, ok := s.find(o.ID); ok {
			start := int(s.output.starts[k])
			c.served(j, start, c.sentJob(j, start, o.P, o.N, o.Err))
		}
	}
	clear(s.output.batch)
	s.output.batch, s.output.starts, s.output.arena = s.output.batch[:0], s.output.starts[:0], s.output.arena[:0]
	if cap(s.output.arena) > 2*arenaMaxBytes {
		s.output.arena = nil
	}
}
