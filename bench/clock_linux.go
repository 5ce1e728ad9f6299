package bench

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// clockStart ties Go's monotonic clock, which is cheap to read, to
// CLOCK_MONOTONIC, which it is underneath.
var clockStart, clockStartNs = func() (time.Time, int64) {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Now(), ts.Nano()
}()

// nowNs reads CLOCK_MONOTONIC, which all processes of a machine share: the
// sender and the receiver of a message need not be one process.
func nowNs() int64 { return clockStartNs + int64(time.Since(clockStart)) }

// A pacer wakes an event loop at fixed distances, to some ten microseconds:
// poll timeouts are milliseconds, too coarse to pace messages with. What is due
// at a wake-up is the loop's business; a wake-up that comes late finds several
// due.
type pacer struct{ stopped atomic.Bool }

// startPacer calls wake at startNs, startNs+intervalNs, ... until stop or
// endNs. It has its own thread.
func startPacer(startNs, intervalNs, endNs int64, wake func()) *pacer {
	p := &pacer{}
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with its slack of 1 ns
		unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		for due := startNs; due <= endNs && !p.stopped.Load(); {
			sleepUntil(due)
			wake()
			due += intervalNs
			if now := nowNs(); now > due {
				due += (now - due) / intervalNs * intervalNs
			}
		}
	}()
	return p
}

func (p *pacer) stop() { p.stopped.Store(true) }

// sleepUntil returns at ns on the monotonic clock or shortly after.
func sleepUntil(ns int64) {
	ts := unix.NsecToTimespec(ns)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}
