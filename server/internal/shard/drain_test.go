package shard

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// drainRig is a rig with n open connections, and a hole in its table.
func drainRig(t *testing.T, n int) (r *rig, ids []netpoll.ID) {
	r = newRig(t, 1, func(c *Config) { c.After = func(time.Duration, func()) {} }) // ticks do
	for range n + 10 {
		ids = append(ids, r.open(0, "ann"))
	}
	for _, id := range ids[:10] {
		r.loops[0].PeerClose(id)
	}
	r.settle()
	return r, ids[10:]
}

// told counts those whose client was told to go.
func (r *rig) told(ids []netpoll.ID) (n int) {
	for _, id := range ids {
		if c, ok := r.shards[0].find(id); !ok || c.state != stateOpen {
			n++
		}
	}
	return n
}

// A drain closes evenly over its time. Connections before their moment are served as
// ever, and newcomers are not.
func TestDrainPace(t *testing.T) {
	r, ids := drainRig(t, 100)
	s, l := r.shards[0], r.loops[0]
	s.BeginDrain(frame.CloseGoingAway, "bye", 10*time.Second, time.Second)
	r.settle()
	for second := 1; second < 10; second++ {
		r.advance(time.Second)
		r.settle()
		if n := r.told(ids); n < second*10-3 || n > second*10 {
			t.Fatalf("after %d of 10 s, %d of 100 are closed", second, n)
		}
		if second != 5 {
			continue
		}
		last := ids[99]
		l.Deliver(last, frame.AppendMaskedFrame(nil, frame.OpText, [4]byte{1, 2, 3, 4}, []byte("still here")))
		r.settle()
		r.want(last, "still here")
		young := l.Open(0)
		l.Deliver(young, []byte("GET /ann HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
		r.settle()
		if got := string(l.TakeReceived(young)); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "\r\nRetry-After: ") {
			t.Errorf("a newcomer got %q", got)
		}
	}
	r.advance(time.Second)
	r.settle()
	if n := r.told(ids); n != 100 {
		t.Errorf("after 10 s, %d of 100 are closed", n)
	}
	for _, id := range ids {
		if got := l.TakeReceived(id); !bytes.Contains(got, []byte("bye; retry=")) {
			t.Fatalf("a client was told %q", got)
		}
	}
	r.advance(drainPatience + s.cfg.TickInterval)
	r.settle()
	if s.slots.used != 0 {
		t.Errorf("%d connections whose clients say nothing are left a second later", s.slots.used)
	}
}

// A client that reads nothing of what was published for it is told and cut in its turn.
func TestDrainEndsSlowOnes(t *testing.T) {
	r, ids := drainRig(t, 1)
	s := r.shards[0]
	for _, id := range ids {
		r.check(s.Join(id, "room"))
		r.settle()
		r.loops[0].SetRoom(id, 0)
	}
	for range 3 {
		r.check(r.publish("room", "behind this"))
		r.settle()
	}
	s.BeginDrain(frame.CloseGoingAway, "bye", 0, 0)
	r.settle()
	if c, ok := s.find(ids[0]); !ok || c.state != stateOpen || c.flags&flagLagging == 0 {
		t.Fatal("it does not lag: the test shows nothing")
	}
	r.advance(3 * drainPatience)
	r.settle()
	if s.slots.used != 0 {
		t.Errorf("%d connections are left", s.slots.used)
	}
}
