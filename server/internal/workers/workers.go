// Package workers runs jobs that may block, such as functions of the application.
package workers

import (
	"sync"
	"time"
)

const (
	// stuckAfter is how long jobs wait for a goroutine while none is taken before the
	// pool grows. Checks of tokens take microseconds, look-ups milliseconds.
	stuckAfter = 4 * time.Millisecond
	// starvedAfter serves instead where the pool's own timer is late by as much as
	// stuckAfter: then it is the processor that jobs wait for.
	starvedAfter = 10 * stuckAfter
	// trimAfter is how long goroutines beyond the core are kept unused. Twice that is
	// less than the three quiet seconds after which roost serve collects garbage, which
	// frees the stacks of goroutines that have ended only: of those that a storm of ten
	// thousand clients had left over, 26 bytes for each client stayed.
	trimAfter = time.Second
)

// A Pool runs jobs, each once, the oldest first, on as few goroutines as they need:
// a few, as long as jobs only compute, and up to one for each job while they block.
// A goroutine for each job would be simpler, but the runtime keeps 440 bytes of each
// that has ended: a storm of ten thousand clients that show a token left 40 bytes
// for each of them. All methods may be called on any goroutine.
type Pool struct {
	most, core int // immutable

	mu sync.Mutex
	// Guarded by mu.
	jobs    int           // in the queue, or running
	queue   []func()      // no goroutine is idle while it holds any
	idle    []chan func() // each of an idle goroutine, which ends when it gets nil; the last became idle last
	workers int           // goroutines
	step    int           // how many the pool grew by last, 0 if a job was taken since
	taken   uint64        // jobs that a goroutine has taken from the queue
	unused  int           // the fewest idle ones since the last trim
	watch   *time.Timer   // runs grow; nil while it is not due
	trim    *time.Timer   // runs shrink; nil while it is not due
	closed  bool
}

// New makes a pool that takes at most so many jobs at a time, and keeps at most core
// goroutines while there are none.
func New(most, core int) *Pool { return &Pool{most: most, core: core} }

// Do runs job soon, on another goroutine. It returns false if too many jobs are under
// way, or the pool is closed.
func (p *Pool) Do(job func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jobs >= p.most || p.closed {
		return false
	}
	p.jobs++
	if n := len(p.idle) - 1; n >= 0 {
		p.idle[n] <- job // it has room for one
		p.idle = p.idle[:n]
		p.unused = min(p.unused, n)
		return true
	}
	p.queue = append(p.queue, job)
	switch {
	case p.workers < p.core:
		p.start(1)
	case p.watch == nil:
		p.watchFrom(p.taken, time.Now())
	}
	return true
}

// start adds goroutines. The lock is held.
func (p *Pool) start(n int) {
	p.workers += n
	for range n {
		go p.work()
	}
	if p.workers > p.core && p.trim == nil {
		p.unused, p.trim = 0, time.AfterFunc(trimAfter, p.shrink)
	}
}

// watchFrom looks a moment later whether more than taken jobs, which was their number
// since a moment, have been taken by then. The lock is held.
func (p *Pool) watchFrom(taken uint64, since time.Time) {
	due := time.Now().Add(stuckAfter)
	p.watch = time.AfterFunc(stuckAfter, func() { p.grow(taken, since, due) })
}

// grow makes the pool larger if jobs wait and no more than taken were taken since a
// moment: all goroutines block. It adds one, then two, four and so on, for the first time
// may be an error: other programs had the processors. due is when it was to be called.
func (p *Pool) grow(taken uint64, since, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch = nil
	if len(p.queue) == 0 || p.closed {
		return
	}
	now := time.Now()
	switch {
	case p.taken > taken:
		p.step = 0
		p.watchFrom(p.taken, now)
	case now.Sub(due) >= stuckAfter && now.Sub(since) < starvedAfter:
		p.watchFrom(taken, since)
	default:
		p.step = max(1, 2*p.step)
		n := min(p.step, len(p.queue))
		p.start(n)
		p.watchFrom(p.taken+uint64(n), now) // each of the new ones takes a job
	}
}

// shrink ends goroutines beyond the core that nothing needed since the last time.
func (p *Pool) shrink() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trim = nil
	if p.closed {
		return
	}
	n := max(min(p.unused, p.workers-p.core), 0) // jobs may have ended even some of the core
	for _, w := range p.idle[:n] {
		w <- nil
	}
	p.idle = append(p.idle[:0:0], p.idle[n:]...)
	p.workers -= n
	if p.workers > p.core {
		p.unused, p.trim = len(p.idle), time.AfterFunc(trimAfter, p.shrink)
	}
}

// work runs jobs until it is told to end.
func (p *Pool) work() {
	orderly := false
	defer func() {
		if !orderly {
			p.replace() // a job has called runtime.Goexit
		}
	}()
	inbox := make(chan func(), 1)
	p.next(inbox, 0)
	for job := range inbox {
		if job == nil {
			break
		}
		job()
		p.next(inbox, 1)
	}
	orderly = true
}

// next puts the oldest job of the queue into the inbox of a goroutine that has done
// so many, or notes that it is idle.
func (p *Pool) next(inbox chan func(), done int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs -= done
	switch {
	case len(p.queue) > 0:
		inbox <- p.queue[0]
		p.queue[0] = nil
		if p.queue = p.queue[1:]; len(p.queue) == 0 {
			p.queue = nil
		}
		p.taken++
	case p.closed:
		p.workers--
		close(inbox)
	default:
		p.idle = append(p.idle, inbox)
	}
}

// replace starts a goroutine in place of one that a job has ended.
func (p *Pool) replace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs--
	p.workers--
	if len(p.queue) > 0 {
		p.start(1)
	}
}

// Close takes no more jobs and ends the goroutines, each after its job. It does not
// wait for them.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.idle {
		w <- nil
	}
	p.workers -= len(p.idle)
	p.idle = nil
	for _, timer := range []*time.Timer{p.watch, p.trim} {
		if timer != nil {
			timer.Stop()
		}
	}
}
