//go:build linux || darwin || freebsd

package netpolltest

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
)

// testChaos lets clients and handlers act at random. The rules that the referee
// watches must hold, and all connections must end.
func testChaos(t *testing.T, start startFunc) {
	const clients, visits = 30, 20
	const seed = 1
	cfg := testConfig()
	cfg.TickInterval = time.Millisecond
	cfg.LingerTimeout = 20 * time.Millisecond
	cfg.SendBufferBytes = 16 << 10
	cfg.OnPanic = func(_ int, _ netpoll.ID, value any, _ []byte) {
		if value != "chaos" {
			t.Errorf("panic: %v", value)
		}
	}
	var calm atomic.Bool
	flood := pattern(300 << 10)
	mind := make([]*rand.Rand, cfg.Loops) // each its loop's
	for i := range mind {
		mind[i] = rand.New(rand.NewPCG(seed, uint64(i)))
	}
	known := make([][]netpoll.ID, cfg.Loops)
	act := func(l netpoll.Loop, id netpoll.ID, mayPanic bool) {
		if calm.Load() {
			return
		}
		rng := mind[l.Index()]
		if all := known[l.Index()]; rng.IntN(3) == 0 && len(all) > 0 {
			id = all[len(all)-1-rng.IntN(min(len(all), 50))] // another connection, which may have ended
		}
		whim(rng, l, id, flood, mayPanic)
	}
	r := newRig(t, start, cfg, hooks{
		open: func(l netpoll.Loop, id netpoll.ID, _ uint64) {
			known[l.Index()] = append(known[l.Index()], id)
			act(l, id, true)
		},
		data: func(l netpoll.Loop, id netpoll.ID, p []byte) {
			l.Write(id, p)
			act(l, id, true)
		},
		writable: func(l netpoll.Loop, id netpoll.ID) { act(l, id, true) },
		close:    func(l netpoll.Loop, id netpoll.ID, _ error) { act(l, id, false) },
		wake: func(l netpoll.Loop) bool {
			act(l, 0, false)
			return mind[l.Index()].IntN(4) == 0
		},
		tick: func(l netpoll.Loop) { act(l, 0, false) },
	})
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed+1, uint64(i)))
			for range visits {
				visit(t, r.engine.Addrs()[0], rng)
			}
		})
	}
	all.Wait()
	calm.Store(true)
	r.wantEcho("after the chaos", r.dial(0))
	// Those that were paused for good hear nothing of their peer's end.
	r.eventually("all connections end", func() bool {
		for loop := range r.loops {
			r.on(loop, func(l netpoll.Loop) {
				for _, id := range known[loop] {
					l.ResumeRead(id)
				}
			})
		}
		s := r.engine.Stats()
		return s.Conns <= 1 && s.Lingering == 0
	})
}

// whim does something by chance that a handler may do about a connection, which
// may have ended. p is what it writes parts of.
func whim(rng *rand.Rand, l netpoll.Loop, id netpoll.ID, p []byte, mayPanic bool) {
	switch rng.IntN(12) {
	case 0:
		l.Close(id)
	case 1:
		l.Abort(id)
	case 2:
		l.PauseRead(id)
	case 3, 4, 5:
		l.ResumeRead(id)
	case 6, 7:
		l.Write(id, p[:rng.IntN(len(p))])
	case 8:
		l.Writev(id, [][]byte{p[:10], p[:rng.IntN(len(p))]})
	case 9:
		l.Wake()
	case 10:
		if mayPanic {
			panic("chaos")
		}
	}
}

// visit is one client's connection, which ends in one way or another.
func visit(t *testing.T, addr net.Addr, rng *rand.Rand) {
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Errorf("Dial: %v", err)
		return
	}
	defer conn.Close()
	p := make([]byte, 50<<10)
	for range rng.IntN(6) {
		conn.SetDeadline(time.Now().Add(time.Duration(1+rng.IntN(10)) * time.Millisecond))
		if rng.IntN(2) == 0 {
			conn.Write(p[:1+rng.IntN(len(p)-1)])
		} else {
			io.ReadFull(conn, p[:1+rng.IntN(len(p)-1)])
		}
	}
	if rng.IntN(3) == 0 {
		reset(conn)
	}
}
