package server_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
)

// What a wrong setting refuses is in the log once, however often it happens, with
// what helps to find the setting.
func TestRefusalsAreInTheLog(t *testing.T) {
	head := wstest.Upgrade("Cookie: " + strings.Repeat("c", 1<<10))
	for _, c := range []struct {
		name  string
		cfg   server.Config
		tls   bool
		send  string
		says  []string
		after string // sent when the connection is open
	}{
		{name: "origin", send: wstest.Upgrade("Origin: https://other.example"),
			says: []string{"origin=https://other.example", "host=example.com", "--origins"}},
		{name: "no PROXY header", cfg: server.Config{Proxies: server.Proxies{ProxyProtocol: []string{"127.0.0.1"}}}, send: wstest.Upgrade(),
			says: []string{"without a valid PROXY header", "remote_addr=127.0.0.1", "--proxy-protocol"}},
		{name: "PROXY header, version 1", send: proxyV1 + wstest.Upgrade(), says: []string{"with a PROXY header", "remote_addr=127.0.0.1", "--proxy-protocol"}},
		{name: "PROXY header, version 2", send: proxyV2 + wstest.Upgrade(), says: []string{"with a PROXY header", "--proxy-protocol"}},
		{name: "forwarded header", cfg: server.Config{Limits: server.Limits{ConnectionsPerAddress: 100}}, send: wstest.Upgrade("X-Forwarded-For: 192.0.2.1"),
			says: []string{"not trusted was ignored", "remote_addr=127.0.0.1", "header=X-Forwarded-For", "value=192.0.2.1", "--trusted-proxies"}},
		{name: "TLS", send: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", says: []string{"TLS on a port that takes plain HTTP", "--tls-cert"}},
		{name: "plain HTTP", tls: true, send: wstest.Upgrade(), says: []string{"plain HTTP on a port that takes TLS", "wss://"}},
		{name: "long head", cfg: server.Config{Limits: server.Limits{HandshakeMaxBytes: 1 << 10}}, send: head, says: []string{"request heads that are too long", "--handshake-max-bytes"}},
		{name: "address", cfg: server.Config{Limits: server.Limits{ConnectionsPerAddress: 1}}, send: wstest.Upgrade(),
			says: []string{"limit of an address", "remote_addr=127.0.0.1", "--connections-per-address"}},
		{name: "rate", cfg: server.Config{Limits: server.Limits{ConnectRatePerAddress: 1}}, send: wstest.Upgrade(),
			says: []string{"connects too often", "remote_addr=127.0.0.1", "--connect-rate-per-address"}},
		{name: "connections", cfg: server.Config{Limits: server.Limits{MaxConnections: 1}}, send: wstest.Upgrade(), says: []string{"--max-connections", "roost doctor"}},
		{name: "message", cfg: server.Config{Limits: server.Limits{MessageMaxBytes: 4}}, send: wstest.Upgrade(), after: wstest.Masked(ws.OpText, "hello"),
			says: []string{"messages that are too long", "--message-max-bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log syncBuffer
			c.cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			var s *server.Server
			if c.tls {
				s = startTLS(t, c.cfg)
			} else {
				s = start(t, c.cfg)
			}
			// One after the other, for the first refusal to be the line: loops that refuse
			// at the same time may count together. The first one may be within the limit.
			for range 5 {
				w := connect(t, s)
				w.Put(c.send)
				if c.after != "" {
					w.WantStatus(101)
					w.Put(c.after)
				}
				_, _ = w.Read(make([]byte, 1)) // a response, a Close frame or the end comes after the refusal
			}
			eventually(t, "it is in the log", func() bool { return strings.Contains(log.String(), "advice=") })
			for _, what := range append(c.says, "level=WARN", "count=1 ") {
				if !strings.Contains(log.String(), what) {
					t.Errorf("the log has no %q: %s", what, log.String())
				}
			}
			if n := strings.Count(log.String(), "\n"); n != 1 {
				t.Errorf("%d lines, want 1: %s", n, log.String())
			}
		})
	}
}

// So are requests that wait in vain, and those beyond what is worked on.
func TestQueuesAreInTheLog(t *testing.T) {
	var log syncBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := start(t, server.Config{Engine: server.Engine{Loops: 1}, Sockets: server.Sockets{DeferAccept: -1}, Limits: server.Limits{HandshakesMax: 1},
		Timeouts: server.Timeouts{HandshakeTimeout: 100 * time.Millisecond}, Logger: logger})
	silence(t, s.Addrs()[0], 30, half)
	eventually(t, "it is in the log", func() bool { return strings.Contains(log.String(), "--handshakes-max") })

	busy, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) })
	s = start(t, server.Config{Limits: server.Limits{AuthorizeMaxPending: 1}, Logger: logger, HTTP: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(busy)
		<-release
	})})
	connect(t, s).Put("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-busy
	w := connect(t, s)
	w.Put("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	w.WantStatus(503)
	eventually(t, "it is in the log", func() bool { return strings.Contains(log.String(), "--authorize-max-pending") })
}

// What no setting can mend is not in the log: bad requests, foreign protocols,
// clients that vanish.
func TestClientsFaultsAreNotInTheLog(t *testing.T) {
	var log syncBuffer
	s := start(t, server.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	for _, send := range []string{"\x80\x01\x02", "GET / HTTP/1.1\r\n\r\n", "PROXY / HTTP/1.1\r\nHost: x\r\n\r\n", wstest.Upgrade("X-Forwarded-For: 192.0.2.1"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		w := connect(t, s)
		w.Put(send)
		if !strings.HasPrefix(send, "GET /ws") {
			_, _ = io.ReadAll(w)
		} else {
			w.WantStatus(101)
		}
	}
	secure := startTLS(t, server.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	c := dialTLS(t, secure, &tls.Config{})
	_ = c.Close()
	if log.String() != "" {
		t.Errorf("the log has %s", log.String())
	}
}
