package bench

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
)

// A hostileKind is one way of being a bad client. step is what it does again
// and again, hostilePace apart; an error, such as being thrown out, makes it
// come back.
type hostileKind struct {
	name, text string
	// upgraded: it begins with a proper upgrade.
	upgraded bool
	// raw: it does without TLS where the server speaks it; it is let loose on
	// such servers only.
	raw     bool
	headers []string
	step    func(conn net.Conn, n int) error
	// decoy is what the decoy does with it.
	decoy decoyManner
}

// hostilePace is the time between two steps: a flood fills 16 KiB in each, which
// is 128 Mbit/s, more than a home's line carries and less than would make this
// a test of which program gets the processor.
const hostilePace = time.Millisecond

const hostileBytes = 16 << 10

// hostileKinds are those that RunHostile lets loose, one at a time.
var hostileKinds = []hostileKind{
	{name: "slow_head", text: "sends its request byte by byte", step: func(c net.Conn, n int) error {
		const head = "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
		if n < len(head) {
			return write(c, []byte{head[n]})
		}
		return write(c, []byte{'x'})
	}},
	{name: "garbage", text: "sends what is no HTTP, and comes back", decoy: decoyCloses, step: func(c net.Conn, _ int) error {
		_ = write(c, bytes.Repeat([]byte{0xff}, 64)) // the read fails, too
		return drop(c)
	}},
	{name: "connects", text: "connects and leaves", step: func(net.Conn, int) error { return io.EOF }},
	{name: "pings", text: "floods with pings", upgraded: true, step: flood(frame.OpPing, true, nil)},
	{name: "fragments", text: "floods with empty fragments", upgraded: true, step: func(c net.Conn, n int) error {
		if n == 0 {
			return write(c, hostileFrame(frame.OpBinary, false, 0, nil))
		}
		return flood(frame.OpContinuation, false, nil)(c, n-1)
	}},
	{name: "messages", text: "floods with messages of one byte", upgraded: true, step: flood(frame.OpBinary, true, []byte("x"))},
	{name: "deaf", text: "sends messages and never reads", upgraded: true, decoy: decoyStops, step: func(c net.Conn, _ int) error {
		_ = c.SetWriteDeadline(time.Now().Add(hostilePace)) // the server stops reading
		if err := write(c, hostileFrame(frame.OpBinary, true, 0, make([]byte, hostileBytes))); err != nil {
			time.Sleep(10 * hostilePace)
		}
		return nil
	}},
	{name: "half_tls", text: "begins a TLS handshake, and leaves", raw: true, decoy: decoyCloses, step: func(c net.Conn, _ int) error {
		if err := write(c, stray()); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = c.Read(make([]byte, 1)) // the server has done its part
		return io.EOF
	}},
	{name: "giant", text: "announces a message of 2^40 bytes, and comes back", upgraded: true, decoy: decoyCloses, step: func(c net.Conn, _ int) error {
		if err := write(c, []byte{0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4}); err != nil {
			return err
		}
		return drop(c)
	}},
	{name: "bomb", text: "sends 32 KiB that inflate to 32 MiB, and comes back", upgraded: true, decoy: decoyCloses,
		headers: []string{"Sec-WebSocket-Extensions: permessage-deflate"}, step: func(c net.Conn, _ int) error {
			if err := write(c, hostileFrame(frame.OpBinary, true, 4, bomb())); err != nil {
				return err
			}
			return drop(c)
		}},
}

// stray is a ClientHello.
var stray = sync.OnceValue(func() []byte {
	c := &recorder{}
	_ = tls.Client(c, &tls.Config{ServerName: "localhost"}).Handshake() // ends with c's EOF
	return c.written
})

// A recorder is a connection that leads nowhere.
type recorder struct {
	net.Conn
	written []byte
}

func (c *recorder) Write(p []byte) (int, error) {
	c.written = append(c.written, p...)
	return len(p), nil
}
func (c *recorder) Read([]byte) (int, error) { return 0, io.EOF }

// flood fills a write with frames. What comes back is read and dropped.
func flood(op frame.Opcode, fin bool, payload []byte) func(net.Conn, int) error {
	one := hostileFrame(op, fin, 0, payload)
	many := bytes.Repeat(one, hostileBytes/len(one))
	return func(c net.Conn, n int) error {
		if n == 0 {
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
		}
		return write(c, many)
	}
}

func write(c net.Conn, p []byte) error {
	_, err := c.Write(p)
	return err
}

// drop waits until the server has thrown us out.
func drop(c net.Conn) error {
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	_, err := io.Copy(io.Discard, c)
	return fmt.Errorf("thrown out: %w", err)
}

// hostileFrame is a client's frame, masked with zeros.
func hostileFrame(op frame.Opcode, fin bool, rsv byte, payload []byte) []byte {
	h := frame.Header{Fin: fin, Rsv: rsv, Opcode: op, Masked: true, Length: int64(len(payload))}
	return append(frame.AppendHeader(nil, h), payload...)
}

// bomb is 32 MiB of zeros, deflated: a MiB that ends on a whole byte, 32 times.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // the level is valid
	_, _ = w.Write(make([]byte, 1<<20))                // a bytes.Buffer takes everything
	_ = w.Flush()
	return bytes.TrimSuffix(bytes.Repeat(b.Bytes(), 32), []byte{0, 0, 0xff, 0xff})
})

// kindNamed returns the kind of hostile client with a name; nil if there is
// none.
func kindNamed(name string) *hostileKind {
	for i := range hostileKinds {
		if hostileKinds[i].name == name {
			return &hostileKinds[i]
		}
	}
	return nil
}

// hostileTally is what a hostile client has done.
type hostileTally struct{ Conns, Steps int }

// run is one hostile client's life, until ctx ends. It calls connected for each connection,
// and returns what it did.
func (k *hostileKind) run(ctx context.Context, rawURL string, trusted trust, connected func()) (did hostileTally, err error) {
	e, err := splitURL(rawURL)
	if err != nil {
		return did, err
	}
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", e.to.String())
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return did, err
		}
		did.Conns++
		connected()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		speaks := conn
		if e.secure && !k.raw {
			speaks = tls.Client(conn, trusted.config(e.name))
		}
		did.Steps += k.live(ctx, speaks, e.path, e.host)
		stop()
		_ = conn.Close()
		pace(ctx)
	}
	if did.Conns == 0 {
		return did, errors.New("it never connected")
	}
	return did, nil
}

// live is one connection. It returns the number of steps that succeeded.
func (k *hostileKind) live(ctx context.Context, conn net.Conn, path, host string) (steps int) {
	if k.upgraded {
		if write(conn, appendUpgradeRequest(nil, path, host, 0, k.headers)) != nil {
			return 0
		}
		// The response is not checked: what was refused is a connection that is
		// thrown out.
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return 0
			}
			if line == "\r\n" {
				break
			}
		}
	}
	for ; ctx.Err() == nil; steps++ {
		if k.step(conn, steps) != nil {
			return steps
		}
		pace(ctx)
	}
	return steps
}

func pace(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(hostilePace):
	}
}
