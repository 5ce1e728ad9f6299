package wstest

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/gobwas/ws"
)

// Upgrade is a valid request for a WebSocket, with more header lines.
func Upgrade(lines ...string) string {
	return "GET /ws?a=b HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// Masked is a client's frame on the wire.
func Masked(op ws.OpCode, payload string) string {
	return string(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, true, []byte(payload)))))
}

// CloseFrame is a client's Close frame on the wire.
func CloseFrame(code ws.StatusCode, reason string) string {
	return Masked(ws.OpClose, string(ws.NewCloseFrameBody(code, reason)))
}

// ReadFrame reads a frame of the server's, which tests trust with their memory.
func ReadFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// Put writes bytes as they are.
func (c *Client) Put(text string) {
	c.T.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.T.Fatalf("write %.40q: %v", text, err)
	}
}

// WantFrame reads one frame of any kind.
func (c *Client) WantFrame(op ws.OpCode, payload string) {
	c.T.Helper()
	f, err := ReadFrame(c)
	if err != nil {
		c.T.Fatalf("read: %v, want %v %.40q", err, op, payload)
	}
	if f.Header.OpCode != op || string(f.Payload) != payload {
		c.T.Fatalf("got %v %.40q, want %v %.40q", f.Header.OpCode, f.Payload, op, payload)
	}
}

// Status reads the head of a response and returns its status.
func (c *Client) Status() int {
	c.T.Helper()
	return c.head(http.MethodGet).StatusCode
}

// WantStatus reads the response to a GET, whose body is then in memory.
func (c *Client) WantStatus(status int) *http.Response {
	c.T.Helper()
	return c.WantStatusTo(http.MethodGet, status)
}

// WantStatusTo reads the response to a request of any method.
func (c *Client) WantStatusTo(method string, status int) *http.Response {
	c.T.Helper()
	r := c.head(method)
	if status != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			c.T.Fatalf("read the body of the %d: %v", r.StatusCode, err)
		}
		_ = r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if r.StatusCode != status {
		c.T.Fatalf("got %s, want %d", r.Status, status)
	}
	return r
}

// Response reads the head of a response, whose body may then be read piece by piece.
func (c *Client) Response(method string) (*http.Response, error) {
	return http.ReadResponse(c.r, &http.Request{Method: method})
}

func (c *Client) head(method string) *http.Response {
	c.T.Helper()
	r, err := c.Response(method)
	if err != nil {
		c.T.Fatalf("read the response: %v", err)
	}
	return r
}
