package shard

import "github.com/roostws/roost/netpoll"

// journal is the jobs that have begun, in order, for connections that lag: they keep
// the number of the job that they go on with. It is kept once for all of them, and
// only while there are some. Jobs run one at a time, so their numbers are one order
// for everything that is published: one cursor serves a connection for all its
// channels.
type journal struct {
	maxBytes int

	jobs    fifo[*job]
	first   uint64 // the number of jobs.at(0)
	bytes   int    // the weight of jobs
	frames  uint64 // messages of all jobs that ever began
	laggers int    // connections with flagLagging
	// atEnd are connections that have read the active job and wait for its end.
	atEnd []netpoll.ID
}

// jobOverheadBytes is what a job in the journal is counted with, beside its frames.
const jobOverheadBytes = 512

// begin makes a job the last one.
func (l *journal) begin(j *job) {
	j.number = l.first + uint64(l.jobs.len())
	j.framesBefore = l.frames
	l.frames += uint64(len(j.messages))
	l.jobs.push(j)
}

// end counts a job that has ended.
func (l *journal) end(j *job) {
	j.weight = jobOverheadBytes + j.bytes
	for i := range j.encodings {
		if e := &j.encodings[i]; len(j.messages) > 1 {
			j.weight += len(e.chunk) + 4*len(e.starts)
		}
	}
	// Rounded-up allocations and garbage that is not collected yet take about as
	// much again (bench/results: clients that do not read).
	j.weight *= 2
	l.bytes += j.weight
}

// surplus takes out the oldest job if it is not to be kept, nil if all are. No job
// may be under way.
func (l *journal) surplus() *job {
	if l.jobs.len() == 0 || l.laggers > 0 && l.bytes <= l.maxBytes {
		return nil
	}
	j := l.jobs.take()
	l.first++
	l.bytes -= j.weight
	return j
}

// job returns the job with this number, nil if it has not begun. Those before first
// are gone.
func (l *journal) job(number uint64) *job {
	if i := number - l.first; i < uint64(l.jobs.len()) {
		return l.jobs.at(int(i))
	}
	return nil
}

// framesBefore returns how many messages began before the oldest job.
func (l *journal) framesBefore() uint64 {
	if l.jobs.len() > 0 {
		return l.jobs.at(0).framesBefore
	}
	return l.frames
}
