package handshake

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func benchPolicy() *Policy {
	return &Policy{
		Subprotocols: []string{"chat", "chat.v2"},
		Negotiate:    func([]byte) string { return "permessage-deflate" },
	}
}

// opened is the whole of what a loop does for one connection.
func opened(tb testing.TB, head []byte, r *Request, p *Policy, out []byte) []byte {
	n := HeadEnd(head, 0)
	if err := Parse(head[:n], r); err != nil {
		tb.Fatal(err)
	}
	res, err := Upgrade(r, p)
	if err != nil {
		tb.Fatal(err)
	}
	out, err = AppendResponse(out[:0], &res, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func TestOpeningAllocatesNothing(t *testing.T) {
	var r Request
	out := make([]byte, 0, 512)
	allowed, err := AllowOrigins("https://*.example.com", "same-host", "http://localhost:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range realHeads {
		for _, origins := range []OriginPolicy{SameHost(), AllowAll(), allowed} {
			p := benchPolicy()
			p.Origins = origins
			head := []byte(c.head)
			if n := testing.AllocsPerRun(20, func() { out = opened(t, head, &r, p, out) }); n != 0 {
				t.Errorf("%s: %v allocations", c.name, n)
			}
		}
	}
}

func TestRefusingAllocatesNothing(t *testing.T) {
	var r Request
	out := make([]byte, 0, 1024)
	p := benchPolicy()
	for _, c := range hostileHeads {
		head := []byte(c.head)
		n := testing.AllocsPerRun(20, func() {
			err := Parse(head, &r)
			if err == nil {
				_, err = Upgrade(&r, p)
			}
			out = AppendError(out[:0], err, Envelope{})
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func TestTurningAwayAllocatesNothing(t *testing.T) {
	out := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(20, func() {
		out = AppendUnavailable(out[:0], 5*time.Second, Envelope{})
		out = AppendTooManyRequests(out[:0], 5*time.Second, Envelope{})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResponseHeadersAllocateNothing(t *testing.T) {
	out := make([]byte, 0, 512)
	extra := []Header{{"X-A-Name-Of-More-Than-Thirty-Two-Bytes", "and a value of more than thirty-two bytes"}}
	if n := testing.AllocsPerRun(20, func() {
		out, _ = AppendResponse(out[:0], &Result{Subprotocol: "chat"}, extra, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkOpen compares the two ways to open a WebSocket from a head that is
// in memory: ours, and the head fed to gobwas/ws's Upgrader after HeadEnd and
// Parse (which it cannot do without: it checks too little) and alone.
func BenchmarkOpen(b *testing.B) {
	for _, c := range realHeads {
		// A long head, one with a subprotocol, a short one.
		client, _, _ := strings.Cut(c.name, " ")
		if client != "Chromium" && client != "Firefox" && client != "npm" {
			continue
		}
		head := []byte(c.head)
		b.Run("client="+client+"/lean", func(b *testing.B) {
			var r Request
			p := benchPolicy()
			out := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				out = opened(b, head, &r, p, out)
			}
		})
		b.Run("client="+client+"/parse+gobwas", func(b *testing.B) {
			var r Request
			b.ReportAllocs()
			bc := newBenchConn(head)
			for b.Loop() {
				n := HeadEnd(head, 0)
				if err := Parse(head[:n], &r); err != nil {
					b.Fatal(err)
				}
				if _, err := Upgrade(&r, bc.policy); err != nil {
					b.Fatal(err)
				}
				bc.upgrade(b)
			}
		})
		b.Run("client="+client+"/gobwas", func(b *testing.B) {
			b.ReportAllocs()
			bc := newBenchConn(head)
			for b.Loop() {
				bc.upgrade(b)
			}
		})
	}
}

type benchConn struct {
	memConn
	head     []byte
	upgrader ws.Upgrader
	policy   *Policy
}

func newBenchConn(head []byte) *benchConn {
	c := &benchConn{head: head, policy: &Policy{}}
	c.upgrader.WriteBufferSize = 512
	c.upgrader.Protocol = func(p []byte) bool { return string(p) == "chat" || string(p) == "chat.v2" }
	c.out.Grow(512)
	return c
}

func (c *benchConn) upgrade(b *testing.B) {
	c.in.Reset(c.head)
	c.out.Reset()
	if _, err := c.upgrader.Upgrade(&c.memConn); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkParts(b *testing.B) {
	head := []byte(realHeads[0].head)
	var r Request
	if err := Parse(head, &r); err != nil {
		b.Fatal(err)
	}
	p := benchPolicy()
	res, err := Upgrade(&r, p)
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, 512)
	b.Run("HeadEnd", func(b *testing.B) {
		b.SetBytes(int64(len(head)))
		for b.Loop() {
			HeadEnd(head, 0)
		}
	})
	b.Run("HeadEnd/64KiB", func(b *testing.B) {
		long := bytes.Repeat([]byte("x"), 64<<10)
		b.SetBytes(int64(len(long)))
		for b.Loop() {
			HeadEnd(long, 0)
		}
	})
	b.Run("Parse", func(b *testing.B) {
		b.SetBytes(int64(len(head)))
		for b.Loop() {
			Parse(head, &r)
		}
	})
	b.Run("Upgrade", func(b *testing.B) {
		for b.Loop() {
			Upgrade(&r, p)
		}
	})
	b.Run("AppendResponse", func(b *testing.B) {
		for b.Loop() {
			out, _ = AppendResponse(out[:0], &res, nil, nil)
		}
	})
}
