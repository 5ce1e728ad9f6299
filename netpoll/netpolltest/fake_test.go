package netpolltest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/roostws/roost/netpoll"
)

// scribe writes down what happens, echoes what it reads, and does what its
// fields say.
type scribe struct {
	loop    netpoll.Loop
	events  []string
	pending map[netpoll.ID][]byte
	echoed  map[netpoll.ID]int
	onOpen  func(id netpoll.ID)
	onData  func(id netpoll.ID, p []byte)
	onWake  func() bool
	onClose func(id netpoll.ID)
}

func newScribe(opts Options) (*FakeLoop, *scribe) {
	l := NewLoop(opts)
	s := &scribe{loop: l, pending: map[netpoll.ID][]byte{}, echoed: map[netpoll.ID]int{}}
	l.Start(func(netpoll.Loop) netpoll.Handler { return s })
	return l, s
}

func (s *scribe) note(format string, args ...any) {
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *scribe) OnOpen(id netpoll.ID, tag uint64) {
	s.note("open %d", tag)
	if s.onOpen != nil {
		s.onOpen(id)
	}
}

func (s *scribe) OnData(id netpoll.ID, p []byte) {
	s.note("data %s", p)
	if s.onData != nil {
		s.onData(id, p)
		return
	}
	s.pending[id] = append(s.pending[id], p...)
	s.flush(id)
}

// flush writes what is pending unless a short write is waiting for its
// OnWritable.
func (s *scribe) flush(id netpoll.ID) {
	p := s.pending[id]
	if len(p) == 0 || s.echoed[id] < 0 {
		return
	}
	n, err := s.loop.Write(id, p)
	if err != nil {
		return
	}
	s.pending[id] = p[n:]
	if n < len(p) {
		s.echoed[id] = -1
	}
}

func (s *scribe) OnWritable(id netpoll.ID) {
	s.note("writable")
	s.echoed[id] = 0
	s.flush(id)
}

func (s *scribe) OnClose(id netpoll.ID, err error) {
	s.note("close %v", err)
	if s.onClose != nil {
		s.onClose(id)
	}
}

func (s *scribe) OnWake() bool {
	s.note("wake")
	return s.onWake != nil && s.onWake()
}

func (s *scribe) OnTick() { s.note("tick") }

func (s *scribe) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(s.events, want) {
		t.Fatalf("events\n got %q\nwant %q", s.events, want)
	}
	s.events = nil
}

func TestFakeLoopTurn(t *testing.T) {
	l, s := newScribe(Options{})
	id := l.Open(7)
	s.want(t, "open 7")
	l.Deliver(id, []byte("one"))
	l.Wake()
	l.Wake()
	s.want(t)
	if more := l.Turn(); more {
		t.Errorf("Turn() = true, want nothing left to do")
	}
	s.want(t, "data one", "wake")
	if got := l.Received(id); string(got) != "one" {
		t.Errorf("Received = %q, want %q", got, "one")
	}
	l.Tick()
	s.want(t, "tick")
	l.PeerClose(id)
	l.Turn()
	s.want(t, "close EOF")
	if !l.Closed(id) || l.Stats().Conns != 0 {
		t.Errorf("Closed = %v, Conns = %d, want true, 0", l.Closed(id), l.Stats().Conns)
	}
}

func TestFakeLoopShortWrite(t *testing.T) {
	l, s := newScribe(Options{RoomBytes: 2})
	id := l.Open(0)
	l.Deliver(id, []byte("abcdef"))
	l.Settle(10)
	s.want(t, "open 0", "data abcdef")
	if got := l.Unread(id); got != 2 {
		t.Fatalf("Unread = %d, want 2", got)
	}
	l.Drain(id, 1)
	l.Turn()
	s.want(t, "writable")
	l.SetRoom(id, -1)
	l.Turn()
	s.want(t, "writable")
	if got := l.Received(id); string(got) != "abcdef" {
		t.Errorf("Received = %q, want abcdef", got)
	}
	if v := l.Violations(); len(v) != 0 {
		t.Errorf("violations: %v", v)
	}
}

func TestFakeLoopEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(l *FakeLoop, s *scribe, id netpoll.ID)
		want string
		peer PeerSees
	}{
		{"close", func(l *FakeLoop, s *scribe, id netpoll.ID) { l.Close(id) }, "close netpoll: connection closed", PeerSeesEOF},
		{"abort", func(l *FakeLoop, s *scribe, id netpoll.ID) { l.Abort(id) }, "close netpoll: connection closed", PeerSeesReset},
		{"peer close", func(l *FakeLoop, s *scribe, id netpoll.ID) { l.PeerClose(id) }, "close EOF", PeerSeesEOF},
		{"peer reset", func(l *FakeLoop, s *scribe, id netpoll.ID) { l.PauseRead(id); l.PeerReset(id, syscall.ECONNRESET) },
			"close connection reset by peer", PeerSeesReset},
		{"write error", func(l *FakeLoop, s *scribe, id netpoll.ID) {
			l.FailNextWrite(id, syscall.EPIPE)
			if n, err := l.Write(id, []byte("x")); n != 0 || err != syscall.EPIPE {
				panic(fmt.Sprint(n, err))
			}
		}, "close broken pipe", PeerSeesReset},
		{"stop", func(l *FakeLoop, s *scribe, id netpoll.ID) { l.Stop() }, "close netpoll: engine closed", PeerSeesEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, s := newScribe(Options{})
			id := l.Open(0)
			s.onClose = func(netpoll.ID) {
				if n, err := l.Write(id, []byte("late")); n != 0 || err != netpoll.ErrClosed {
					t.Errorf("Write in OnClose = %d, %v, want 0, ErrClosed", n, err)
				}
			}
			tt.end(l, s, id)
			l.Turn()
			s.want(t, "open 0", tt.want)
			if got := l.PeerSees(id); got != tt.peer {
				t.Errorf("PeerSees = %v, want %v", got, tt.peer)
			}
		})
	}
}

func TestFakeLoopReusesSlotsLastFreedFirst(t *testing.T) {
	l, s := newScribe(Options{})
	a, b := l.Open(0), l.Open(0)
	l.Close(a)
	l.Close(b)
	l.Turn()
	c := l.Open(0)
	if c.Slot() != b.Slot() || c.Generation() == b.Generation() {
		t.Fatalf("after %v, %v came %v, want the slot of %v in a new generation", a, b, c, b)
	}
	s.events = nil
	l.Close(b)
	l.Abort(b)
	l.PauseRead(b)
	l.ResumeRead(b)
	if _, err := l.Write(b, []byte("x")); err != netpoll.ErrClosed || l.FD(b) != -1 || l.RemoteAddr(b).IsValid() {
		t.Errorf("a stale ID still does something: Write says %v, FD %d, RemoteAddr %v", err, l.FD(b), l.RemoteAddr(b))
	}
	l.Turn()
	s.want(t)
	if got := len(l.Violations(StaleID)); got != 7 {
		t.Errorf("%d stale uses recorded, want 7", got)
	}
}

func TestFakeLoopSeesMistakes(t *testing.T) {
	l, s := newScribe(Options{RoomBytes: 1})
	id := l.Open(0)
	l.Write(id, []byte("ab"))
	l.Write(id, []byte("b"))
	l.Close(netpoll.MakeID(0, 9, 1))
	if err := l.Attach(3, 1); err == nil {
		t.Error("Attach with a listener's tag was not refused")
	}
	var kept []byte
	s.onData = func(_ netpoll.ID, p []byte) { kept = p }
	l.Deliver(id, []byte("secret"))
	l.Turn()
	if strings.Contains(string(kept), "secret") {
		t.Error("a kept buffer was not overwritten")
	}
	s.onData = func(netpoll.ID, []byte) { panic("boom") }
	l.Deliver(id, []byte("x"))
	l.Turn()
	for _, kind := range []ViolationKind{WriteWhileFull, UnknownID, BadTag, Panicked} {
		if got := len(l.Violations(kind)); got != 1 {
			t.Errorf("%d violations of kind %q, want 1", got, kind)
		}
	}
	if !l.Closed(id) || l.Stats().HandlerPanics != 1 {
		t.Errorf("after a panic: closed %v, panics %d, want true, 1", l.Closed(id), l.Stats().HandlerPanics)
	}
}

// TestFakeLoopMischief: whatever the faults, every byte is echoed, in order, and
// the same seed does the same.
func TestFakeLoopMischief(t *testing.T) {
	run := func(seed uint64) []string {
		l, s := newScribe(Options{Seed: seed, Faults: Mischief(), RoomBytes: 100})
		want := map[netpoll.ID][]byte{}
		for i := range 20 {
			id := l.Open(uint64(i))
			for len(want[id]) < 1000 {
				p := bytes.Repeat([]byte{byte('a' + l.Rand().IntN(26))}, 1+l.Rand().IntN(50))
				want[id] = append(want[id], p...)
				l.Deliver(id, p)
				l.Turn()
			}
		}
		l.Attach(1, netpoll.AttachTag+1)
		for busy := true; busy; {
			busy = l.Turn()
			for id := range want {
				busy = l.Drain(id, 1000) > 0 || busy
			}
		}
		for id, w := range want {
			if got := l.Received(id); !bytes.Equal(got, w) {
				t.Fatalf("seed %d: %v received %d bytes, want %d (or they differ)", seed, id, len(got), len(w))
			}
			l.Close(id)
			l.PeerReset(id, io.ErrUnexpectedEOF)
		}
		l.Turn()
		l.Turn()
		if got := l.Stats().Conns; got != 1 {
			t.Fatalf("seed %d: %d connections, want the attached one", seed, got)
		}
		if v := l.Violations(StaleID, UnknownID, Panicked, BadTag); len(v) != 0 {
			t.Fatalf("seed %d: %v", seed, v)
		}
		return s.events
	}
	for seed := range uint64(20) {
		if a, b := run(seed), run(seed); !slices.Equal(a, b) {
			t.Fatalf("seed %d ran in two ways", seed)
		}
	}
}
