package server_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/server"
)

// bufConn reads what a bufio.Reader has read too much first.
type bufConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// connect opens a connection on which nothing was said yet.
func connect(t *testing.T, s *server.Server) *client {
	t.Helper()
	return connectTo(t, s.Addrs()[0])
}

func connectTo(t *testing.T, addr net.Addr) *client {
	t.Helper()
	conn, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

func newClient(t *testing.T, conn net.Conn) *client {
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &client{&bufConn{conn, bufio.NewReaderSize(conn, 1024)}, t}
}

// upgrade is a valid request for a WebSocket, with more header lines.
func upgrade(lines ...string) string {
	return "GET /ws?a=b HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// upgraded connects and upgrades.
func upgraded(t *testing.T, s *server.Server, lines ...string) *client {
	t.Helper()
	c := connect(t, s)
	c.put(upgrade(lines...))
	c.wantStatus(101)
	return c
}

func (c *client) put(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("write %.40q: %v", text, err)
	}
}

// wantStatus reads one HTTP response, whose body is then in memory.
func (c *client) wantStatus(status int) *http.Response {
	c.t.Helper()
	return c.wantStatusTo(http.MethodGet, status)
}

// status reads a response's head and answers its status.
func (c *client) status() int {
	c.t.Helper()
	r, err := http.ReadResponse(c.Conn.(*bufConn).r, &http.Request{Method: http.MethodGet})
	if err != nil {
		c.t.Fatalf("read the response: %v", err)
	}
	return r.StatusCode
}

func (c *client) wantStatusTo(method string, status int) *http.Response {
	c.t.Helper()
	r, err := http.ReadResponse(c.Conn.(*bufConn).r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read the response: %v, want %d", err, status)
	}
	if status != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			c.t.Fatalf("read the body of the %d: %v", r.StatusCode, err)
		}
		_ = r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if r.StatusCode != status {
		c.t.Fatalf("got %s, want %d", r.Status, status)
	}
	return r
}

func wantBody(t *testing.T, r *http.Response, want string) {
	t.Helper()
	got, _ := io.ReadAll(r.Body)
	if string(got) != want {
		t.Fatalf("the body is %.60q (%d bytes), want %.60q (%d bytes)", got, len(got), want, len(want))
	}
}

func wantBodyHas(t *testing.T, r *http.Response, part string) {
	t.Helper()
	if got, _ := io.ReadAll(r.Body); !strings.Contains(string(got), part) {
		t.Fatalf("the body is %q, want it to say %q", got, part)
	}
}

func wantHeader(t *testing.T, r *http.Response, name, want string) {
	t.Helper()
	if got := r.Header.Get(name); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// masked is a client's frame on the wire.
func masked(op ws.OpCode, payload string) string {
	var b bytes.Buffer
	_ = ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, true, []byte(payload)))) // a bytes.Buffer takes everything
	return b.String()
}

// closeFrame is a client's Close frame on the wire.
func closeFrame(code ws.StatusCode, reason string) string {
	return masked(ws.OpClose, string(ws.NewCloseFrameBody(code, reason)))
}

// readFrame reads a frame of the server's, which tests trust with their memory.
func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// wantFrame reads one frame of any kind.
func (c *client) wantFrame(op ws.OpCode, payload string) {
	c.t.Helper()
	f, err := readFrame(c)
	if err != nil {
		c.t.Fatalf("read: %v, want %v %.40q", err, op, payload)
	}
	if f.Header.OpCode != op || string(f.Payload) != payload {
		c.t.Fatalf("got %v %.40q, want %v %.40q", f.Header.OpCode, f.Payload, op, payload)
	}
}

// read answers the next message.
func (c *client) read() string {
	c.t.Helper()
	p, _, err := wsutil.ReadServerData(c)
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return string(p)
}
