package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "roost test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// startTLS runs a server whose only listener speaks TLS.
func startTLS(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	cfg.Listen, cfg.ListenTLS = []string{}, []string{"127.0.0.1:0"}
	if cfg.TLS == nil {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	}
	return start(t, cfg)
}

// dialTLS connects with the standard library's TLS.
func dialTLS(t *testing.T, s *server.Server, cfg *tls.Config) *client {
	t.Helper()
	cfg.InsecureSkipVerify = true
	return &client{wstest.DialWith(t, ws.Dialer{TLSConfig: cfg}, "wss://"+s.Addrs()[0].String()+"/ws")}
}

func TestTLSEcho(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			t.Run(name, func(t *testing.T) {
				s := startTLS(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{MessageMaxBytes: 4 << 20}, Handler: server.Handler{Message: echo}})
				c := dialTLS(t, s, &tls.Config{MinVersion: version, MaxVersion: version})
				for _, n := range []int{1, 125, 126, 16 << 10, 100_000, 3 << 20} {
					text := strings.Repeat("x", n)
					go func() { _ = wsutil.WriteClientText(c, []byte(text)) }() // the reader tells
					c.Want(text)
				}
				if err := ws.WriteFrame(c, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))); err != nil {
					t.Fatal(err)
				}
				c.WantClose(1000, "*")
				c.WantEnd()
				if n := statsOf(s).Get("tls_handshakes"); n != 1 {
					t.Errorf("TLSHandshakes = %d, want 1", n)
				}
			})
		}
	})
}

// A client that reads nothing for a while gets everything in the end, in order:
// what waits is encrypted only when the socket has room.
func TestTLSBackPressure(t *testing.T) {
	s := startTLS(t, server.Config{Sockets: server.Sockets{SendBufferBytes: 16 << 10}, Handler: server.Handler{Message: echo}})
	c := dialTLS(t, s, &tls.Config{})
	const count = 400
	message := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 20_000) }
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range count {
			if err := wsutil.WriteClientBinary(c, message(i)); err != nil {
				t.Errorf("write %d: %v", i, err)
				return
			}
		}
	})
	eventually(t, "the client is not read any more", func() bool { return statsOf(s).Get("paused") == 1 })
	if n := statsOf(s).Get("pending_bytes"); n > 200_000 {
		t.Errorf("PendingBytes = %d", n)
	}
	for i := range count {
		got, err := wsutil.ReadServerBinary(c)
		if err != nil || !bytes.Equal(got, message(i)) {
			t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
		}
	}
	wg.Wait()
}

func TestTLSBroadcast(t *testing.T) {
	s := startTLS(t, server.Config{})
	clients := make([]*client, 40)
	for i := range clients {
		clients[i] = dialTLS(t, s, &tls.Config{})
	}
	for i := range 20 {
		if err := s.Broadcast(server.Text, []byte(strings.Repeat("y", i*1000))); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		for i := range 20 {
			c.Want(strings.Repeat("y", i*1000))
		}
	}
}

// Handshakes beyond TLSHandshakesMax wait for their turn.
func TestTLSHandshakesAreBounded(t *testing.T) {
	s := startTLS(t, server.Config{Engine: server.Engine{Loops: 1}, Limits: server.Limits{TLSHandshakesMax: 2}, Handler: server.Handler{Message: echo}})
	var hanging [2]net.Conn
	for i := range hanging {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		hanging[i] = conn
		// The beginning of a ClientHello record of 512 bytes.
		if _, err := conn.Write([]byte{0x16, 3, 1, 2, 0, 1}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "two handshakes hang", func() bool { return statsOf(s).Get("handshaking") == 2 })
	go func() {
		eventually(t, "the third one waits", func() bool { return statsOf(s).Get("tls_handshakes_queued") == 1 })
		_ = hanging[0].Close()
	}()
	c := dialTLS(t, s, &tls.Config{})
	c.Send("through")
	c.Want("through")
	_ = hanging[1].Close()
}

// What is no TLS, and what ends in the middle, ends that connection only.
func TestTLSGarbage(t *testing.T) {
	s := startTLS(t, server.Config{Handler: server.Handler{Message: echo}})
	good := dialTLS(t, s, &tls.Config{})
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\x02\x01\x00", "\x17\x03\x03\xff\xff"} {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, garbage)
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	eventually(t, "only the good one is left", func() bool { return statsOf(s).Get("engine_conns") == 1 })
	good.Send("still here")
	good.Want("still here")
}
