//go:build linux || darwin || freebsd

package netpolltest

import (
	"syscall"
	"testing"

	"github.com/roostws/roost/netpoll"
)

// TestFakeLoopKeepsTheContract puts the referee of the contract test between
// the fake loop and a handler that acts at random, as the chaos
// part of the contract test does with sockets.
func TestFakeLoopKeepsTheContract(t *testing.T) {
	faults := Mischief()
	faults.SpuriousWritable, faults.SpuriousWake = 0, 0 // these the contract rules out
	for seed := range uint64(30) {
		l := NewLoop(Options{
			Seed: seed, Faults: faults, RoomBytes: 500, MaxConns: 20,
			OnPanic: func(_ int, _ netpoll.ID, value any, _ []byte) {
				if value != "chaos" {
					t.Errorf("seed %d: panic: %v", seed, value)
				}
			},
		})
		r := &rig{t: t, closed: make(map[netpoll.ID]error)}
		r.hooks = whims(l)
		l.Start(func(netpoll.Loop) netpoll.Handler {
			f := newReferee(r, l)
			f.handler = &rigHandler{rig: r, loop: f}
			return f
		})
		for range 300 {
			disturb(l)
			l.Turn()
		}
		l.Stop()
		for _, s := range r.rules.all() {
			t.Errorf("seed %d: %s", seed, s)
		}
		if len(r.opened) < 50 || len(r.closed) != len(r.opened) || l.Stats().Conns != 0 {
			t.Errorf("seed %d: %d opened, %d closed, %d left", seed, len(r.opened), len(r.closed), l.Stats().Conns)
		}
	}
}

// whims are hooks that do something by chance.
func whims(fake *FakeLoop) hooks {
	p := pattern(1000)
	act := func(l netpoll.Loop, id netpoll.ID, mayPanic bool) {
		rng := fake.Rand()
		if ids := fake.IDs(); rng.IntN(3) == 0 && len(ids) > 0 {
			id = ids[rng.IntN(len(ids))]
		}
		if rng.IntN(12) == 0 {
			l.Attach(3, netpoll.AttachTag)
		}
		whim(rng, l, id, p, mayPanic)
	}
	return hooks{
		open:     func(l netpoll.Loop, id netpoll.ID, _ uint64) { act(l, id, true) },
		data:     func(l netpoll.Loop, id netpoll.ID, _ []byte) { act(l, id, true) },
		writable: func(l netpoll.Loop, id netpoll.ID) { act(l, id, true) },
		close:    func(l netpoll.Loop, id netpoll.ID, _ error) { act(l, id, false) },
		wake:     func(l netpoll.Loop) bool { act(l, 0, true); return fake.Rand().IntN(3) == 0 },
	}
}

// disturb is what peers and kernel do between two turns.
func disturb(l *FakeLoop) {
	rng := l.Rand()
	if rng.IntN(3) == 0 {
		l.Open(uint64(rng.IntN(3)))
	}
	ids := l.IDs()
	if len(ids) == 0 {
		return
	}
	for range rng.IntN(5) {
		id := ids[rng.IntN(len(ids))]
		if l.Closed(id) {
			continue
		}
		switch rng.IntN(20) {
		case 0:
			l.PeerClose(id)
		case 1:
			l.PeerReset(id, syscall.ECONNRESET)
		case 2:
			l.FailNextWrite(id, syscall.EPIPE)
		case 3, 4, 5:
			l.Drain(id, rng.IntN(1000))
		case 6:
			l.SetRoom(id, rng.IntN(1000))
		default:
			l.Deliver(id, pattern(1+rng.IntN(200)))
		}
	}
}
