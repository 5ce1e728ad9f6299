package shard

import (
	"github.com/roostws/roost/frame"
)

const (
	// FanoutSlice is how many writes a turn makes before the sockets have their
	// turn: some 4 ms at 7 us a write.
	FanoutSlice = 512
	// jobMaxBytes bounds the frames that are written to a subscriber at once.
	// Larger writes gain little (the system call is 1 % of 64 KiB) and hold the
	// memory of slow consumers longer.
	jobMaxBytes = 64 << 10
	// jobMaxFrames bounds them in number, for the sake of tiny messages.
	jobMaxFrames = 4096
)

// A job is one fan-out: what was published to one target while the loop was
// busy, on its way to each subscriber with one write. Jobs run in order,
// one at a time, so a channel's order is the order of its jobs.
type job struct {
	// The target: a channel, the connections of a user (a row of Shard.users),
	// or, with neither, everybody.
	channel *channel
	user    uint32

	frames []*frame.Prepared
	bytes  int
	// first is the channel's sequence before the first frame: a subscriber
	// with from == first gets all of them.
	first uint32

	// Once begun, what goes out, by the subscriber's windowBits: plain frames
	// under 0, compressed ones under 8 to 15, made when the first subscriber of
	// the kind is met.
	encodings [16]encoding
	// cursor is the next subscriber: index in channel.subscribers, slot+1 in a
	// user's list, slot.
	cursor uint32
	// Set by record, when it begins: its place in the log, and how many frames
	// came before it there. weight is what it counts for in the log's bound.
	number       uint64
	framesBefore uint64
	weight       int
	// closing is an opClose or opCloseUser that waits for its turn.
	closing *op
	// drain closes everybody instead of writing, with this code and reason.
	drain  bool
	code   frame.CloseCode
	reason string
}

// An encoding is a job's frames as one run of bytes, shared by all subscribers
// and never changed, and where each frame begins.
type encoding struct {
	chunk  []byte
	starts []uint32
}

// enqueue adds f to the target's waiting job, or to a new one at the end.
func (s *Shard) enqueue(ch *channel, user uint32, f *frame.Prepared) {
	var j *job
	switch {
	case ch != nil:
		j = ch.waiting
	case user == 0:
		j = s.waitingAll
	case len(s.jobs) > 0:
		if last := s.jobs[len(s.jobs)-1]; last.user == user {
			j = last
		}
	}
	size := len(f.Bytes())
	if j == nil || j.bytes+size > jobMaxBytes || len(j.frames) >= jobMaxFrames {
		j = s.newJob()
		j.channel, j.user = ch, user
		switch {
		case ch != nil:
			j.first = ch.sequence
			ch.waiting = j
		case user != 0:
			s.users.entry(user).pins++
		default:
			s.waitingAll = j
		}
		s.jobs = append(s.jobs, j)
	}
	if ch != nil {
		ch.sequence++
	}
	j.frames = append(j.frames, f)
	j.bytes += size
	s.jobFrames.Add(1)
	s.jobBytes.Add(int64(size))
}

func (s *Shard) newJob() *job {
	if n := len(s.spareJobs); n > 0 {
		j := s.spareJobs[n-1]
		s.spareJobs = s.spareJobs[:n-1]
		return j
	}
	return &job{}
}

// nextJob takes the first job out of the queue. Its gap is closed now and then,
// so that thousands of jobs, one for each of as many channels, are not moved up
// thousands of times.
func (s *Shard) nextJob() *job {
	j := s.jobs[s.jobsTaken]
	s.jobs[s.jobsTaken] = nil
	s.jobsTaken++
	if 2*s.jobsTaken >= len(s.jobs) {
		n := copy(s.jobs, s.jobs[s.jobsTaken:])
		clear(s.jobs[n:])
		s.jobs, s.jobsTaken = s.jobs[:n], 0
	}
	return j
}

// begin makes the next job the active one.
func (s *Shard) begin() {
	j := s.nextJob()
	s.active = j
	s.record(j)
	switch {
	case j.channel != nil:
		if j.channel.waiting == j {
			j.channel.waiting = nil
		}
	case j.user != 0:
		j.cursor = s.users.entry(j.user).head
	default:
		if s.waitingAll == j {
			s.waitingAll = nil
		}
	}
}

// encoding answers the job's frames for a subscriber with windowBits.
func (j *job) encoding(windowBits uint8) *encoding {
	e := &j.encodings[windowBits]
	if e.chunk != nil {
		return e
	}
	if len(j.frames) == 1 {
		e.chunk = encoded(j.frames[0], windowBits)
		e.starts = append(e.starts, 0)
		return e
	}
	// One run of bytes is cheaper to send 15,000 times than a vector of hundreds
	// of pieces. Slow consumers keep references to it, so it is not reused.
	e.chunk = make([]byte, 0, j.bytes)
	for _, f := range j.frames {
		e.starts = append(e.starts, uint32(len(e.chunk)))
		e.chunk = append(e.chunk, encoded(f, windowBits)...)
	}
	return e
}

// encoded answers a message as a connection with windowBits gets it.
func encoded(f *frame.Prepared, windowBits uint8) []byte {
	if windowBits == 0 {
		return f.Bytes()
	}
	return f.Compressed(int(windowBits))
}

// end puts the active job away.
func (s *Shard) end() {
	j := s.active
	s.active = nil
	s.jobFrames.Add(-int64(len(j.frames)))
	s.jobBytes.Add(-int64(j.bytes))
	s.retire(j)
	s.unpark()
}

// recycle takes a job apart that nobody needs any more.
func (s *Shard) recycle(j *job) {
	if j.user != 0 {
		entry := s.users.entry(j.user)
		if entry.pins--; entry.pins == 0 && entry.head == 0 {
			s.users.remove(j.user)
		}
	}
	clear(j.frames)
	frames := j.frames[:0]
	starts := j.encodings[0].starts[:0]
	*j = job{frames: frames}
	j.encodings[0].starts = starts
	if len(s.spareJobs) < 16 && cap(j.frames) <= jobMaxFrames {
		s.spareJobs = append(s.spareJobs, j)
	}
}

// fanOut makes up to one slice of writes and tells whether more are due.
func (s *Shard) fanOut() (again bool) {
	s.budget = s.cfg.FanoutSlice
	for s.budget > 0 {
		if s.active == nil {
			if len(s.jobs) == 0 {
				break
			}
			s.begin()
		}
		j := s.active
		var done bool
		switch {
		case j.closing != nil:
			s.budget--
			s.closeNow(j.closing)
			done = true
		case j.channel != nil:
			done = s.fanOutChannel(j)
		case j.user != 0:
			done = s.fanOutUser(j)
		default:
			done = s.fanOutAll(j)
		}
		s.flushBatch(j)
		if done {
			s.end()
		}
	}
	s.count.Delivered.Add(s.delivered)
	s.delivered = 0
	return s.active != nil || len(s.jobs) > 0
}

func (s *Shard) fanOutChannel(j *job) (done bool) {
	for ; j.cursor < j.channel.subscribers.n; j.cursor++ {
		if s.budget == 0 {
			return false
		}
		to := *j.channel.subscribers.at(j.cursor)
		if start := j.startFor(to.from); start < len(j.frames) {
			s.budget--
			s.serve(to.slot, &s.slots.rows[to.slot], j, start)
		}
	}
	return true
}

func (s *Shard) fanOutUser(j *job) (done bool) {
	for j.cursor != 0 {
		if s.budget == 0 {
			return false
		}
		i := j.cursor - 1
		j.cursor = s.slots.rows[i].userNext
		s.budget--
		s.serve(i, &s.slots.rows[i], j, 0)
	}
	return true
}

func (s *Shard) fanOutAll(j *job) (done bool) {
	for ; j.cursor < s.high; j.cursor++ {
		if s.budget == 0 {
			return false
		}
		sl := &s.slots.rows[j.cursor]
		switch {
		case j.drain && sl.state != stateFree:
			s.budget--
			s.drainOne(s.idOf(j.cursor), sl, j.code, j.reason)
		case sl.state == stateOpen:
			s.budget--
			s.serve(j.cursor, sl, j, 0)
		}
	}
	return true
}
