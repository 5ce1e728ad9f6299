// Package throttle bounds log lines that strangers, or an outage, could repeat
// without end.
package throttle

import (
	"sync"
	"time"
)

// Interval is the time for which a Throttle counts.
const Interval = 10 * time.Second

// A Throttle lets a number of lines pass in each Interval and counts the others.
// The zero value lets one pass. Its methods may be called from any goroutine.
type Throttle struct {
	// Lines is how many pass in an Interval. If zero, 1. It must not change after
	// the first call of Pass.
	Lines int

	// Guarded by mu.
	mu     sync.Mutex
	end    time.Time // of the current interval
	passed int       // lines of the current interval
	held   uint64    // lines since the last one that passed
}

// Pass reports whether a line may be written now, and how many were held back
// since the last one that passed: the line should say so.
func (t *Throttle) Pass() (held uint64, ok bool) { return t.pass(time.Now()) }

func (t *Throttle) pass(now time.Time) (held uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Before(t.end) {
		t.passed, t.end = 0, now.Add(Interval)
	}
	if t.passed >= max(t.Lines, 1) {
		t.held++
		return 0, false
	}
	t.passed++
	held, t.held = t.held, 0
	return held, true
}
