package shard

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// freeLoop is a loop that costs nothing: every write is taken whole.
type freeLoop struct {
	writes int
	last   []byte // what was written last, valid until the next write
}

func (l *freeLoop) Index() int { return 0 }
func (l *freeLoop) Wake()      {}
func (l *freeLoop) Write(_ netpoll.ID, p []byte) (int, error) {
	l.writes++
	l.last = p
	return len(p), nil
}
func (l *freeLoop) WriteBatch(batch []netpoll.Outgoing) {
	for i := range batch {
		batch[i].N, batch[i].Err = l.Write(batch[i].ID, batch[i].P)
	}
}
func (l *freeLoop) Writev(_ netpoll.ID, bufs [][]byte) (n int, err error) {
	l.writes++
	for _, b := range bufs {
		n += len(b)
	}
	return n, nil
}
func (l *freeLoop) PauseRead(netpoll.ID)                 {}
func (l *freeLoop) ResumeRead(netpoll.ID)                {}
func (l *freeLoop) Close(netpoll.ID)                     {}
func (l *freeLoop) Abort(netpoll.ID)                     {}
func (l *freeLoop) Renew(netpoll.ID) netpoll.ID          { return 0 }
func (l *freeLoop) RemoteAddr(netpoll.ID) netip.AddrPort { return netip.AddrPort{} }
func (l *freeLoop) FD(netpoll.ID) int                    { return -1 }
func (l *freeLoop) Attach(int, uint64) error             { return netpoll.ErrTooManyConns }

// echoHooks echo.
type echoHooks struct{ rigHooks }

func (h *echoHooks) Message(s *Shard, id netpoll.ID, op frame.Opcode, p []byte) { s.Reply(id, op, p) }

// freeRig is a shard on a freeLoop with n open connections, all in "room".
func freeRig(t testing.TB, n int) (s *Shard, l *freeLoop, ids []netpoll.ID, now *time.Duration) {
	now = new(time.Duration)
	cfg := testConfig()
	cfg.Clock = func() time.Duration { return *now }
	s, l, ids = freeShard(t, cfg, n, "room", func(int) []byte {
		return []byte("GET /user HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	})
	if got := s.count.Get(counters.Subscriptions); got != int64(n) {
		t.Fatalf("%d of %d are in the room", got, n)
	}
	return s, l, ids, now
}

// freeShard is a shard on a freeLoop. Connection i opens with request(i), and all join
// the channel.
func freeShard(t testing.TB, cfg *Config, n int, channel string, request func(i int) []byte) (s *Shard, l *freeLoop, ids []netpoll.ID) {
	group := NewGroup(cfg.MaxConnections)
	l = &freeLoop{}
	s, err := New(cfg, group, l, &echoHooks{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Free)
	group.SetShards([]*Shard{s}, cfg.Hub)
	for i := range n {
		id := netpoll.MakeID(0, uint32(i), 1)
		ids = append(ids, id)
		s.OnOpen(id, 0)
		s.OnData(id, request(i))
		if err := s.Join(id, channel); err != nil {
			t.Fatal(err)
		}
	}
	s.OnWake()
	return s, l, ids
}

// The paths that every message, ping and delivery takes allocate nothing.
func TestAllocations(t *testing.T) {
	// More than one subscriber a delivery: what a publish itself allocates is
	// counted once for all of them.
	const subscribers = 400
	s, l, ids, now := freeRig(t, subscribers)
	message := frame.AppendMaskedFrame(nil, frame.OpText, [4]byte{1, 2, 3, 4}, make([]byte, 128))
	pong := frame.AppendMaskedFrame(nil, frame.OpPong, [4]byte{1, 2, 3, 4}, nil)
	ping := frame.AppendMaskedFrame(nil, frame.OpPing, [4]byte{1, 2, 3, 4}, []byte("?"))
	buf := make([]byte, 4096)
	receive := func(p []byte) {
		copy(buf, p)
		s.OnData(ids[0], buf[:len(p)])
	}
	half := len(message) / 2
	published := hub.NewMessage(frame.OpText, make([]byte, 128))
	for _, c := range []struct {
		name   string
		writes int // for each run
		run    func()
	}{
		{"echo of a small message", 1, func() { receive(message) }},
		{"echo of a message in two pieces", 1, func() { receive(message[:half]); receive(message[half:]) }},
		{"ping from the client", 1, func() { receive(ping) }},
		{"pong", 0, func() { receive(pong) }},
		{"delivery to a channel", subscribers, func() {
			_, _ = s.hub().Channel("room", published, nil)
			s.OnWake()
		}},
		{"delivery of three messages at once", subscribers, func() {
			for range 3 {
				_, _ = s.hub().Channel("room", published, nil)
			}
			s.OnWake()
		}},
		{"delivery to all", subscribers, func() {
			_ = s.hub().All(published, nil)
			s.OnWake()
		}},
		{"a tick with nothing due", 0, func() { *now += s.cfg.TickInterval / 100; s.OnTick() }},
	} {
		c.run() // what is kept and used again
		// A batch of several messages is one new run of bytes, which stalled
		// subscribers may keep.
		limit := 0.0
		if c.name == "delivery of three messages at once" {
			limit = 1
		}
		// What allocates does so every time. Under the race detector pools drop some of
		// what they are given, so one try may see that.
		const runs, tries = 20, 20
		allocs := limit + 1
		for try := 0; try < tries && allocs > limit; try++ {
			before := l.writes
			allocs = testing.AllocsPerRun(runs, c.run)
			if n := l.writes - before; n != c.writes*(runs+1) {
				t.Errorf("%s: %d writes in %d runs, want %d each", c.name, n, runs+1, c.writes)
			}
		}
		if allocs > limit {
			t.Errorf("%s: %v allocations, want %v", c.name, allocs, limit)
		}
	}

	// Every connection is pinged, and answers.
	const runs = 5
	sent := s.count.Get(counters.PingsSent)
	allocs := testing.AllocsPerRun(runs, func() {
		*now += s.cfg.PingInterval + time.Second
		s.OnTick()
		for _, id := range ids {
			copy(buf, pong)
			s.OnData(id, buf[:len(pong)])
		}
	})
	if n := s.count.Get(counters.PingsSent) - sent; n != subscribers*(runs+1) || allocs > 0 {
		t.Errorf("%d pings, want %d; %v allocations", n, subscribers*(runs+1), allocs)
	}
}
