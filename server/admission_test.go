package server_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// silence opens n connections that say nothing, or text, until the test ends.
func silence(t *testing.T, addr net.Addr, n int, text string) (conns []net.Conn) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, text) // one that was thrown out may fail
		conns = append(conns, conn)
	}
	return conns
}

// half is the beginning of a request.
const half = "GET / HTTP/1.1\r\n"

// Beyond HandshakesMax a request in pieces waits, unread, until a place is free;
// one in one piece does not.
func TestHandshakesMax(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Sockets: server.Sockets{DeferAccept: -1}, Limits: server.Limits{HandshakesMax: 3}, Timeouts: server.Timeouts{HandshakeTimeout: 5 * time.Minute},
			Handler: server.Handler{Message: echo}})
		slow := silence(t, s.Addrs()[0], 3, half)
		silence(t, s.Addrs()[0], 3, "") // they need no place
		received := func(n int) bool { return statsOf(s).Get("bytes_received") == int64(n*len(half)) }
		eventually(t, "all places are taken", func() bool { return received(3) })
		waits := connect(t, s)
		waits.Put(half)
		eventually(t, "it waits", func() bool { return statsOf(s).Get("handshakes_queued") == 1 })
		rest := strings.TrimPrefix(wstest.Upgrade(), wstest.Upgrade()[:strings.Index(wstest.Upgrade(), "\r\n")+2])
		waits.Put(rest + wstest.Masked(ws.OpText, "wstest.Patience"))
		good := upgraded(t, s)
		good.Send("in one piece")
		good.Want("in one piece")
		if got := statsOf(s); got.Get("opened") != 1 || got.Get("handshakes_queued") != 1 {
			t.Fatalf("%d upgraded, %d queued, want 1 and 1", got.Get("opened"), got.Get("handshakes_queued"))
		}
		_ = slow[1].Close()
		waits.WantStatus(101)
		waits.WantFrame(ws.OpText, "wstest.Patience")
		// Who is upgraded has given its place back.
		before := statsOf(s).Get("bytes_received")
		silence(t, s.Addrs()[0], 1, half)
		eventually(t, "it is taken again", func() bool { return statsOf(s).Get("bytes_received") == before+int64(len(half)) })
		if got := statsOf(s); got.Get("handshakes_queued") != 1 || got.Get("handshakes_evicted") != 0 {
			t.Errorf("HandshakesQueued = %d, HandshakesEvicted = %d, want 1 and 0", got.Get("handshakes_queued"), got.Get("handshakes_evicted"))
		}
	})
}

// So does a plain request whose body comes in pieces, also where its head came
// in one.
func TestBodiesTakePlaces(t *testing.T) {
	s := start(t, server.Config{Engine: server.Engine{Loops: 1}, Sockets: server.Sockets{DeferAccept: -1}, Limits: server.Limits{HandshakesMax: 1},
		Timeouts: server.Timeouts{HandshakeTimeout: 5 * time.Minute}, HTTP: http.HandlerFunc(testHTTP)})
	const head = "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
	first := connect(t, s)
	first.Put(head + "he")
	eventually(t, "the place is taken", func() bool { return statsOf(s).Get("bytes_received") == int64(len(head)+2) })
	next := connect(t, s)
	next.Put(head + "w")
	eventually(t, "the next one waits", func() bool { return statsOf(s).Get("handshakes_queued") == 1 })
	next.Put("orld")
	first.Put("llo")
	wantBody(t, first.WantStatus(201), `POST /form  "hello" <nil>`)
	wantBody(t, next.WantStatus(201), `POST /form  "world" <nil>`)
}

// Who keeps the others waiting has to make room, long before its time is over.
func TestHandshakesMakeRoom(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Sockets: server.Sockets{DeferAccept: -1}, Limits: server.Limits{HandshakesMax: 1}, Timeouts: server.Timeouts{HandshakeTimeout: 16 * time.Second},
			Handler: server.Handler{Message: echo}})
		slow := newClient(t, silence(t, s.Addrs()[0], 1, half)[0])
		eventually(t, "the place is taken", func() bool { return statsOf(s).Get("bytes_received") > 0 })
		next := connect(t, s)
		next.Put(wstest.Upgrade()[:30])
		eventually(t, "the next one waits", func() bool { return statsOf(s).Get("handshakes_queued") == 1 })
		next.Put(wstest.Upgrade()[30:])
		slow.WantStatus(408)
		next.WantStatus(101)
		if n := statsOf(s).Get("handshakes_evicted"); n != 1 {
			t.Errorf("HandshakesEvicted = %d, want 1", n)
		}
	})
}

// Where all connections are taken, those that say nothing make room.
func TestSilentOnesMakeRoom(t *testing.T) {
	t.Parallel()
	s := start(t, server.Config{Engine: server.Engine{Loops: 1}, Sockets: server.Sockets{DeferAccept: -1}, Limits: server.Limits{MaxConnections: 4}, Timeouts: server.Timeouts{HandshakeTimeout: 16 * time.Second}, Handler: server.Handler{Message: echo}})
	good := upgraded(t, s)
	silence(t, s.Addrs()[0], 3, "")
	eventually(t, "all are taken", func() bool { return statsOf(s).Get("accepted") == 4 })
	eventually(t, "and free again", func() bool { return statsOf(s).Get("handshakes_evicted") == 3 })
	upgraded(t, s)
	good.Send("still here")
	good.Want("still here")
}

// Who waits in vain is told to come back.
func TestHandshakesQueueTimeout(t *testing.T) {
	t.Parallel()
	s := start(t, server.Config{Engine: server.Engine{Loops: 1}, Limits: server.Limits{HandshakesMax: 1}, Timeouts: server.Timeouts{HandshakeTimeout: 2 * time.Second}, Sockets: server.Sockets{DeferAccept: -1}})
	conns := silence(t, s.Addrs()[0], 30, half)
	statuses := map[int]int{}
	for _, conn := range conns {
		c := newClient(t, conn)
		_ = c.SetDeadline(time.Now().Add(wstest.Patience))
		r, err := c.Response(http.MethodGet)
		if err != nil {
			t.Fatal(err)
		}
		if statuses[r.StatusCode]++; r.StatusCode == 503 {
			wantHeader(t, r, "Retry-After", "5")
		}
	}
	// Each has the place for half a second, two or three of them the whole time.
	if statuses[503] == 0 || statuses[408] == 0 || statuses[503]+statuses[408] != len(conns) {
		t.Errorf("answers %v, want 408 for those who had a place, 503 for the others", statuses)
	}
}

// clientHello is what begins a TLS handshake.
func clientHello() string {
	ours, theirs := net.Pipe()
	go func() {
		_ = tls.Client(theirs, &tls.Config{InsecureSkipVerify: true}).Handshake() // ends with ours
		_ = theirs.Close()
	}()
	p := make([]byte, 4096)
	n, _ := ours.Read(p)
	_ = ours.Close()
	return string(p[:n])
}

// A storm of TLS handshakes and requests that stop half-way, and of connections
// that say nothing, keeps nobody from talking, and nobody from coming in.
func TestHandshakeStorm(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		const storm, tlsMax = 300, 8
		s := start(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Limits: server.Limits{HandshakesMax: 64, TLSHandshakesMax: tlsMax}, Timeouts: server.Timeouts{HandshakeTimeout: 16 * time.Second}, Sockets: server.Sockets{DeferAccept: -1},
			Listen: []string{"127.0.0.1:0"}, ListenTLS: []string{"127.0.0.1:0"},
			TLS:     &tls.Config{Certificates: []tls.Certificate{certificate(t)}},
			Handler: server.Handler{Message: echo}})
		plain, secure := s.Addrs()[0], s.Addrs()[1]
		talker := &client{wstest.Connect(t, plain)}
		talker.Put(wstest.Upgrade())
		talker.WantStatus(101)
		hello := clientHello()
		for i := range storm {
			silence(t, secure, 1, hello)
			silence(t, plain, 1, "")
			silence(t, plain, 1, half)
			if i%3 == 0 {
				talker.Send(strconv.Itoa(i))
				talker.Want(strconv.Itoa(i))
			}
			if i%20 != 0 {
				continue
			}
			stacks := make([]byte, 4<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			if n := strings.Count(string(stacks), "shard.(*tlsConn).run("); n > tlsMax+1 { // one may just be ending
				t.Fatalf("%d goroutines for TLS handshakes, want at most %d", n, tlsMax)
			}
		}
		eventually(t, "the storm has come", func() bool { return statsOf(s).Get("accepted") == 3*storm+1 })
		newcomer := &client{wstest.Connect(t, plain)}
		newcomer.Put(wstest.Upgrade())
		newcomer.WantStatus(101)
		talker.Send("over")
		talker.Want("over")
		if got := statsOf(s); got.Get("handshakes_queued") == 0 || got.Get("tls_handshakes_queued") == 0 {
			t.Errorf("HandshakesQueued = %d, TLSHandshakesQueued = %d, want many", got.Get("handshakes_queued"), got.Get("tls_handshakes_queued"))
		}
	})
}

// A connection of the address beyond its rate is told when to come back, and may.
func TestConnectRatePerAddress(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{ConnectRatePerAddress: 2}, Handler: server.Handler{Message: echo}})
		good := upgraded(t, s)
		eventually(t, "too many a second", func() bool {
			c := connect(t, s)
			c.Put(wstest.Upgrade())
			return c.Status() == 429
		})
		eventually(t, "another second", func() bool {
			time.Sleep(100 * time.Millisecond) // each attempt is told to wait longer, and costs nothing
			c := connect(t, s)
			c.Put(wstest.Upgrade())
			return c.Status() == 101
		})
		if n := statsOf(s).Get("refused_address_rate"); n == 0 {
			t.Error("RefusedAddressRate = 0, want more")
		}
		good.Send("still here")
		good.Want("still here")
	})
}

// Behind proxies it is the client's own rate.
func TestConnectRateBehindProxies(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{ConnectRatePerAddress: 1}, Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}}})
	eventually(t, "too many a second", func() bool {
		c := connect(t, s)
		c.Put(wstest.Upgrade("X-Forwarded-For: 203.0.113.7"))
		r, err := c.Response(http.MethodGet)
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != 429 {
			return false
		}
		if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 120 {
			t.Errorf("Retry-After: %q", r.Header.Get("Retry-After"))
		}
		return true
	})
	for i := range 20 {
		c := connect(t, s)
		c.Put(wstest.Upgrade("X-Forwarded-For: 198.51.100." + strconv.Itoa(i)))
		c.WantStatus(101)
	}
}

// Newcomers beyond the rate wait, and come in in the order in which they came. Those
// beyond the queue are told when to come back: not all at the same moment.
func TestAdmission(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Sockets: server.Sockets{DeferAccept: -1}, Limits: server.Limits{AdmitRate: 10, AdmitQueueMax: 5},
			Timeouts: server.Timeouts{HandshakeTimeout: 5 * time.Minute}, Handler: server.Handler{Message: echo}})
		good := upgraded(t, s)
		var clients []*client
		var came []time.Time
		begun := time.Now()
		for i := range 200 {
			c := connect(t, s)
			clients = append(clients, c)
			eventually(t, "it is accepted", func() bool { return statsOf(s).Get("accepted") == int64(2+i) })
			came = append(came, time.Now())
			c.Put(wstest.Upgrade())
		}
		good.Send("still here")
		good.Want("still here")
		took := time.Since(begun)
		var moments []time.Time // when those that are refused are to come back
		var latest time.Duration
		for i, c := range clients {
			r, err := c.Response(http.MethodGet)
			if err != nil {
				t.Fatal(err)
			}
			if r.StatusCode == 101 {
				continue
			}
			if r.StatusCode != 503 {
				t.Fatalf("a newcomer got %d", r.StatusCode)
			}
			seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
			if err != nil {
				t.Fatal(err)
			}
			after := time.Duration(seconds) * time.Second
			moments, latest = append(moments, came[i].Add(after)), max(latest, after)
		}
		refused := len(moments)
		if refused == 0 {
			t.Fatalf("200 newcomers in %v, and none is refused", took)
		}
		// A tenth of a second each comes in; the others have an eighth of a second each when they
		// come back, in whole seconds.
		all := time.Duration(refused) * time.Second / 8
		span := moments[refused-1].Sub(moments[0])
		if least := 200 - int(took/(100*time.Millisecond)) - 20; refused < least || span < all-2*time.Second || latest > all+3*time.Second {
			t.Errorf("%d are refused in %v, want at least %d; they come back over %v, want %v; the latest after %v", refused, took, least, span, all, latest)
		}
		st := statsOf(s)
		if st.Get("admission_refused") != int64(refused) || st.Get("admission_queued") < 5 || st.Get("admission_waiting") != 0 || st.Get("paused") != 0 {
			t.Errorf("AdmissionRefused = %d of %d, AdmissionQueued = %d, AdmissionWaiting = %d, Paused = %d", st.Get("admission_refused"), refused, st.Get("admission_queued"), st.Get("admission_waiting"), st.Get("paused"))
		}
		eventually(t, "those that were refused are gone", func() bool { return statsOf(s).Get("engine_lingering") == 0 })
	})
}

// One that waits costs no memory of ours but its row, and leaves nothing when it goes.
func TestAdmissionOfThoseThatLeave(t *testing.T) {
	s := start(t, server.Config{Engine: server.Engine{Loops: 1}, Sockets: server.Sockets{DeferAccept: -1}, Limits: server.Limits{AdmitRate: 20}, Handler: server.Handler{Message: echo}})
	conns := silence(t, s.Addrs()[0], 60, "")
	eventually(t, "all are there", func() bool { return statsOf(s).Get("accepted") == 60 })
	for _, conn := range conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	c := connect(t, s)
	c.Put(wstest.Upgrade())
	c.WantStatus(101) // none of them took its turn
	eventually(t, "nothing is left of them", func() bool {
		st := statsOf(s)
		return st.Get("engine_conns") == 1 && st.Get("admission_waiting") == 0 && st.Get("paused") == 0
	})
}
