package shard

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/netpolltest"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// rig is a group of shards on polite fake loops.
type rig struct {
	t      *testing.T
	now    time.Duration
	group  *Group
	pub    *hub.Hub
	loops  []*netpolltest.FakeLoop
	shards []*Shard
	hooks  *rigHooks
	peer   netip.AddrPort // the other end of every connection
}

// peerLoop tells the rig's peer instead of the system's.
type peerLoop struct {
	netpoll.Loop
	rig *rig
}

func (l peerLoop) RemoteAddr(netpoll.ID) netip.AddrPort { return l.rig.peer }

// rigHooks echoes, and publishes what begins with a channel and a colon.
type rigHooks struct {
	fallbackHooks
	rig    *rig
	closed []Closed
	failed []error
}

func (h *rigHooks) Upgrade(_ *Shard, u *Upgrade) {
	u.Grant.User = pathUser(u)
}
func (h *rigHooks) Open(*Shard, netpoll.ID, *Grant) {}
func (h *rigHooks) Message(s *Shard, id netpoll.ID, op frame.Opcode, p []byte) {
	if channel, text, ok := strings.Cut(string(p), ":"); ok {
		if _, err := h.rig.pub.Channel(channel, hub.NewMessage(op, []byte(text)), nil); err != nil {
			h.failed = append(h.failed, err)
		}
		s.HoldPublisher(id)
		return
	}
	s.Reply(id, op, p)
}
func (h *rigHooks) Closed(_ *Shard, _ netpoll.ID, c Closed)                { h.closed = append(h.closed, c) }
func (h *rigHooks) Reset(*Shard, netpoll.ID, string, history.Position)     {}
func (h *rigHooks) Gap(*Shard, netpoll.ID, string, string, uint64, uint64) {}
func (h *rigHooks) Tick(*Shard)                                            {}
func (h *rigHooks) Expired(*Shard, netpoll.ID)                             {}
func (h *rigHooks) Closing(*Shard, netpoll.ID, frame.CloseCode, string)    {}
func (h *rigHooks) Occupied(*Shard, string, bool)                          {}
func (h *rigHooks) Joined(*Shard, netpoll.ID, string, history.Position)    {}
func (h *rigHooks) Left(*Shard, netpoll.ID, string)                        {}
func (h *rigHooks) OpFailed(_ *Shard, _ netpoll.ID, _ string, err error) {
	h.failed = append(h.failed, err)
}
func (h *rigHooks) ServesHTTP() bool                      { return false }
func (h *rigHooks) HTTP(*Shard, netpoll.ID, []byte) error { return nil }

func newRig(t *testing.T, shards int, adjust func(c *Config)) *rig {
	r := &rig{t: t}
	cfg := testConfig()
	cfg.Clock = func() time.Duration { return r.now }
	if adjust != nil {
		adjust(cfg)
	}
	r.group = NewGroup(cfg.MaxConnections)
	r.hooks = &rigHooks{rig: r}
	for i := range shards {
		l := netpolltest.NewLoop(netpolltest.Options{Index: i})
		l.Start(func(l netpoll.Loop) netpoll.Handler {
			s, err := New(cfg, r.group, peerLoop{l, r}, r.hooks)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Free)
			r.shards = append(r.shards, s)
			return s
		})
		r.loops = append(r.loops, l)
	}
	r.pub = r.group.SetShards(r.shards, cfg.Hub)
	return r
}

// open connects and upgrades a client on a loop.
func (r *rig) open(loop int, user string) netpoll.ID {
	r.t.Helper()
	l := r.loops[loop]
	id := l.Open(0)
	l.Deliver(id, []byte("GET /"+user+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	r.settle()
	if got := string(l.TakeReceived(id)); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
		r.t.Fatalf("the upgrade was answered %q", got)
	}
	return id
}

func (r *rig) settle() {
	r.t.Helper()
	for range 1000 {
		busy := false
		for _, l := range r.loops {
			busy = l.Turn() || busy
		}
		for _, l := range r.loops {
			busy = busy || l.Awake() // the other one may have woken it
		}
		if !busy {
			return
		}
	}
	r.t.Fatal("the loops do not come to rest")
}

// advance lets time pass, tick by tick.
func (r *rig) advance(d time.Duration) {
	for end := r.now + d; r.now < end; {
		r.now += 250 * time.Millisecond
		for _, l := range r.loops {
			l.Tick()
			l.Turn()
		}
	}
}

func (r *rig) say(id netpoll.ID, op frame.Opcode, text string) {
	r.loops[id.Loop()].Deliver(id, frame.AppendMaskedFrame(nil, op, [4]byte{1, 2, 3, 4}, []byte(text)))
}

// received are the payloads of the frames that a client got, by opcode.
func (r *rig) received(id netpoll.ID) (got []string) {
	r.t.Helper()
	var d frame.Decoder
	d.Reset(&frame.DecoderConfig{MaxMessageBytes: 1 << 20})
	for p := r.loops[id.Loop()].TakeReceived(id); len(p) > 0; {
		m, n, err := d.Next(p)
		if err != nil {
			r.t.Fatal(err)
		}
		if p = p[n:]; m.Opcode == 0 {
			break
		}
		prefix := ""
		if m.Opcode.IsControl() {
			prefix = m.Opcode.String() + " "
		}
		got = append(got, prefix+string(m.Payload))
	}
	return got
}

func (r *rig) want(id netpoll.ID, want ...string) {
	r.t.Helper()
	if got := r.received(id); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("client %v got %q, want %q", id, got, want)
	}
}

func (r *rig) publish(channel, text string) error {
	_, err := r.pub.Channel(channel, hub.NewMessage(frame.OpText, []byte(text)), nil)
	return err
}

func (r *rig) check(errs ...error) {
	r.t.Helper()
	for _, err := range errs {
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestInbox(t *testing.T) {
	var b inbox
	for round := range 3 {
		for i := range 5000 {
			if !b.put(op{kind: opJoin, id: netpoll.ID(i), name: "room"}) {
				t.Fatal("an open inbox refused")
			}
		}
		if b.entries.Load() != 5000 || b.bytes.Load() != 5000*(opBytes+4) {
			t.Fatalf("round %d: %d entries, %d bytes", round, b.entries.Load(), b.bytes.Load())
		}
		ops := b.take()
		for i := range ops {
			if ops[i].id != netpoll.ID(i) {
				t.Fatalf("round %d: entry %d is %d", round, i, ops[i].id)
			}
		}
		if len(ops) != 5000 || b.entries.Load() != 0 || b.bytes.Load() != 0 || len(b.take()) != 0 {
			t.Fatalf("round %d: %d taken, %d entries and %d bytes left", round, len(ops), b.entries.Load(), b.bytes.Load())
		}
	}
	for range 2 { // there are two arrays
		for range 100 {
			b.put(op{kind: opJoin})
		}
		b.take()
	}
	if b.rest(); cap(b.taken) < 64 || cap(b.ops) < 64 {
		t.Error("arrays were given up that were just used")
	}
	if b.rest(); b.taken != nil || b.ops != nil {
		t.Errorf("a quiet inbox keeps arrays of %d and %d entries", cap(b.taken), cap(b.ops))
	}
	b.put(op{kind: opLeave})
	if left := b.shut(); len(left) != 1 || b.put(op{}) {
		t.Errorf("shut answered %d entries, and then one was taken", len(left))
	}
}

// What has left the inbox and is not fanned out yet counts against the bounds,
// in number and in bytes.
func TestBoundsHoldForTheFanOut(t *testing.T) {
	for name, adjust := range map[string]func(c *Config){
		"entries": func(c *Config) { c.InboxMaxEntries = 10 },
		"bytes":   func(c *Config) { c.InboxMaxBytes = 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, func(c *Config) { adjust(c); c.FanoutSlice = 1 })
			var ids []netpoll.ID
			for range 50 {
				id := r.open(0, "u")
				r.check(r.shards[0].Join(id, "room"))
				ids = append(ids, id)
			}
			r.settle()
			taken := 0
			for ; taken < 1000; taken++ {
				if err := r.publish("room", strings.Repeat("x", 200)); err != nil {
					if !errors.Is(err, hub.ErrBusy) {
						t.Fatal(err)
					}
					break
				}
				r.loops[0].Turn() // one write of the fifty that each message needs
			}
			if taken > 20 {
				t.Errorf("%d messages were taken", taken)
			}
			if err := r.shards[0].Send(ids[0], hub.NewMessage(frame.OpText, nil)); !errors.Is(err, hub.ErrBusy) {
				t.Errorf("Send: %v", err)
			}
			r.settle()
			for _, id := range ids {
				if got := r.received(id); len(got) != taken {
					t.Errorf("client %v got %d of %d", id, len(got), taken)
				}
			}
			r.check(r.publish("room", "again"))
			if n := r.shards[0].jobs.frames.Load(); n != 0 {
				t.Errorf("%d frames are still counted", n)
			}
		})
	}
}

// Joins and leaves while a fan-out is half way: who stays gets everything once.
func TestMembershipDuringFanOut(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.FanoutSlice = 2 })
	var ids []netpoll.ID
	for range 9 {
		id := r.open(0, "u")
		r.check(r.shards[0].Join(id, "room"))
		ids = append(ids, id)
	}
	r.settle()
	r.check(r.publish("room", "one"))
	r.loops[0].Turn() // two are served
	late := r.shards[0]
	r.check(late.Leave(ids[0], "room"), late.Leave(ids[8], "room"), late.Leave(ids[4], "room"), r.publish("room", "two"))
	r.loops[0].Turn()
	newcomer := ids[0]
	r.check(late.Join(newcomer, "room"), r.publish("room", "three"))
	r.settle()
	for i, id := range ids {
		switch i {
		case 0:
			r.want(id, "one", "three")
		case 4, 8:
			r.want(id)
		default:
			r.want(id, "one", "two", "three")
		}
	}
}

// The shard that catches up wakes those that hold publishers.
func TestResumePublishersWakesTheOthers(t *testing.T) {
	r := newRig(t, 2, func(c *Config) { c.PublishPauseBytes = 1000; c.FanoutSlice = 1 })
	publisher := r.open(0, "p")
	var readers []netpoll.ID
	for range 4 {
		id := r.open(1, "r")
		r.check(r.shards[1].Join(id, "room"))
		readers = append(readers, id)
	}
	r.settle()
	text := strings.Repeat("x", 600)
	for range 6 {
		r.say(publisher, frame.OpText, "room:"+text)
	}
	for range 20 {
		r.loops[0].Turn() // the other loop is busy elsewhere
	}
	if n := r.shards[0].count.Get(counters.PublishersHeld); n != 1 || r.group.held.Load() != 1 {
		t.Fatalf("held %d times, %d at the moment", n, r.group.held.Load())
	}
	if backlog := r.shards[1].backlog(); backlog > 3000 {
		t.Errorf("the backlog is %d bytes", backlog)
	}
	for r.group.held.Load() > 0 && !r.loops[0].Awake() {
		if !r.loops[1].Turn() && !r.loops[0].Awake() {
			t.Fatal("loop 1 is done, and loop 0 was not woken")
		}
	}
	r.settle()
	for _, id := range readers {
		if got := r.received(id); len(got) != 6 {
			t.Errorf("reader %v got %d of 6", id, len(got))
		}
	}
	if r.group.held.Load() != 0 || r.shards[0].count.Get(counters.Paused) != 0 || len(r.hooks.failed) > 0 {
		t.Errorf("held %d, paused %d, errors %v", r.group.held.Load(), r.shards[0].count.Get(counters.Paused), r.hooks.failed)
	}
}

// A listener that says nothing but pongs is pinged every PingInterval.
func TestPingPeriod(t *testing.T) {
	for _, c := range []struct{ ping, pong time.Duration }{{45 * time.Second, 20 * time.Second}, {10 * time.Second, 20 * time.Second}} {
		r := newRig(t, 1, func(cfg *Config) { cfg.PingInterval, cfg.PongTimeout = c.ping, c.pong })
		id := r.open(0, "u")
		last, count := time.Duration(0), 0
		for r.now < 10*c.ping {
			r.advance(250 * time.Millisecond)
			if got := r.received(id); len(got) > 0 {
				if silence := r.now - last; silence > c.ping+time.Second {
					t.Errorf("ping %v, pong %v: pinged after %v of silence", c.ping, c.pong, silence)
				}
				r.say(id, frame.OpPong, "")
				r.settle()
				last, count = r.now, count+1
			}
		}
		if count < 9 || count > 11 {
			t.Errorf("ping %v, pong %v: %d pings in ten intervals", c.ping, c.pong, count)
		}
		// Silent from now on: it ends PongTimeout after its ping.
		r.advance(c.ping + c.pong + 2*time.Second)
		if len(r.hooks.closed) != 1 || r.hooks.closed[0].Err != ErrPongTimeout {
			t.Errorf("it ended with %+v", r.hooks.closed)
		}
	}
}

// Who was stalled when the ping was due was not pinged, and owes no pong.
func TestStalledConnectionOwesNoPong(t *testing.T) {
	r := newRig(t, 1, nil) // ping 20 s, pong 10 s, stall 30 s
	id := r.open(0, "u")
	r.advance(9 * time.Second)
	r.loops[0].SetRoom(id, 0)
	r.check(r.shards[0].Send(id, hub.NewMessage(frame.OpText, []byte("waits"))))
	r.advance(13 * time.Second) // the ping was due
	r.loops[0].SetRoom(id, -1)
	r.settle()
	r.want(id, "waits")
	r.advance(11 * time.Second)
	if len(r.hooks.closed) > 0 {
		t.Fatalf("it ended with %+v", r.hooks.closed)
	}
	r.want(id, "ping ")
}

// The closing handshake has CloseTimeout, whatever else was due soon.
func TestCloseHasItsTime(t *testing.T) {
	r := newRig(t, 1, nil) // close 5 s
	id := r.open(0, "u")
	for s := r.shards[0]; s.deadlines.tick+1 < s.deadlines.Rows[id.Slot()]; { // until a ping is due next
		r.advance(250 * time.Millisecond)
	}
	r.check(r.shards[0].Close(id, frame.CloseNormal, ""))
	r.settle()
	r.advance(4500 * time.Millisecond)
	if len(r.hooks.closed) > 0 {
		t.Fatalf("it ended with %+v after 4.5 s", r.hooks.closed)
	}
	r.say(id, frame.OpClose, "\x03\xe8")
	r.settle()
	if len(r.hooks.closed) != 1 || r.shards[0].count.Get(counters.CloseTimeouts) != 0 {
		t.Errorf("it ended with %+v", r.hooks.closed)
	}
}

// When the last one has left, the tables are given back.
func TestTrim(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.shards[0]
	var ids []netpoll.ID
	for i := range 500 {
		id := r.open(0, fmt.Sprint("user", i))
		r.check(s.Join(id, fmt.Sprint("room", i)))
		ids = append(ids, id)
	}
	r.settle()
	for _, id := range ids {
		r.loops[0].PeerClose(id)
	}
	r.settle()
	r.advance(time.Second)
	if s.slots.high != 0 || len(s.rare.rows) != 1 || s.members.subs.n != 0 || len(s.members.channels) != 1 || len(s.users.chunks) != 0 {
		t.Errorf("high %d, %d exts, %d subs, %d channels, %d users", s.slots.high, len(s.rare.rows), s.members.subs.n, len(s.members.channels), len(s.users.chunks))
	}
	for i, sl := range s.slots.Rows[:600] {
		if sl != (slot{}) || s.deadlines.Rows[i] != 0 {
			t.Fatalf("slot %d is not clear: %+v", i, sl)
		}
	}
	id := r.open(0, "again")
	r.say(id, frame.OpText, "hello")
	r.settle()
	r.want(id, "hello")
}
