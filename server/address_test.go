package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// told collects whom the callbacks took a client for.
type told struct {
	mu    sync.Mutex
	addrs []string
}

func (a *told) add(where string, addr netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addrs = append(a.addrs, where+" "+addr.String())
}

// want waits for the callbacks of one connection and checks what they saw. Open
// comes after the answer is on its way.
func (a *told) want(t *testing.T, addr string) {
	t.Helper()
	eventually(t, "both callbacks were called", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.addrs) == 2
	})
	if want := []string{"upgrade " + addr, "open " + addr}; !slices.Equal(a.addrs, want) {
		t.Errorf("the callbacks saw %q, want %q", a.addrs, want)
	}
}

// tellAddresses makes cfg's callbacks note the addresses.
func tellAddresses(cfg server.Config) (server.Config, *told) {
	seen := &told{}
	cfg.Handler.Upgrade = func(r *server.UpgradeRequest) error {
		seen.add("upgrade", r.RemoteAddr())
		return nil
	}
	cfg.Handler.Open = func(e *server.OpenEvent) { seen.add("open", e.RemoteAddr()) }
	cfg.Handler.Message = echo
	cfg.HTTP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
	return cfg, seen
}

const (
	proxyV1 = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
	proxyV6 = "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x01\x12\x67\x01\xbb"
	// A LOCAL command: the balancer's own health check.
	proxyLocal = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// proxyLong is proxyV2 with n bytes of extensions: NOOPs (section 2.2.4).
func proxyLong(n int) string {
	const noop = 4
	text := []byte(proxyV2)
	for left := n; left > 0; {
		m := min(left-3, 1000)
		if left-3-m < 3 && left-3-m > 0 {
			m -= 3
		}
		text = append(append(text, noop, byte(m>>8), byte(m)), make([]byte, m)...)
		left -= 3 + m
	}
	binary.BigEndian.PutUint16([]byte(text)[14:], uint16(12+n))
	return string(text)
}

func TestProxyProtocol(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		for _, tc := range []struct {
			name, header, want string // want empty: the socket's own address
		}{
			{"version 1", proxyV1, "203.0.113.7:4711"},
			{"version 1, IPv6", proxyV6, "[2001:db8::7]:4711"},
			{"version 2", proxyV2, "203.0.113.7:4711"},
			{"version 2, 600 bytes of extensions", proxyLong(600), "203.0.113.7:4711"},
			{"version 2, 4,096 bytes", proxyLong(4096 - len(proxyV2)), "203.0.113.7:4711"},
			{"health check", proxyLocal, ""},
			{"unknown", "PROXY UNKNOWN\r\n", ""},
		} {
			for _, pieces := range []bool{false, true} {
				cfg, seen := tellAddresses(server.Config{Engine: server.Engine{Driver: engine}, Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.0/8"}}})
				s := start(t, cfg)
				c := connect(t, s)
				want := tc.want
				if want == "" {
					want = c.LocalAddr().String()
				}
				if text := tc.header + wstest.Upgrade(); pieces {
					for i := range len(text) {
						c.Put(text[i : i+1])
					}
				} else {
					c.Put(text)
				}
				c.WantStatus(101)
				c.Put(wstest.Masked(ws.OpText, "through"))
				c.WantFrame(ws.OpText, "through")
				seen.want(t, want)
				plain := connect(t, s)
				if tc.want == "" {
					want = plain.LocalAddr().String()
				}
				plain.Put(tc.header + "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				wantBody(t, plain.WantStatus(200), want)
			}
		}
	})
}

// The longest header that can be said costs no more memory than the shortest.
func TestLongestProxyHeader(t *testing.T) {
	for _, piece := range []int{1000, 16, 1 << 20} {
		cfg, seen := tellAddresses(server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.0/8"}}})
		s := start(t, cfg)
		c := connect(t, s)
		for text := proxyLong(65535-12) + wstest.Upgrade(); text != ""; {
			n := min(piece, len(text))
			c.Put(text[:n])
			text = text[n:]
		}
		c.WantStatus(101)
		c.Put(wstest.Masked(ws.OpText, "through"))
		c.WantFrame(ws.OpText, "through")
		seen.want(t, "203.0.113.7:4711")
	}
}

func TestProxyProtocolBeforeTLS(t *testing.T) {
	for name, header := range map[string]string{"short": proxyV2, "long": proxyLong(60_000)} {
		t.Run(name, func(t *testing.T) { testProxyProtocolBeforeTLS(t, header) })
	}
}

func testProxyProtocolBeforeTLS(t *testing.T, header string) {
	cfg, seen := tellAddresses(server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}}})
	s := startTLS(t, cfg)
	conn, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
	// With the first TLS record right behind it, in one segment.
	secure := tls.Client(&prefixConn{Conn: conn, prefix: []byte(header)}, &tls.Config{InsecureSkipVerify: true})
	if _, err := io.WriteString(secure, wstest.Upgrade()); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 101"))
	if _, err := io.ReadFull(secure, answer); err != nil || string(answer) != "HTTP/1.1 101" {
		t.Fatalf("answer %q, %v", answer, err)
	}
	seen.want(t, "203.0.113.7:4711")
}

// prefixConn sends something before the first write.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixConn) Write(p []byte) (int, error) {
	if _, err := c.Conn.Write(append(c.prefix, p...)); err != nil {
		return 0, err
	}
	c.prefix = nil
	return len(p), nil
}

// Who must send the header and does not is closed without a word; who must not
// and does gets what everybody gets who sends no HTTP.
func TestProxyProtocolIsNotGuessed(t *testing.T) {
	s := start(t, server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}}})
	for i, bad := range []string{wstest.Upgrade(), "PROXY TCP4 1.2.3.4\r\n" + wstest.Upgrade(), "PROXY " + strings.Repeat("x", 200), "\r\n\r\n\x00\r\nQUIX"} {
		c := connect(t, s)
		c.Put(bad)
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("%.30q was answered %q", bad, got)
		}
		eventually(t, "it is counted", func() bool { return statsOf(s).Get("proxy_errors") == int64(i+1) })
	}
	open := start(t, server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"192.0.2.0/24", "unix"}}})
	for _, lie := range []string{proxyV1, proxyV2} {
		c := connect(t, open)
		c.Put(lie + wstest.Upgrade())
		c.WantStatus(400)
	}
}

func TestProxyHeaderTimesOut(t *testing.T) {
	s := start(t, server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}}, Timeouts: server.Timeouts{HandshakeTimeout: 50 * time.Millisecond}})
	c := connect(t, s)
	c.Put("PROXY TCP4 1.2.3.4 ")
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("half a PROXY header was answered %q", got)
	}
	if n := statsOf(s).Get("handshake_timeouts"); n != 1 {
		t.Errorf("HandshakeTimeouts = %d, want 1", n)
	}
}

func TestProxyProtocolOverUnixSocket(t *testing.T) {
	cfg, seen := tellAddresses(server.Config{Listen: []string{"unix:" + filepath.Join(t.TempDir(), "s")}, Proxies: server.Proxies{ProxyProtocol: []string{"unix"}}})
	s := start(t, cfg)
	c := &client{wstest.Connect(t, s.Addrs()[0])}
	c.Put(proxyV1 + wstest.Upgrade())
	c.WantStatus(101)
	seen.want(t, "203.0.113.7:4711")
}

func TestForwardedHeaders(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cfg    server.Config
		prefix string
		lines  []string
		want   string // empty: the socket's own
	}{
		{"nobody is trusted", server.Config{}, "", []string{"X-Forwarded-For: 203.0.113.7"}, ""},
		{"another is trusted", server.Config{Proxies: server.Proxies{TrustedProxies: []string{"10.0.0.0/8"}}}, "", []string{"X-Forwarded-For: 203.0.113.7"}, ""},
		{"trusted", server.Config{Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}}}, "", []string{"X-Forwarded-For: 1.1.1.1, 203.0.113.7"}, "203.0.113.7:0"},
		{"trusted, no header", server.Config{Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}}}, "", nil, ""},
		{"the other header", server.Config{Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}, ForwardedHeader: "forwarded"}}, "", []string{"X-Forwarded-For: 203.0.113.7"}, ""},
		{"Forwarded", server.Config{Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}, ForwardedHeader: "forwarded"}}, "", []string{`Forwarded: for="[2001:db8::7]:1"`}, "[2001:db8::7]:0"},
		{"behind a balancer", server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}, TrustedProxies: []string{"10.0.0.0/8"}}}, "PROXY TCP4 10.1.1.1 10.2.2.2 5 80\r\n",
			[]string{"X-Forwarded-For: 203.0.113.7"}, "203.0.113.7:0"},
		{"a client behind a balancer lies", server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}, TrustedProxies: []string{"10.0.0.0/8"}}}, proxyV1,
			[]string{"X-Forwarded-For: 1.1.1.1"}, "203.0.113.7:4711"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, seen := tellAddresses(tc.cfg)
			s := start(t, cfg)
			c := connect(t, s)
			want := tc.want
			if want == "" {
				want = c.LocalAddr().String()
			}
			c.Put(tc.prefix + wstest.Upgrade(tc.lines...))
			c.WantStatus(101)
			c.Put(wstest.Masked(ws.OpText, "through"))
			c.WantFrame(ws.OpText, "through")
			seen.want(t, want)
			plain := connect(t, s)
			if tc.want == "" {
				want = plain.LocalAddr().String()
			}
			plain.Put(tc.prefix + "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Join(append(tc.lines, ""), "\r\n") + "\r\n")
			wantBody(t, plain.WantStatus(200), want)
		})
	}
}

// What a connection was told to be is in its one line of the log.
func TestLogTellsTheClientsAddress(t *testing.T) {
	var log syncBuffer
	s := start(t, server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}}, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	c := connect(t, s)
	c.Put(proxyV1 + wstest.Upgrade())
	c.WantStatus(101)
	_ = c.Close()
	eventually(t, "the end is logged", func() bool { return strings.Contains(log.String(), "remote_addr=203.0.113.7:4711") })
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestConnectionsPerAddress(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{ConnectionsPerAddress: 2}, Handler: server.Handler{Message: echo}})
		first, second := upgraded(t, s), upgraded(t, s)
		third := connect(t, s)
		third.Put(wstest.Upgrade())
		r := third.WantStatus(429)
		wantHeader(t, r, "Retry-After", "5")
		wantBody(t, r, "")
		// The refusal comes before the request is read: it fits HEAD as well.
		head := connect(t, s)
		head.Put("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
		head.WantStatusTo(http.MethodHead, 429)
		if rest, _ := io.ReadAll(head); len(rest) > 0 {
			t.Errorf("%q behind the head", rest)
		}
		if n := statsOf(s).Get("refused_address"); n != 2 {
			t.Errorf("RefusedAddress = %d, want 2", n)
		}
		// Silence counts too: it is the socket that costs.
		_ = first.Close()
		eventually(t, "the first one's place is free", func() bool {
			again := connect(t, s)
			again.Put(wstest.Upgrade())
			return again.Status() == 101
		})
		second.Put(wstest.Masked(ws.OpText, "still here"))
		second.WantFrame(ws.OpText, "still here")
	})
}

// Behind proxies it is the client's own address that counts, an IPv6 client's
// by its /64, and the proxies' does not.
func TestConnectionsPerAddressBehindProxies(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{ConnectionsPerAddress: 1}, Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}}})
	for _, step := range []struct {
		client string
		status int
	}{
		{"203.0.113.7", 101}, {"203.0.113.7", 429}, {"203.0.113.8", 101},
		{"2001:db8::7", 101}, {"2001:db8::8", 429}, {"2001:db8:0:1::7", 101},
	} {
		c := connect(t, s)
		c.Put(wstest.Upgrade("X-Forwarded-For: " + step.client))
		c.WantStatus(step.status)
	}
	if n := statsOf(s).Get("refused_address"); n != 2 {
		t.Errorf("RefusedAddress = %d, want 2", n)
	}
	balanced := start(t, server.Config{Limits: server.Limits{ConnectionsPerAddress: 1}, Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}}})
	c := connect(t, balanced)
	c.Put(proxyV1 + wstest.Upgrade())
	c.WantStatus(101)
	again := connect(t, balanced)
	again.Put(proxyV2 + wstest.Upgrade())
	again.WantStatus(429)
	_ = c.Close()
	// The engine counts at the end of a loop's turn, which may be late: it is
	// the place itself that shows when it is free.
	eventually(t, "its place is free", func() bool {
		again := connect(t, balanced)
		again.Put(proxyV1 + wstest.Upgrade())
		return again.Status() == 101
	})
}

// A flood from one address holds no sockets for those whom it refuses, and the
// one who was there goes on.
func TestConnectFloodFromOneAddress(t *testing.T) {
	s := start(t, server.Config{Limits: server.Limits{ConnectionsPerAddress: 1}, Sockets: server.Sockets{DeferAccept: -1}, Handler: server.Handler{Message: echo}})
	good := upgraded(t, s)
	const flood = 1500
	for range flood {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	eventually(t, "all are refused", func() bool { return statsOf(s).Get("refused_address") == flood })
	eventually(t, "and gone", func() bool { return statsOf(s).Get("engine_conns") == 1 })
	good.Put(wstest.Masked(ws.OpText, "still here"))
	good.WantFrame(ws.OpText, "still here")
}

// Where TLS is spoken the flood gets no handshake.
func TestConnectionsPerAddressTLS(t *testing.T) {
	s := startTLS(t, server.Config{Limits: server.Limits{ConnectionsPerAddress: 1}, Handler: server.Handler{Message: echo}})
	c := dialTLS(t, s, &tls.Config{})
	conn, err := tls.Dial("tcp", s.Addrs()[0].String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_ = conn.Close()
		t.Error("a second TLS connection of the address was accepted")
	}
	if got := statsOf(s); got.Get("refused_address") != 1 || got.Get("tls_handshakes") != 1 {
		t.Errorf("RefusedAddress = %d, TLSHandshakes = %d; want 1 and 1", got.Get("refused_address"), got.Get("tls_handshakes"))
	}
	c.Send("still here")
	c.Want("still here")
}

// Behind net/http the addresses come from the same places.
func TestForwardedBehindNetHTTP(t *testing.T) {
	cfg, seen := tellAddresses(server.Config{Listen: []string{}, Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}}, Limits: server.Limits{ConnectionsPerAddress: 1}})
	s := start(t, cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: s}
	go func() { _ = h.Serve(l) }()
	t.Cleanup(func() { _ = h.Close() })
	c := &client{wstest.Connect(t, l.Addr())}
	c.Put(wstest.Upgrade("X-Forwarded-For: 203.0.113.7"))
	c.WantStatus(101)
	seen.want(t, "203.0.113.7:0")
	again := &client{wstest.Connect(t, l.Addr())}
	again.Put(wstest.Upgrade("X-Forwarded-For: 203.0.113.7"))
	again.WantStatus(429)
}

func TestAddressConfigErrors(t *testing.T) {
	for field, cfg := range map[string]server.Config{
		"ProxyProtocol":         {Proxies: server.Proxies{ProxyProtocol: []string{"balancer.example"}}},
		"TrustedProxies":        {Proxies: server.Proxies{TrustedProxies: []string{"10.0.0.0/33"}}},
		"ForwardedHeader":       {Proxies: server.Proxies{ForwardedHeader: "x-real-ip"}},
		"ConnectionsPerAddress": {Limits: server.Limits{ConnectionsPerAddress: -1}},
	} {
		if _, err := server.New(cfg); err == nil || !strings.Contains(err.Error(), "."+field) {
			t.Errorf("%s: error %v, want one that names the field", field, err)
		}
	}
}
