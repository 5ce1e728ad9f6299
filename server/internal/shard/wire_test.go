package shard

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/wire"
)

// lines is another wire, for tests: a message is a line, and so is a ping (".") and
// the end ("bye CODE"). What arrives is lines, too.
type lines struct{}

const linesKind = wire.Free

func init() { wire.Register(linesKind, lines{}) }

func (lines) AppendMessage(dst []byte, _ frame.Opcode, payload []byte) []byte {
	return append(append(dst, payload...), '\n')
}

func (lines) Unit(run []byte, off int) (start, end int) {
	start = bytes.LastIndexByte(run[:off], '\n') + 1
	return start, off + bytes.IndexByte(run[off:], '\n') + 1
}

func (lines) Ping() []byte { return []byte(".\n") }

func (lines) PingIsAnswered() bool { return true }

func (lines) AppendClose(dst []byte, code frame.CloseCode, reason string) []byte {
	return append(dst, "bye "+reason+"\n"...)
}

func (lines) CloseIsAnswered() bool { return false }

func (lines) Next(_ *frame.Decoder, p []byte) (m frame.Message, n int, err error) {
	if n = bytes.IndexByte(p, '\n') + 1; n == 0 {
		return m, 0, nil
	}
	return frame.Message{Opcode: frame.OpText, Payload: p[:n-1]}, n, nil
}

// openLines opens a connection that speaks lines once it is open.
func (r *rig) openLines() netpoll.ID {
	r.t.Helper()
	id := r.open(0, "u")
	c, _ := r.shards[0].find(id)
	c.setKind(linesKind)
	return id
}

// A second wire gets what WebSocket gets: messages, replies and pings; the rest of a
// unit that was cut and what was missed; the end.
func TestAnotherWire(t *testing.T) {
	r := newRig(t, 1, nil)
	id, ws := r.openLines(), r.open(0, "w")
	s, l := r.shards[0], r.loops[0]
	r.check(s.Join(id, "room"), s.Join(ws, "room"))
	r.settle()
	want := func(want string) {
		t.Helper()
		r.settle()
		if got := string(l.TakeReceived(id)); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}

	r.check(r.publish("room", "one"), r.publish("room", "two"))
	want("one\ntwo\n")
	l.Deliver(id, []byte("hello\nagain\n"))
	want("hello\nagain\n")

	l.SetRoom(id, 8) // the socket takes one unit and a part of the next
	r.check(r.publish("room", "three"), r.publish("room", "four"))
	r.settle()
	r.check(r.publish("room", "five"))
	r.settle()
	if n := l.Unread(id); n != 8 {
		t.Fatalf("a socket with room for 8 bytes took %d", n)
	}
	l.SetRoom(id, -1)
	want("three\nfour\nfive\n")
	r.want(ws, "one", "two", "three", "four", "five")

	r.advance(s.cfg.PingInterval + time.Second)
	if got := string(l.TakeReceived(id)); !strings.HasPrefix(got, ".\n") {
		t.Fatalf("got %q, want a ping", got)
	}
	r.check(s.Close(id, frame.CloseGoingAway, "enough"))
	want("bye enough\n")
	if !l.Closed(id) {
		t.Error("the connection waits for an answer to its end")
	}
}

// A slow consumer's last unit begins where another one ends.
func TestAnotherWireSlowConsumer(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.PendingMaxBytes = 20; c.SlowDrop = false })
	id := r.openLines()
	s, l := r.shards[0], r.loops[0]
	l.SetRoom(id, 3)
	for range 5 {
		r.check(s.Send(id, hub.NewMessage(frame.OpText, []byte("0123456789"))))
	}
	r.settle()
	l.SetRoom(id, -1)
	r.settle()
	if got, want := string(l.TakeReceived(id)), "0123456789\nbye "+slowReason+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
