package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

const (
	// FanoutSlice is how many writes a turn makes before the sockets have their
	// turn: some 4 ms at 7 us a write.
	FanoutSlice = 512
	// jobMaxBytes bounds the frames that are written to a subscriber at once.
	// Larger writes gain little (the system call is 1 % of 64 KiB) and hold the
	// memory of slow consumers longer.
	jobMaxBytes = 64 << 10
	// jobMaxMessages bounds them in number, for the sake of tiny messages.
	jobMaxMessages = 4096
)

// A job is one fan-out: what was published to one target while the loop was
// busy, on its way to each subscriber with one write. Jobs run in order,
// one at a time, so a channel's order is the order of its jobs.
type job struct {
	// The target: a channel, the connections of a user (a row of Shard.users),
	// or, with neither, everybody.
	channel *channel
	user    uint32

	messages []*hub.Message
	bytes    int
	// history is the target's, nil without.
	history *hub.History
	// offset is that of the first message, with a history.
	offset uint64
	// first is the channel's sequence before the first message: a subscriber
	// with from == first gets all of them. It is not compared if all is set.
	first uint32
	all   bool
	// tallies are of those who want to know, with what is counted for them: how
	// often the job was matched and written from message k on.
	tallies          []tallied
	matched, written []int32

	// Once begun, what goes out, one for each variant of subscribers, made when the
	// first of the kind is met.
	encodings []encoding
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
	// drain closes all connections instead of writing, with this code and reason;
	// those that speak a protocol are told to come back at a moment within spread.
	drain  bool
	code   frame.CloseCode
	reason string
	spread time.Duration
}

// tallied is a message whose publisher wants to know what became of it.
type tallied struct {
	message int
	tally   *hub.Tally
}

// An encoding is a job's frames as one run of bytes, shared by all subscribers
// and never changed, and where each frame begins.
type encoding struct {
	variant int
	chunk   []byte
	starts  []uint32
}

// oneStart is where the frames of a job with one message begin.
var oneStart = []uint32{0}

// enqueue adds a message to the target's waiting job, or to a new one at the end.
func (s *Shard) enqueue(ch *channel, user uint32, o *op) {
	m := o.message
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
	size := m.Size()
	if j == nil || j.bytes+size > jobMaxBytes || len(j.messages) >= jobMaxMessages || !j.continues(o) {
		j = s.newJob()
		j.channel, j.user, j.history = ch, user, o.history
		switch {
		case o.history != nil:
			j.offset, j.first = m.Offset, uint32(m.Offset-1)
		case ch != nil:
			// A word of the protocol in a channel with history has no number there.
			j.first, j.all = ch.sequence, ch.ns != nil
		default:
			j.all = true
		}
		switch {
		case ch != nil:
			ch.waiting = j
		case user != 0:
			s.users.entry(user).pins++
		default:
			s.waitingAll = j
		}
		s.jobs = append(s.jobs, j)
	}
	if ch != nil && ch.ns == nil {
		ch.sequence++
	}
	if o.tally != nil {
		j.tallies = append(j.tallies, tallied{len(j.messages), o.tally})
	}
	j.messages = append(j.messages, m)
	j.bytes += size
	s.jobFrames.Add(1)
	s.jobBytes.Add(int64(size))
}

// continues tells whether a message may be added to the job.
func (j *job) continues(o *op) bool {
	return j.history == o.history && (j.history == nil || o.message.Offset == j.offset+uint64(len(j.messages)))
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

// encoding answers the job's frames for a subscriber of this variant. It is valid
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
		e.chunk, e.starts, s.spareStarts = make([]byte, 0, j.bytes), s.spareStarts[:0], nil
		for _, m := range j.messages {
			e.starts = append(e.starts, uint32(len(e.chunk)))
			e.chunk = append(e.chunk, s.encoded(m, variant)...)
		}
	}
	j.encodings = append(j.encodings, e)
	return &j.encodings[len(j.encodings)-1]
}

// end puts the active job away.
func (s *Shard) end() {
	j := s.active
	s.active = nil
	s.jobFrames.Add(-int64(len(j.messages)))
	s.jobBytes.Add(-int64(j.bytes))
	if j.history != nil {
		for _, m := range j.messages {
			m.Served()
		}
	}
	if j.tallies != nil {
		j.tell()
	}
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
	for i := range j.encodings {
		if len(j.messages) > 1 {
			s.spareStarts = j.encodings[i].starts
		}
	}
	clear(j.messages)
	clear(j.encodings)
	*j = job{messages: j.messages[:0], encodings: j.encodings[:0]}
	if len(s.spareJobs) < 16 && cap(j.messages) <= jobMaxMessages {
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
	s.count.Add(counters.Delivered, int64(s.delivered))
	s.delivered = 0
	return s.active != nil || len(s.jobs) > 0
}

// startFor is the first message for a subscriber who joined at *from.
func (j *job) startFor(from *uint32) int {
	if j.all {
		return 0
	}
	missed := int32(*from - j.first)
	if missed > 0 {
		return min(int(missed), len(j.messages))
	}
	if missed < -parkedAhead {
		*from = j.first // so that the difference never overflows
	}
	return 0
}

// match and wrote count, for those who want to know, that a connection is to
// get the job from message start on, and that those up to next are on their way.
func (j *job) match(start int) {
	if j.tallies != nil {
		if j.matched == nil {
			j.matched, j.written = make([]int32, len(j.messages)+1), make([]int32, len(j.messages)+1)
		}
		j.matched[start]++
	}
}

func (j *job) wrote(start, next int) {
	if j.written != nil && next > start {
		j.written[start]++
		j.written[next]--
	}
}

// tell gives those who want to know their numbers.
func (j *job) tell() {
	matched, written, at := 0, 0, 0
	for _, t := range j.tallies {
		for ; j.matched != nil && at <= t.message; at++ {
			matched += int(j.matched[at])
			written += int(j.written[at])
		}
		t.tally.Add(matched, written)
	}
}

func (s *Shard) fanOutChannel(j *job) (done bool) {
	for ; j.cursor < j.channel.subscribers.n; j.cursor++ {
		if s.budget == 0 {
			return false
		}
		to := j.channel.subscribers.at(j.cursor)
		if start := j.startFor(&to.from); start < len(j.messages) {
			s.budget--
			s.in(to.slot).serve(j, start)
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
		c := s.in(i)
		j.cursor = c.userNext
		if start := j.startFor(&c.userFrom); start < len(j.messages) && c.flags&flagUnready == 0 {
			s.budget--
			c.serve(j, start)
		}
	}
	return true
}

func (s *Shard) fanOutAll(j *job) (done bool) {
	for ; j.cursor < s.high; j.cursor++ {
		if s.budget == 0 {
			return false
		}
		c := s.in(j.cursor)
		switch {
		case j.drain && c.state != stateFree:
			s.budget--
			c.drainOne(j)
		case c.state == stateOpen && c.flags&flagUnready == 0:
			s.budget--
			c.serve(j, 0)
		}
	}
	return true
}
