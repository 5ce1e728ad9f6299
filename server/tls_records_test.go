package server_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
)

// What a client may send in TLS 1.3 that crypto/tls's own client never sends.

// Content types of RFC 8446, section 5.1.
const (
	recordHandshake       = 22
	recordApplicationData = 23
)

// keyUpdateRequested is the handshake message of RFC 8446, section 4.6.3.
var keyUpdateRequested = []byte{24, 0, 0, 1, 1}

// A recordWriter encrypts records by itself, on a connection whose handshake
// crypto/tls has done; crypto/tls goes on reading it.
type recordWriter struct {
	t      *testing.T
	raw    net.Conn
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	number uint64
}

// dialRecords opens a WebSocket and hands the writing half to a recordWriter.
func dialRecords(t *testing.T, s *server.Server) (*client, *recordWriter) {
	t.Helper()
	var keys strings.Builder
	w := &recordWriter{t: t}
	d := ws.Dialer{
		Timeout: wstest.Patience,
		NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			w.raw = conn
			return conn, err
		},
		TLSConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: &keys},
	}
	conn, err := wstest.TryDial(d, "wss://"+s.Addrs()[0].String()+"/ws")
	if err != nil {
		t.Fatal(err)
	}
	if suite := conn.(*tls.Conn).ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("the cipher suite is %s: this test knows TLS_AES_128_GCM_SHA256", tls.CipherSuiteName(suite))
	}
	for line := range strings.Lines(keys.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(f[2])
			if err != nil {
				t.Fatal(err)
			}
			w.use(secret)
		}
	}
	w.number = 1 // the request was record 0
	return newClient(t, conn), w
}

// expand is HKDF-Expand-Label (RFC 8446, section 7.1) without a context.
func (w *recordWriter) expand(secret []byte, label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(append(info, "tls13 "+label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *recordWriter) use(secret []byte) {
	block, err := aes.NewCipher(w.expand(secret, "key", 16))
	if err == nil {
		w.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.secret, w.iv, w.number = secret, w.expand(secret, "iv", 12), 0
}

// record appends one record.
func (w *recordWriter) record(dst []byte, kind byte, content []byte) []byte {
	nonce := bytes.Clone(w.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(w.number >> (56 - 8*i))
	}
	w.number++
	inner := append(bytes.Clone(content), kind)
	header := []byte{recordApplicationData, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+w.aead.Overhead()))
	return w.aead.Seal(append(dst, header...), nonce, inner, header)
}

// keyUpdate appends a key update that asks for one in return, and takes the new key.
func (w *recordWriter) keyUpdate(dst []byte) []byte {
	dst = w.record(dst, recordHandshake, keyUpdateRequested)
	w.use(w.expand(w.secret, "traffic upd", sha256.Size))
	return dst
}

func (w *recordWriter) frame(dst []byte, f ws.Frame) []byte {
	return w.record(dst, recordApplicationData, ws.MustCompileFrame(ws.MaskFrame(f)))
}

func (w *recordWriter) send(p []byte) {
	w.t.Helper()
	if _, err := w.raw.Write(p); err != nil {
		w.t.Fatal(err)
	}
}

// RFC 8446, section 4.6.3: the answer to a key update goes out before the next
// application data, which must not wait for anything else.
func TestTLSKeyUpdate(t *testing.T) {
	s := startTLS(t, server.Config{Handler: server.Handler{Message: echo}})
	c, w := dialRecords(t, s)
	w.send(w.frame(w.keyUpdate(nil), ws.NewTextFrame([]byte("behind a key update"))))
	c.Want("behind a key update")
	// Alone: its answer does not wait for data of ours either.
	w.send(w.keyUpdate(nil))
	w.send(w.frame(nil, ws.NewTextFrame([]byte("later"))))
	c.Want("later")
	// Several, with data between and behind them, in one segment.
	var all []byte
	for _, text := range []string{"1", "2", "3"} {
		all = w.frame(w.keyUpdate(w.keyUpdate(all)), ws.NewTextFrame([]byte(text)))
	}
	w.send(all)
	for _, text := range []string{"1", "2", "3"} {
		c.Want(text)
	}
	if n := statsOf(s).Get("stalled"); n != 0 {
		t.Errorf("Stalled = %d, want 0", n)
	}
}

// What crypto/tls says before it gives up reaches the client.
func TestTLSAlert(t *testing.T) {
	s := startTLS(t, server.Config{Handler: server.Handler{Message: echo}})
	c, w := dialRecords(t, s)
	broken := w.frame(nil, ws.NewTextFrame([]byte("hello")))
	broken[len(broken)-1] ^= 1
	w.send(broken)
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the client learns %v, want the alert bad_record_mac", err)
	}
	eventually(t, "the connection is gone", func() bool { return statsOf(s).Get("engine_conns") == 0 })
	if st := statsOf(s); st.Get("tls_errors") != 1 || st.Get("close_timeouts") != 0 {
		t.Errorf("TLSErrors = %d, CloseTimeouts = %d, want 1 and 0", st.Get("tls_errors"), st.Get("close_timeouts"))
	}
}

// A client that asks for key updates and reads no answer is not read any more,
// and is read again when it has taken them.
func TestTLSKeyUpdateFlood(t *testing.T) {
	s := startTLS(t, server.Config{Sockets: server.Sockets{SendBufferBytes: 16 << 10}, Handler: server.Handler{Message: echo}})
	_, w := dialRecords(t, s)
	// Its own frames ask for no answer; without data between, crypto/tls gives up
	// after 16 key updates.
	flooded := make(chan error, 1)
	go func() {
		for range 1 << 17 {
			p := w.frame(w.keyUpdate(nil), ws.NewPongFrame(nil))
			if _, err := w.raw.Write(p); err != nil {
				flooded <- err
				return
			}
			if s.Stats().Get("paused") == 1 {
				break
			}
		}
		flooded <- nil
	}()
	eventually(t, "the client is not read", func() bool { return statsOf(s).Get("paused") == 1 })
	go func() { _, _ = io.Copy(io.Discard, w.raw) }()
	if err := <-flooded; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client is read again", func() bool { st := statsOf(s); return st.Get("paused") == 0 && st.Get("stalled") == 0 })
}

// Plain HTTP on a port that speaks TLS is told so, as by net/http.
func TestPlainHTTPOnTLSPort(t *testing.T) {
	s := startTLS(t, server.Config{Handler: server.Handler{Message: echo}})
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "G", "\r\nGET / HTTP/1.1\r\n"} {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "the port takes TLS") {
			t.Errorf("%q: %q, %v", request, answer, err)
		}
	}
	if n := statsOf(s).Get("tls_handshake_errors"); n != 3 {
		t.Errorf("TLSHandshakeErrors = %d, want 3", n)
	}
}
