//go:build linux || darwin || freebsd

package netpolltest

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
)

// oneLoop is an engine with one loop that wakes for nothing but sockets and
// Wake: ticks would hide a Wake that was lost.
func oneLoop() netpoll.Config {
	cfg := testConfig()
	cfg.Loops = 1
	cfg.TickInterval = time.Hour
	return cfg
}

func testWakeCoalesces(t *testing.T, start startFunc) {
	var wakes atomic.Int64
	r := newRig(t, start, oneLoop(), hooks{wake: func(netpoll.Loop) bool {
		wakes.Add(1)
		return false
	}})
	conn, _ := r.open()
	var before int64
	r.on(0, func(l netpoll.Loop) {
		before = wakes.Load()
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for range 1000 {
					l.Wake()
				}
			})
		}
		callers.Wait()
	})
	// This OnWake and one more for all 8,000 calls.
	r.eventually("OnWake", func() bool { return wakes.Load() >= before+2 })
	for range 20 {
		r.wantEcho("a turn", conn)
	}
	if got := wakes.Load() - before; got != 2 {
		t.Errorf("8,000 calls of Wake led to %d calls of OnWake, want 1", got-1)
	}
	r.wantStats("wakes are counted", func(s netpoll.Stats) bool { return s.Wakes == uint64(wakes.Load()) })
}

func testWakeInsideOnWake(t *testing.T, start startFunc) {
	var left atomic.Int64
	r := newRig(t, start, oneLoop(), hooks{wake: func(l netpoll.Loop) bool {
		if left.Load() > 0 {
			left.Add(-1)
			l.Wake()
		}
		return false
	}})
	left.Store(1000)
	r.engine.Loops()[0].Wake()
	r.eventually("OnWake after each Wake inside OnWake", func() bool { return left.Load() == 0 })
}

// testWakeHammer looks for a Wake that is lost: each caller waits until the
// loop has seen its number, while the loop falls asleep and wakes up all the
// time.
func testWakeHammer(t *testing.T, start startFunc) {
	var posted, seen atomic.Int64
	r := newRig(t, start, oneLoop(), hooks{wake: func(netpoll.Loop) bool {
		seen.Store(posted.Load())
		return false
	}})
	loop := r.engine.Loops()[0]
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 5000 {
				ticket := posted.Add(1)
				loop.Wake()
				for limit := time.Now().Add(patience); seen.Load() < ticket; runtime.Gosched() {
					if time.Now().After(limit) {
						t.Errorf("Wake %d was lost", ticket)
						return
					}
				}
			}
		})
	}
	callers.Wait()
}

// testWakeYieldsToSockets: as long as OnWake asks to be called again it is, and
// the sockets of the same loop have their turns.
func testWakeYieldsToSockets(t *testing.T, start startFunc) {
	var busy atomic.Bool
	var wakes atomic.Int64
	r := newRig(t, start, oneLoop(), hooks{wake: func(netpoll.Loop) bool {
		wakes.Add(1)
		return busy.Load()
	}})
	conn, _ := r.open()
	busy.Store(true)
	r.engine.Loops()[0].Wake()
	for range 50 {
		before := wakes.Load()
		r.wantEcho("a connection beside a busy OnWake", conn)
		r.eventually("OnWake, which asked for it", func() bool { return wakes.Load() > before })
	}
	r.wantEcho("a newcomer beside a busy OnWake", r.dial(0))
	busy.Store(false)
	r.on(0, func(netpoll.Loop) {})
	for range 3 { // the function may have run just before its own Wake
		r.wantEcho("a turn", conn)
	}
	before := wakes.Load()
	for range 20 {
		r.wantEcho("a turn", conn)
	}
	if got := wakes.Load(); got != before {
		t.Errorf("OnWake was called %d times without need", got-before)
	}
}

// testWakeAfterClose: Wake after the engine's end does nothing; above all it does
// not write to a descriptor whose number another file has by now.
func testWakeAfterClose(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	r.on(0, func(netpoll.Loop) {})
	r.engine.Close()
	// These get the numbers that were the engine's.
	var pipes [50][2]int
	for i := range pipes {
		if err := syscall.Pipe(pipes[i][:]); err != nil {
			t.Fatal(err)
		}
		syscall.SetNonblock(pipes[i][0], true)
	}
	for range 100 {
		for _, l := range r.engine.Loops() {
			l.Wake()
		}
	}
	for _, p := range pipes {
		var b [1]byte
		if n, _ := syscall.Read(p[0], b[:]); n > 0 {
			t.Error("Wake wrote to a descriptor that is not the engine's any more")
		}
		syscall.Close(p[0])
		syscall.Close(p[1])
	}
}

// testWakeDuringClose: Wake may come at any time, and does not keep the engine
// from ending.
func testWakeDuringClose(t *testing.T, start startFunc) {
	for range 10 {
		r := newRig(t, start, testConfig(), hooks{wake: func(netpoll.Loop) bool { return true }})
		stopc := make(chan struct{})
		var callers sync.WaitGroup
		for _, l := range r.engine.Loops() {
			callers.Go(func() {
				for {
					select {
					case <-stopc:
						return
					default:
						l.Wake()
					}
				}
			})
		}
		r.engine.Close()
		close(stopc)
		callers.Wait()
	}
}

func testTicks(t *testing.T, start startFunc) {
	const ticks = 15
	cfg := testConfig()
	cfg.TickInterval = 20 * time.Millisecond
	var counts [2]atomic.Int64
	began := time.Now()
	r := newRig(t, start, cfg, hooks{tick: func(l netpoll.Loop) { counts[l.Index()].Add(1) }})
	r.eventually("ticks on each loop", func() bool {
		return counts[0].Load() >= ticks && counts[1].Load() >= ticks
	})
	// Each loop has its clock; the other one may be far behind on a busy machine.
	most := max(counts[0].Load(), counts[1].Load())
	if possible := int64(time.Since(began)/cfg.TickInterval) + 2; most > possible {
		t.Errorf("%d ticks, in this time there should be at most %d", most, possible)
	}
}

// testPanics: a panic ends the connection whose callback it was in, and no other.
func testPanics(t *testing.T, start startFunc) {
	type report struct {
		loop  int
		id    netpoll.ID
		value any
		stack []byte
	}
	var mu sync.Mutex
	var reports []report
	var where atomic.Value
	where.Store("")
	boom := func(callback string) {
		if where.CompareAndSwap(callback, "") {
			panic("boom in " + callback)
		}
	}
	cfg := testConfig()
	cfg.SendBufferBytes = 32 << 10
	cfg.OnPanic = func(loop int, id netpoll.ID, value any, stack []byte) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, report{loop, id, value, stack})
	}
	r := newRig(t, start, cfg, hooks{
		open: func(netpoll.Loop, netpoll.ID, uint64) { boom("OnOpen") },
		data: func(l netpoll.Loop, id netpoll.ID, p []byte) {
			boom("OnData")
			l.Write(id, p)
		},
		writable: func(netpoll.Loop, netpoll.ID) { boom("OnWritable") },
		close:    func(netpoll.Loop, netpoll.ID, error) { boom("OnClose") },
		wake:     func(netpoll.Loop) bool { boom("OnWake"); return false },
		tick:     func(netpoll.Loop) { boom("OnTick") },
	})
	bystander, _ := r.open()
	for i, callback := range []string{"OnOpen", "OnData", "OnWritable", "OnClose", "OnWake", "OnTick"} {
		var id netpoll.ID
		switch callback {
		case "OnOpen":
			where.Store(callback)
			conn, opened := r.open()
			id = opened
			r.wantEnd(callback, conn)
		case "OnData":
			conn, opened := r.open()
			id = opened
			where.Store(callback)
			conn.Write([]byte("x"))
			r.wantEnd(callback, conn)
		case "OnWritable":
			conn, opened := r.open()
			id = opened
			where.Store(callback)
			r.on(id.Loop(), func(l netpoll.Loop) { l.Write(id, pattern(8<<20)) })
			r.wantEnd(callback, conn)
		case "OnClose":
			conn, _ := r.open()
			where.Store(callback)
			conn.Close()
		case "OnWake":
			where.Store(callback)
			r.engine.Loops()[0].Wake()
		case "OnTick":
			where.Store(callback)
		}
		r.eventually(callback+": the panic is reported", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(reports) == i+1
		})
		got := reports[i]
		if got.value != "boom in "+callback || !strings.Contains(string(got.stack), "contract_loop_test.go") {
			t.Errorf("%s: OnPanic was told %v, stack:\n%s", callback, got.value, got.stack)
		}
		if id != 0 {
			r.wantClose(callback, id, netpoll.ErrClosed)
			if got.id != id || got.loop != id.Loop() {
				t.Errorf("%s: OnPanic was told of %v on loop %d, want %v", callback, got.id, got.loop, id)
			}
		}
		r.wantStats(callback, func(s netpoll.Stats) bool { return s.HandlerPanics == uint64(i+1) })
		r.wantEcho(callback+": a bystander", bystander)
		r.wantEcho(callback+": a newcomer", r.dial(0))
		for loop := range r.loops {
			r.on(loop, func(netpoll.Loop) {})
		}
	}
}
