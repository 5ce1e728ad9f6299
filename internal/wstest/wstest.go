// Package wstest is the WebSocket client of the tests, on gobwas/ws: it shares no
// code with what is tested. Its calls block, at most for Patience, and fail the test
// where the server does not do what is wanted.
//
//	wstest.go   Client: connecting, messages, the end
//	wire.go     requests and frames as bytes, for what no proper client would send
package wstest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// Patience bounds everything that a Client waits for. No test is expected to take it.
const Patience = time.Minute

// A Client is one connection to a server. It must not be used by several goroutines at
// a time, except that one may write while another reads.
type Client struct {
	net.Conn
	T testing.TB
	r *bufio.Reader
}

// New makes a Client of a connection, which it closes when the test ends. Nothing was
// said on it yet, or the handshake is over.
func New(t testing.TB, conn net.Conn) *Client {
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(Patience))
	return &Client{conn, t, bufio.NewReaderSize(conn, 1024)}
}

// Connect opens a connection on which nothing was said yet.
func Connect(t testing.TB, addr net.Addr) *Client {
	t.Helper()
	conn, err := net.DialTimeout(addr.Network(), addr.String(), Patience)
	if err != nil {
		t.Fatal(err)
	}
	return New(t, conn)
}

// Dial opens a WebSocket. header are names and values of the request, by turns.
func Dial(t testing.TB, url string, header ...string) *Client {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return DialWith(t, ws.Dialer{Header: ws.HandshakeHeaderHTTP(h)}, url)
}

// DialWith opens a WebSocket with a dialer of the test's.
func DialWith(t testing.TB, d ws.Dialer, url string) *Client {
	t.Helper()
	conn, err := TryDial(d, url)
	if err != nil {
		t.Fatalf("dial %s: %v", url, err)
	}
	return New(t, conn)
}

// TryDial opens a WebSocket that may be refused. The connection is for New.
func TryDial(d ws.Dialer, url string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn, early, _, err := d.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	if early != nil {
		return &earlyConn{conn, early}, nil
	}
	return conn, nil
}

// earlyConn reads first what came with the response to the handshake.
type earlyConn struct {
	net.Conn
	early *bufio.Reader
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if c.early.Buffered() > 0 {
		return c.early.Read(p)
	}
	return c.Conn.Read(p)
}

// Read reads bytes as they came.
func (c *Client) Read(p []byte) (int, error) { return c.r.Read(p) }

// Send sends a text.
func (c *Client) Send(text string) {
	c.T.Helper()
	c.send(ws.OpText, text)
}

// SendBinary sends a binary message.
func (c *Client) SendBinary(payload string) {
	c.T.Helper()
	c.send(ws.OpBinary, payload)
}

func (c *Client) send(op ws.OpCode, payload string) {
	c.T.Helper()
	if err := wsutil.WriteClientMessage(c, op, []byte(payload)); err != nil {
		c.T.Fatalf("send %.40q: %v", payload, err)
	}
}

// Receive returns the next message. Pings are answered meanwhile; a Close frame is
// answered and returned as a wsutil.ClosedError.
func (c *Client) Receive() (ws.OpCode, string, error) {
	payload, op, err := wsutil.ReadServerData(c)
	return op, string(payload), err
}

// Text returns the next message, of whichever type.
func (c *Client) Text() string {
	c.T.Helper()
	_, got, err := c.Receive()
	if err != nil {
		c.T.Fatalf("read: %v", err)
	}
	return got
}

// Want reads the next message and wants this text.
func (c *Client) Want(text string) {
	c.T.Helper()
	c.want(ws.OpText, text)
}

// WantBinary reads the next message and wants it to be binary.
func (c *Client) WantBinary(payload string) {
	c.T.Helper()
	c.want(ws.OpBinary, payload)
}

func (c *Client) want(op ws.OpCode, payload string) {
	c.T.Helper()
	gotOp, got, err := c.Receive()
	if err != nil {
		c.T.Fatalf("read: %v, want %v %.60q", err, op, payload)
	}
	if got != payload || gotOp != op {
		c.T.Fatalf("got %v %.60q (%d bytes), want %v %.60q (%d bytes)", gotOp, got, len(got), op, payload, len(payload))
	}
}

// WantClose reads up to the server's Close frame, which it does not answer. The reason
// "*" is any.
func (c *Client) WantClose(code ws.StatusCode, reason string) {
	c.T.Helper()
	for {
		f, err := ReadFrame(c)
		if err != nil {
			c.T.Fatalf("read: %v, want Close %d", err, code)
		}
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		gotCode, gotReason := ws.ParseCloseFrameData(f.Payload)
		if gotCode != code || reason != "*" && gotReason != reason {
			c.T.Fatalf("closed with %d %q, want %d %q", gotCode, gotReason, code, reason)
		}
		return
	}
}

// WantClosing wants the server's Close frame to come next, with any reason, and answers
// it.
func (c *Client) WantClosing(code ws.StatusCode) {
	c.T.Helper()
	_, payload, err := c.Receive()
	var closed wsutil.ClosedError
	if !errors.As(err, &closed) || closed.Code != code {
		c.T.Fatalf("got %.60q, %v; want a Close frame with %d", payload, err, code)
	}
}

// WantEnd reads to the end of the connection.
func (c *Client) WantEnd() {
	c.T.Helper()
	_, err := io.Copy(io.Discard, c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.T.Fatal("the server did not close the connection")
	}
}
