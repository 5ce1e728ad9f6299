package peers_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"
)

// Opcodes of RFC 6455, section 5.2.
const (
	continuation = 0x0
	text         = 0x1
	binaryOp     = 0x2
	closeOp      = 0x8
	ping         = 0x9
	pong         = 0xA
)

const ioTimeout = time.Minute

// client is a WebSocket client that shares no code with any peer.
type client struct {
	t    *testing.T
	name string
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, addr, name string) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, ioTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t: t, name: name, conn: conn, r: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(ioTimeout))
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", addr)
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatalf("%s: upgrade: %v", name, err)
	}
	// The answer of RFC 6455, section 1.3, to the key of the same section.
	if got, want := response.Header.Get("Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; response.StatusCode != 101 || got != want {
		t.Fatalf("%s: upgrade: %s, accept %q, want 101 and %q", name, response.Status, got, want)
	}
	return c
}

// send writes one masked frame.
func (c *client) send(fin bool, opcode byte, payload []byte) {
	c.t.Helper()
	b := []byte{opcode, 0x80}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b[1] |= byte(n)
	case n < 1<<16:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	key := binary.BigEndian.AppendUint32(nil, rand.Uint32())
	b = append(b, key...)
	for i, p := range payload {
		b = append(b, p^key[i%4])
	}
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("%s: write: %v", c.name, err)
	}
}

// receive reads one message, or one control frame where no message is incomplete:
// its opcode and its whole payload.
func (c *client) receive() (opcode byte, payload []byte) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	for {
		var head [2]byte
		c.readFull(head[:])
		fin, op, n := head[0]&0x80 != 0, head[0]&0x0f, uint64(head[1]&0x7f)
		if head[0]&0x70 != 0 || head[1]&0x80 != 0 {
			c.t.Fatalf("%s: frame header %x has a reserved bit or a mask", c.name, head)
		}
		switch n {
		case 126:
			var length [2]byte
			c.readFull(length[:])
			n = uint64(binary.BigEndian.Uint16(length[:]))
		case 127:
			var length [8]byte
			c.readFull(length[:])
			n = binary.BigEndian.Uint64(length[:])
		}
		if n > 1<<24 {
			c.t.Fatalf("%s: a frame of %d bytes", c.name, n)
		}
		part := make([]byte, n)
		c.readFull(part)
		if op != continuation {
			opcode = op
		}
		payload = append(payload, part...)
		if fin {
			return opcode, payload
		}
	}
}

func (c *client) readFull(b []byte) {
	c.t.Helper()
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatalf("%s: read: %v", c.name, err)
	}
}

// want receives one message and compares it.
func (c *client) want(opcode byte, payload []byte) {
	c.t.Helper()
	gotOpcode, got := c.receive()
	if gotOpcode != opcode || !bytes.Equal(got, payload) {
		c.t.Fatalf("%s: got opcode %#x, %d bytes %.40q, want opcode %#x, %d bytes %.40q",
			c.name, gotOpcode, len(got), got, opcode, len(payload), payload)
	}
}

// wantPong sends a ping and receives its pong: what the server does with this
// connection when it opens is done.
func (c *client) wantPong(payload string) {
	c.t.Helper()
	c.send(true, ping, []byte(payload))
	c.want(pong, []byte(payload))
}

// wantClose closes as RFC 6455, section 7.1.1, says and waits for the end.
func (c *client) wantClose() {
	c.t.Helper()
	c.send(true, closeOp, []byte{1000 >> 8, 1000 & 0xff})
	opcode, payload := c.receive()
	if opcode != closeOp || (len(payload) > 0 && binary.BigEndian.Uint16(payload) != 1000) {
		c.t.Fatalf("%s: got opcode %#x, payload %q, want a close frame with 1000 or nothing", c.name, opcode, payload)
	}
	if n, err := io.Copy(io.Discard, c.r); err != nil || n > 0 {
		c.t.Fatalf("%s: after the close frame: %d bytes, %v, want the end", c.name, n, err)
	}
}
