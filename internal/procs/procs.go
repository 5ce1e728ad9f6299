// Package procs accounts for the Ps of the Go scheduler that event loops occupy.
//
// A loop that waits for its sockets in a system call which the scheduler knows
// of gives its P away and has to get one back: the monitor thread of the runtime
// takes the P after 20 microseconds, wakes a thread to look for work, and both go
// to sleep again. With as many loops as Ps that costs more than the messages do.
// So a loop keeps its P during short waits, and the process gets one more P for
// each loop, so that all other goroutines have as many as before.
package procs

import (
	"runtime"
	"sync"
	"sync/atomic"
)

var (
	mu    sync.Mutex
	loops int // Guarded by mu: loops that run.
	added int // Guarded by mu: what Take has added to GOMAXPROCS.

	// spare is set while there are more Ps than loops. Atomic: any goroutine.
	spare atomic.Bool
)

// Take accounts for one more loop, and adds a P for it unless keep is set. Any
// goroutine.
func Take(keep bool) {
	mu.Lock()
	defer mu.Unlock()
	loops++
	if !keep {
		added++
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	look()
}

// Give undoes a Take with the same keep.
func Give(keep bool) {
	mu.Lock()
	defer mu.Unlock()
	loops--
	if !keep {
		added--
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1))
	}
	look()
}

// Look notices what the program itself has done to GOMAXPROCS meanwhile. Any
// goroutine.
func Look() {
	mu.Lock()
	defer mu.Unlock()
	look()
}

func look() { spare.Store(runtime.GOMAXPROCS(0) > loops) }

// Spare reports whether there are Ps beside those of the loops: only then may a
// loop keep its own while it waits. Any goroutine.
func Spare() bool { return spare.Load() }

// Own returns GOMAXPROCS without what Take has added. Any goroutine.
func Own() int {
	mu.Lock()
	defer mu.Unlock()
	return max(1, runtime.GOMAXPROCS(0)-added)
}
