package shard

import (
	"bytes"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
)

// TestNewcomersGetNothingOld: what was published before a connection opened is
// not for it, however far behind the loop is.
func TestNewcomersGetNothingOld(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.FanoutSlice = 1 })
	s := r.shards[0]
	toUser := func(text string) {
		_, err := r.pub.User("ann", hub.NewMessage(frame.OpText, []byte(text)), nil)
		r.check(err)
	}
	old := r.open(0, "ann")
	r.check(s.Join(old, "room"))
	r.settle()

	toUser("one")
	r.check(r.publish("room", "two"))
	r.check(r.pub.All(hub.NewMessage(frame.OpText, []byte("to all")), nil))
	l := r.loops[0] // the request is there before the loop looks at its inbox
	young := l.Open(0)
	l.Deliver(young, []byte("GET /ann HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	r.check(s.Join(young, "room"))
	toUser("three")
	r.settle()
	r.want(old, "one", "two", "to all", "three")
	_, got, _ := bytes.Cut(l.TakeReceived(young), []byte("\r\n\r\n"))
	if want := frame.AppendFrame(nil, frame.OpText, []byte("three")); !bytes.Equal(got, want) {
		t.Errorf("the newcomer got %q, want %q", got, want)
	}
}

// TestLeavingConnectionsAreNotListed: a connection that is to be closed when it has
// what was published before is in no list, and none that is closing.
func TestLeavingConnectionsAreNotListed(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.shards[0]
	listed := func() (n [3]int) {
		for i, list := range []func(func(netpoll.ID) bool){
			func(f func(netpoll.ID) bool) { s.UserMembers("ann", f) },
			func(f func(netpoll.ID) bool) { s.Members("room", f) },
			s.All,
		} {
			list(func(id netpoll.ID) bool { n[i]++; return true })
		}
		return n
	}
	id := r.open(0, "ann")
	r.check(s.Join(id, "room"))
	r.settle()
	r.loops[0].SetRoom(id, 0)
	r.check(r.publish("room", "behind this"))
	r.settle()
	r.check(r.publish("room", "and this"))
	r.settle()
	if got := listed(); got != [3]int{1, 1, 1} {
		t.Errorf("listed %v, want once in each", got)
	}
	r.check(s.Close(id, frame.CloseGoingAway, "bye"))
	r.settle()
	if c, ok := s.find(id); !ok || c.state != stateOpen || s.Stays(id) {
		t.Errorf("it has not got everything: want it open, and leaving")
	}
	if got := listed(); got != [3]int{} {
		t.Errorf("listed %v while it leaves, want nowhere", got)
	}
	r.loops[0].SetRoom(id, -1)
	r.settle()
	if c, _ := s.find(id); c.state != stateClosing {
		t.Errorf("state %d, want closing", c.state)
	}
	if got := listed(); got != [3]int{} {
		t.Errorf("listed %v while it closes, want nowhere", got)
	}
}

// TestNextPollIsANewcomer: what was published before is not for the next request of a
// connection that was kept.
func TestNextPollIsANewcomer(t *testing.T) {
	r := newRig(t, 1, nil)
	s, l := r.shards[0], r.loops[0]
	id := l.Open(0)
	l.Deliver(id, []byte("GET /poll/ann?hello HTTP/1.1\r\nHost: x\r\n\r\n"))
	r.settle()
	if got := l.TakeReceived(id); !bytes.HasSuffix(got, []byte("\r\n\r\n[hello]")) {
		t.Fatalf("got %q", got)
	}
	c := s.in(id.Slot())
	if c.state != stateKept || c.id == id {
		t.Fatalf("state %d, ID %v", c.state, c.id)
	}
	if before := (&job{opened: id.Generation()}); !c.openedAfter(before) || c.openedAfter(&job{opened: s.opened}) {
		t.Errorf("generation %d, opened before %d and now %d", c.generation, before.opened, s.opened)
	}
}

// TestDrainBehindResponse: a connection that has its response when the server begins to
// stop ends, and does not wait for another request.
func TestDrainBehindResponse(t *testing.T) {
	r := newRig(t, 1, nil)
	s, l := r.shards[0], r.loops[0]
	id := l.Open(0)
	r.settle()
	s.OnData(id, []byte("GET /poll/ann?hello HTTP/1.1\r\nHost: x\r\n\r\n"))
	if c, _ := s.find(id); c.state != stateAnswered {
		t.Fatalf("state %d, want answered", c.state)
	}
	s.BeginDrain(frame.CloseGoingAway, "bye", 0, 0)
	r.settle()
	if got := l.TakeReceived(id); !bytes.HasSuffix(got, []byte("\r\n\r\n[hello]")) {
		t.Errorf("got %q", got)
	}
	if !l.Closed(id) || s.slots.used != 0 {
		t.Errorf("%d connections are left", s.slots.used)
	}
}

// TestKeptConnectionsEnd: a connection without a request stays for a minute, or until
// somebody else needs its place.
func TestKeptConnectionsEnd(t *testing.T) {
	for name, full := range map[string]bool{"after a minute": false, "for a newcomer": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, func(c *Config) {
				if full {
					c.MaxConnections = 1
				}
			})
			s, l := r.shards[0], r.loops[0]
			id := l.Open(0)
			l.Deliver(id, []byte("GET /poll/ann?hello HTTP/1.1\r\nHost: x\r\n\r\n"))
			r.settle()
			if c := s.in(id.Slot()); c.state != stateKept {
				t.Fatalf("state %d, want kept", c.state)
			}
			stays := 55 * time.Second
			if full {
				stays = s.cfg.TickInterval
			}
			r.advance(stays)
			if l.Closed(id) {
				t.Fatalf("it is closed after %v", stays)
			}
			if r.advance(10 * time.Second); !l.Closed(id) {
				t.Error("it stays")
			}
		})
	}
}
