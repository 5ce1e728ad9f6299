package server_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

func TestHandshakeRefusals(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Handshake: server.Handshake{Origins: []string{"https://good.example"}}})
		cases := []struct {
			name, request string
			status        int
			says          string
			header        http.Header
		}{
			{name: "garbage", request: "\x80\x01\x02 garbage\r\n", status: 400, says: "not HTTP"},
			{name: "TLS", request: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", status: 400, says: "TLS"},
			{name: "64 KiB header", request: "GET /ws HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("c", 64<<10) + "\r\n\r\n", status: 431, says: "too long"},
			{name: "no end within the limit", request: "GET /ws HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("c", 17<<10), status: 431, says: "too long"},
			{name: "HTTP/1.0", request: strings.Replace(wstest.Upgrade(), "HTTP/1.1", "HTTP/1.0", 1), status: 426, says: "HTTP/1.0"},
			{name: "long target", request: "GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", status: 414, says: "target is too long"},
			{name: "long target without end", request: "GET /" + strings.Repeat("a", 16<<10), status: 414, says: "target is too long"},
			{name: "malformed extensions", request: wstest.Upgrade("Sec-WebSocket-Extensions: permessage-deflate; ="), status: 400, says: "Sec-WebSocket-Extensions"},
			{name: "version 14 with a key of another form", request: strings.NewReplacer("Version: 13", "Version: 14", "dGhlIHNhbXBsZSBub25jZQ==", strings.Repeat("a", 43)+"=").Replace(wstest.Upgrade()), status: 426, says: "13",
				header: http.Header{"Sec-Websocket-Version": {"13"}}},
			{name: "POST", request: strings.Replace(wstest.Upgrade(), "GET", "POST", 1), status: 405, says: "GET", header: http.Header{"Allow": {"GET"}}},
			{name: "bad key", request: strings.Replace(wstest.Upgrade(), "dGhlIHNhbXBsZSBub25jZQ==", "short", 1), status: 400, says: "Sec-WebSocket-Key"},
			{name: "no key", request: strings.Replace(wstest.Upgrade(), "Sec-WebSocket-Key", "X-Key", 1), status: 400, says: "missing"},
			{name: "version 12", request: strings.Replace(wstest.Upgrade(), "Version: 13", "Version: 12", 1), status: 426, says: "13",
				header: http.Header{"Sec-Websocket-Version": {"13"}, "Upgrade": {"websocket"}}},
			{name: "plain", request: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", status: 426, says: "WebSocket",
				header: http.Header{"Sec-Websocket-Version": {"13"}}},
			{name: "foreign origin", request: wstest.Upgrade("Origin: https://bad.example"), status: 403, says: "origin"},
			{name: "null origin", request: wstest.Upgrade("Origin: null"), status: 403, says: "origin"},
			{name: "origin of the same host, not listed", request: wstest.Upgrade("Origin: https://example.com"), status: 403, says: "origin"},
			{name: "two lengths", request: "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", status: 400, says: "more than once"},
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				w := connect(t, s)
				w.Put(c.request)
				r := w.WantStatus(c.status)
				wantDate(t, r)
				wantBodyHas(t, r, c.says)
				for name, want := range c.header {
					wantHeader(t, r, name, want[0])
				}
				w.WantEnd()
			})
		}
		eventually(t, "every refusal is counted", func() bool {
			st := statsOf(s)
			return st.Get("handshakes_refused") == int64(len(cases)) && st.Get("engine_conns") == 0 && st.Get("opened") == 0
		})
	})
}

// RFC 9110, section 6.6.1: a response says when it was made.
func wantDate(t *testing.T, r *http.Response) {
	t.Helper()
	at, err := http.ParseTime(r.Header.Get("Date"))
	if age := time.Since(at); err != nil || len(r.Header.Values("Date")) != 1 || age < -time.Second || age > wstest.Patience {
		t.Errorf("Date %q", r.Header.Values("Date"))
	}
}

// RFC 9110, section 9.3.2: a response to HEAD has no content, whatever is wrong.
func TestRefusedHEAD(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{HandshakeMaxBytes: 1 << 10}})
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"no WebSocket":        {"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 426},
		"POST of a WebSocket": {strings.Replace(wstest.Upgrade(), "GET", "HEAD", 1), 405},
		"malformed":           {"HEAD / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		"behind a blank line": {"\r\nHEAD / HTTP/1.1\r\n\r\n", 400},
		"too long":            {"HEAD / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("c", 1<<10), 431},
		"target too long":     {"HEAD /" + strings.Repeat("c", 1<<10), 414},
		"health":              {"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200},
	} {
		w := connect(t, s)
		w.Put(c.request)
		head, err := io.ReadAll(w)
		if err != nil || !strings.HasPrefix(string(head), "HTTP/1.1 "+strconv.Itoa(c.status)) ||
			strings.Index(string(head), "\r\n\r\n") != len(head)-4 || !strings.Contains(string(head), "\r\nContent-Length: ") {
			t.Errorf("%s: %q, %v", name, head, err)
		}
	}
}

// What works today must not be told apart by a proxy's or a library's habits.
func TestHandshakeHabits(t *testing.T) {
	s := start(t, server.Config{Handler: server.Handler{Message: echo}})
	for name, request := range map[string]string{
		"16,000 bytes of cookies":    wstest.Upgrade("Cookie: " + strings.Repeat("c", 16_000)),
		"ws in the target":           strings.Replace(wstest.Upgrade(), "GET /", "GET ws://example.com/", 1),
		"another Host header":        strings.Replace(wstest.Upgrade(), "GET /", "GET http://other.example/", 1),
		"an empty subprotocol":       wstest.Upgrade("Sec-WebSocket-Protocol:"),
		"an empty origin":            wstest.Upgrade("Origin:"),
		"a device's origin":          wstest.Upgrade("Origin: localhost"),
		"an origin with a slash":     wstest.Upgrade("Origin: https://example.com/"),
		"the key of RFC 6455, 4.1":   strings.Replace(wstest.Upgrade(), "dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC==", 1),
		"an extension nobody speaks": wstest.Upgrade(`Sec-WebSocket-Extensions: x-other; a="b"`),
	} {
		w := connect(t, s)
		w.Put(request)
		r := w.WantStatus(101)
		wantDate(t, r)
		if strings.Contains(name, "RFC 6455") {
			wantHeader(t, r, "Sec-WebSocket-Accept", "OfS0wDaT5NoxF2gqm7Zj2YtetzM=")
		}
		w.Put(wstest.Masked(ws.OpText, "through"))
		w.WantFrame(ws.OpText, "through")
	}
}

// A balancer may ask on the port that clients use.
func TestHealth(t *testing.T) {
	health := "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	s := start(t, server.Config{Limits: server.Limits{MaxConnections: 2}, Handler: server.Handler{Message: echo}})
	w := connect(t, s)
	w.Put(health)
	r := w.WantStatus(200)
	wantDate(t, r)
	wantBody(t, r, "ok\n")
	w.WantEnd()
	left := func(c *client) {
		_ = c.Close()
		eventually(t, "its place is free", func() bool { return statsOf(s).Get("engine_conns") == 0 })
	}
	left(w)
	for request, status := range map[string]int{
		"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n": 426,
		"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n":                        200,
		"GET /healthz/x HTTP/1.1\r\nHost: x\r\n\r\n":                     426,
		"GET /healthz?verbose HTTP/1.0\r\n\r\n":                          200,
	} {
		w := connect(t, s)
		w.Put(request)
		w.WantStatus(status)
		left(w)
	}
	if st := statsOf(s); st.Get("handshakes_refused") != 2 {
		t.Errorf("HandshakesRefused = %d, want 2", st.Get("handshakes_refused"))
	}
	// A full server wants no more clients.
	upgraded(t, s)
	upgraded(t, s)
	w = connect(t, s)
	w.Put(health)
	wantHeader(t, w.WantStatus(503), "Retry-After", "5")

	// Where the application answers plain requests, this one is its own.
	own := start(t, server.Config{HTTP: http.HandlerFunc(testHTTP)})
	w = connect(t, own)
	w.Put(health)
	w.WantStatus(201)
}

func TestHandshakeOrigins(t *testing.T) {
	cases := []struct {
		name    string
		origins []string
		origin  string
		status  int
	}{
		{"same host by default", nil, "https://example.com", 101},
		{"other host by default", nil, "https://other.example", 403},
		{"listed", []string{"https://good.example"}, "https://good.example", 101},
		{"wildcard", []string{"https://*.good.example"}, "https://a.good.example", 101},
		{"any", []string{"*"}, "https://whoever.example", 101},
		{"a page from a file, not listed", nil, "file://", 403},
		{"a page from a file", []string{"file://"}, "file://", 101},
		{"none is no browser", []string{"https://good.example"}, "", 101},
	}
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				s := start(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Handshake: server.Handshake{Origins: c.origins}})
				w := connect(t, s)
				if c.origin == "" {
					w.Put(wstest.Upgrade())
				} else {
					w.Put(wstest.Upgrade("Origin: " + c.origin))
				}
				w.WantStatus(c.status)
			})
		}
	})
}

func TestHandshakeAnswers(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		var s *server.Server
		s = newServer(t, server.Config{Engine: server.Engine{Driver: engine}, Handshake: server.Handshake{Subprotocols: []string{"chat.v1", "chat.v2"}}, Handler: server.Handler{
			Upgrade: func(r *server.UpgradeRequest) error {
				if r.Path() != "/ws" || r.RawQuery() != "a=b" || r.Host() != "example.com" || !r.RemoteAddr().Addr().IsLoopback() {
					return errors.New("the request was not seen as it was sent")
				}
				switch r.Get("X-Test") {
				case "reject":
					return &server.Rejection{Status: 401, Reason: "who are you", RetryAfter: 1500 * time.Millisecond,
						Header: http.Header{"WWW-Authenticate": {`Basic realm="x"`}}}
				case "error":
					return errors.New("a secret")
				case "bad header":
					r.Header = http.Header{"X-Bad": {"a\r\nInjected: 1"}}
				case "bad channel":
					r.Channels = []string{""}
				case "own protocol":
					r.Subprotocol = "chat.v2"
				}
				r.User = "ann"
				if r.Header == nil {
					r.Header = http.Header{"X-Node": {"7"}}
				}
				if r.Channels == nil {
					r.Channels = []string{"room"}
				}
				return nil
			},
			Open: func(e *server.OpenEvent) {
				// Its channels were joined before: it gets what is published now.
				e.Send(server.Text, []byte("hello "+e.User()+" "+e.Subprotocol()))
				_ = s.Publish("room", server.Text, []byte("published"))
			},
		}})
		run(t, s)

		t.Run("accepted", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Sec-WebSocket-Protocol: other, chat.v1, chat.v2"))
			r := w.WantStatus(101)
			// The answer to the key that RFC 6455 uses as its example.
			wantHeader(t, r, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
			wantHeader(t, r, "Sec-WebSocket-Protocol", "chat.v1")
			wantHeader(t, r, "X-Node", "7")
			w.Want("hello ann chat.v1")
			w.Want("published")
		})
		t.Run("the application's own subprotocol", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Sec-WebSocket-Protocol: chat.v1, chat.v2", "X-Test: own protocol"))
			wantHeader(t, w.WantStatus(101), "Sec-WebSocket-Protocol", "chat.v2")
			w.Want("hello ann chat.v2")
		})
		t.Run("no known subprotocol", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Sec-WebSocket-Protocol: other"))
			wantHeader(t, w.WantStatus(101), "Sec-WebSocket-Protocol", "")
		})
		t.Run("rejection", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("X-Test: reject"))
			r := w.WantStatus(401)
			wantHeader(t, r, "WWW-Authenticate", `Basic realm="x"`)
			wantHeader(t, r, "Retry-After", "2")
			wantBodyHas(t, r, "who are you")
			w.WantEnd()
		})
		t.Run("error", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("X-Test: error"))
			if body, _ := io.ReadAll(w.WantStatus(403).Body); strings.Contains(string(body), "secret") {
				t.Errorf("the application's error was given away: %q", body)
			}
		})
		for _, what := range []string{"bad header", "bad channel"} {
			t.Run(what, func(t *testing.T) {
				w := connect(t, s)
				w.Put(wstest.Upgrade("X-Test: " + what))
				w.WantStatus(500)
				w.WantEnd()
			})
		}
	})
}

func TestHandshakeInPieces(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Sockets: server.Sockets{DeferAccept: -1}, Handler: server.Handler{Message: echo}})
		t.Run("byte by byte", func(t *testing.T) {
			w := connect(t, s)
			all := wstest.Upgrade() + wstest.Masked(ws.OpText, "a") + wstest.Masked(ws.OpText, strings.Repeat("b", 200))
			for i := range len(all) {
				w.Put(all[i : i+1])
			}
			w.WantStatus(101)
			w.Want("a")
			w.Want(strings.Repeat("b", 200))
		})
		t.Run("frames right behind the head", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade() + wstest.Masked(ws.OpText, "one") + wstest.Masked(ws.OpPing, "?") + wstest.Masked(ws.OpText, "two"))
			w.WantStatus(101)
			w.WantFrame(ws.OpText, "one")
			w.WantFrame(ws.OpPong, "?")
			w.WantFrame(ws.OpText, "two")
		})
		t.Run("half a frame behind half a head", func(t *testing.T) {
			w := connect(t, s)
			head, f := wstest.Upgrade(), wstest.Masked(ws.OpText, "late")
			w.Put(head[:40])
			w.Put(head[40:] + f[:3])
			w.WantStatus(101)
			w.Put(f[3:])
			w.Want("late")
		})
	})
}

func TestHandshakeTimeout(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Sockets: server.Sockets{DeferAccept: -1}, Timeouts: server.Timeouts{HandshakeTimeout: 2 * time.Second}})
		half, silent := connect(t, s), connect(t, s)
		half.Put(wstest.Upgrade()[:60])
		half.WantStatus(408)
		half.WantEnd()
		if got, err := io.ReadAll(silent); len(got) > 0 || err != nil {
			t.Errorf("the one who said nothing got %q, %v; want the end and no word", got, err)
		}
		eventually(t, "both are gone and counted", func() bool {
			st := statsOf(s)
			return st.Get("handshake_timeouts") == 2 && st.Get("engine_conns") == 0
		})
	})
}
