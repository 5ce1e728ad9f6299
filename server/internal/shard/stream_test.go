package shard

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/wire"
)

// fallbackHooks serve event streams and polls of raw messages: GET /sse/USER?TEXT or
// /poll/USER?TEXT, and what the query says is a message.
type fallbackHooks struct{}

func (*fallbackHooks) Fallback(r *handshake.Request) *Fallback {
	if strings.HasPrefix(string(r.Path), "/poll/") {
		return &Fallback{Kind: wire.Poll, Methods: "GET"}
	}
	if strings.HasPrefix(string(r.Path), "/sse/") {
		return &Fallback{Kind: wire.EventStream, Methods: "GET, HEAD, OPTIONS"}
	}
	return nil
}

func (*fallbackHooks) Commands(r *handshake.Request, _ *Fallback, body []byte) (Said, error) {
	text, err := url.QueryUnescape(string(r.RawQuery))
	said := Said{Lines: append([]byte(text), body...), Cursor: string(r.Get("Last-Event-ID"))}
	if string(r.Get("Prefer")) == "wait=20" {
		said.Wait = 20 * time.Second
	}
	return said, err
}

func (*fallbackHooks) Settled(netpoll.ID) bool { return true }

func (*fallbackHooks) Busy(dst []byte, _ int, _ time.Duration) []byte { return append(dst, "busy"...) }

// pathUser is the user that a test's request names.
func pathUser(u *Upgrade) string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(string(u.Request.Path), "/"), "sse/"), "poll/")
}

// stream opens an event stream.
func (r *rig) stream(loop int, user, query string) netpoll.ID {
	r.t.Helper()
	l := r.loops[loop]
	id := l.Open(0)
	l.Deliver(id, []byte("GET /sse/"+user+"?"+url.QueryEscape(query)+" HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n"))
	r.settle()
	return id
}

const streamHead = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n"

// blocks are what a client has got of its stream, without the head.
func (r *rig) blocks(id netpoll.ID) string {
	r.t.Helper()
	got := string(r.loops[id.Loop()].TakeReceived(id))
	if head, body, ok := strings.Cut(got, "\r\n\r\n"); ok && strings.HasPrefix(head, "HTTP/1.1 ") {
		if !strings.HasPrefix(head, strings.TrimSuffix(streamHead, "\r\n")) || !strings.Contains(head, "\r\nVary: Origin\r\nAccess-Control-Allow-Origin: http://x\r\n") {
			r.t.Errorf("the head is %q", head)
		}
		retry, rest, _ := strings.Cut(body, "\n")
		if !strings.HasPrefix(retry, "retry: ") || !strings.HasPrefix(rest, "\n: ok\n\n") {
			r.t.Errorf("the stream begins with %q", body)
		}
		return strings.TrimPrefix(rest, "\n: ok\n\n")
	}
	return got
}

func (r *rig) wantBlocks(id netpoll.ID, want string) {
	r.t.Helper()
	r.settle()
	if got := r.blocks(id); got != want {
		r.t.Fatalf("got %q, want %q", got, want)
	}
}

// streams is how many event streams are counted.
func (r *rig) streams() int64 {
	var sum counters.Sum
	r.group.AddTo(&sum)
	return sum[counters.EventStreams]
}

// An event stream's life: what its request says is carried out, then it gets what a
// WebSocket gets, and is told why it ends.
func TestEventStream(t *testing.T) {
	r := newRig(t, 1, nil)
	id, ws := r.stream(0, "ann", "one\ntwo\n"), r.open(0, "bob")
	s, l := r.shards[0], r.loops[0]
	r.wantBlocks(id, "data: one\n\ndata: two\n\n")
	if n := r.streams(); n != 1 {
		t.Errorf("%d event streams are counted", n)
	}
	r.check(s.Join(id, "room"), s.Join(ws, "room"))
	r.settle()
	r.check(r.publish("room", "a"), r.publish("room", "b\nc\r\nd\re"))
	r.wantBlocks(id, "data: a\n\ndata: b\ndata: c\ndata: d\ndata: e\n\n")
	r.want(ws, "a", "b\nc\r\nd\re")
	l.Deliver(id, []byte("what it sends behind its request counts for nothing\n"))
	r.wantBlocks(id, "")

	l.SetRoom(id, 14) // the socket takes one block and a part of the next
	r.check(r.publish("room", "three"), r.publish("room", "four"))
	r.settle()
	r.check(r.publish("room", "five"))
	r.settle()
	l.SetRoom(id, -1)
	r.wantBlocks(id, "data: three\n\ndata: four\n\ndata: five\n\n")

	r.check(s.Close(id, frame.CloseGoingAway, "enough; retry=1500"))
	r.wantBlocks(id, "retry: 1500\nevent: close\ndata: {\"code\":1001,\"reason\":\"enough\",\"retry\":1.5}\n\n")
	if l.PeerSees(id) == 0 {
		t.Error("the stream goes on after its end")
	}
	if n := r.streams(); n != 0 {
		t.Errorf("%d event streams are counted at the end", n)
	}
}

// A silent stream gets a comment now and then and needs no answer; idle it may be as
// long as it likes.
func TestEventStreamPing(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.PingInterval, c.IdleTimeout = time.Minute, 90*time.Second })
	id := r.stream(0, "ann", "")
	r.wantBlocks(id, "")
	r.advance(5 * time.Minute)
	if r.loops[0].Closed(id) {
		t.Fatalf("closed: %+v", r.hooks.closed)
	}
	got := string(r.loops[0].TakeReceived(id))
	if n := strings.Count(got, ":\n\n"); n < 11 || n > 13 || len(got) != 3*n {
		t.Errorf("got %q in five minutes, want a comment every 25 s", got)
	}
}

// Requests that no stream follows.
func TestEventStreamRefused(t *testing.T) {
	for _, test := range []struct{ name, request, want string }{
		{"another method", "PUT /sse/a HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 "},
		{"another origin", "GET /sse/a HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\n\r\n", "HTTP/1.1 403 "},
		{"two origins", "GET /sse/a HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nOrigin: http://y\r\n\r\n", "HTTP/1.1 400 "},
		{"bad query", "GET /sse/a?%zz HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n", "HTTP/1.1 500 "},
		{"HEAD", "HEAD /sse/a HTTP/1.1\r\nHost: x\r\n\r\n", streamHead + "Date: "},
		{"preflight", "OPTIONS /sse/a HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nAccess-Control-Request-Method: GET\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\nAllow: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, 1, nil)
			id := r.loops[0].Open(0)
			r.loops[0].Deliver(id, []byte(test.request))
			r.settle()
			got := string(r.loops[0].Received(id))
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			readable := !strings.Contains(test.name, "origin") && strings.Contains(test.request, "Origin")
			if strings.Contains(got, "\r\nAccess-Control-Allow-Origin: http://x\r\n") != readable {
				t.Errorf("a page can read the response: want %v: %q", readable, got)
			}
			if r.loops[0].PeerSees(id) == 0 || len(r.hooks.closed) > 0 {
				t.Error("the connection stays, or was opened")
			}
		})
	}
}

// Replies of one request repeat no ID: a client's old positions may be long.
func TestEventStreamRepeatsNoID(t *testing.T) {
	r := newRig(t, 1, nil)
	id := r.loops[0].Open(0)
	r.loops[0].Deliver(id, []byte("GET /sse/ann?one%0Atwo%0Athree HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nLast-Event-ID: old@e.5\r\n\r\n"))
	r.wantBlocks(id, "id: old@e.5\ndata: one\n\ndata: two\n\ndata: three\n\n")
}

// A server without room says so in a way that a page can read.
func TestEventStreamBusy(t *testing.T) {
	r := newRig(t, 1, nil)
	r.shards[0].BeginDrain(frame.CloseGoingAway, "bye", 0, 0)
	r.settle()
	id := r.stream(0, "ann", "")
	got := string(r.loops[0].Received(id))
	if !strings.HasPrefix(got, streamHead) || !strings.HasSuffix(got, "\r\n\r\ndata: busy\n\nretry: 1000\nevent: close\ndata: {\"code\":1013,\"reason\":\"the server is full or stopping\",\"retry\":1}\n\n") {
		t.Errorf("got %q", got)
	}
}

// freeStreams is a shard on a freeLoop with n event streams of different users, all in
// "h:x", which has history. If users' channels have, too, no two streams have the same
// IDs.
func freeStreams(t testing.TB, n int, users bool) (s *Shard, l *freeLoop, ids []netpoll.ID) {
	cfg := testConfig()
	ns := &hub.Namespace{Messages: 10, Age: time.Hour}
	cfg.Hub.Namespaces = map[string]*hub.Namespace{"h": ns}
	if users {
		cfg.Hub.Namespaces["user"] = ns
	}
	cfg.Hub.HistoryMaxBytes, cfg.Hub.LagMaxBytes = 1<<20, 1<<20
	return freeShard(t, cfg, n, "h:x", func(i int) []byte {
		return fmt.Appendf(nil, "GET /sse/user%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
	})
}

// An event costs no allocation for each of its receivers, and an idle stream nothing
// beside its row.
func TestEventStreamAllocations(t *testing.T) {
	const subscribers = 400
	for _, users := range []bool{false, true} {
		s, l, ids := freeStreams(t, subscribers, users)
		for _, id := range ids {
			if c, _ := s.find(id); c.extRow() != 0 {
				t.Fatal("an idle stream has rare state")
			}
		}
		run := func() {
			if _, err := s.hub().Channel("h:x", hub.NewMessage(frame.OpText, make([]byte, 128)), nil); err != nil {
				t.Fatal(err)
			}
			s.OnWake()
		}
		before := l.writes
		allocs := testing.AllocsPerRun(20, run)
		if n := l.writes - before; n != 21*subscribers {
			t.Errorf("%d writes, want %d", n, 21*subscribers)
		}
		if allocs > 20 { // of the message itself, and its encoding
			t.Errorf("users %v: %v allocations for %d deliveries", users, allocs, subscribers)
		}
	}
}

// The IDs of streams that are in one channel with history only are the same, and made
// once.
func BenchmarkEventStreamDelivery(b *testing.B) {
	const subscribers = 400
	for name, users := range map[string]bool{"same": false, "own": true} {
		b.Run(name, func(b *testing.B) {
			s, _, _ := freeStreams(b, subscribers, users)
			for b.Loop() {
				_, _ = s.hub().Channel("h:x", hub.NewMessage(frame.OpText, make([]byte, 128)), nil)
				s.OnWake()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers), "ns/delivery")
		})
	}
}
