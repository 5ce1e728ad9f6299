package bench

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
)

// crypto/tls knows only blocking connections. A tlsClient is a net.Conn without
// a socket: the loop feeds it what it has read and sends what it has written.
// The handshake runs on a goroutine of its own, at most openRequest.InFlight of
// them; afterwards the loop calls crypto/tls itself, and Read returns
// errNoInput when it has used up what was fed.
type tlsClient struct {
	g    *generator
	id   netpoll.ID
	i    int32
	conn *tls.Conn

	// Owned by the loop, once handshake is nil.
	in, out []byte
	// handshake is not nil while a goroutine owns conn. Set and cleared by the
	// loop, when the goroutine is not there.
	handshake *tlsInput
}

// tlsInput is what the loop hands to a handshake.
type tlsInput struct {
	mu    sync.Mutex
	cond  sync.Cond
	in    []byte // Guarded by mu.
	ended bool   // Guarded by mu: the connection is gone.
}

// noInput is a net.Error that passes: crypto/tls does not keep it.
type noInput struct{}

func (noInput) Error() string   { return "no more input for now" }
func (noInput) Timeout() bool   { return true }
func (noInput) Temporary() bool { return true }

var errNoInput net.Error = noInput{}

// Read gives crypto/tls what was fed.
func (c *tlsClient) Read(p []byte) (int, error) {
	if h := c.handshake; h != nil {
		return h.read(p)
	}
	if len(c.in) == 0 {
		return 0, errNoInput
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (h *tlsInput) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.in) == 0 && !h.ended {
		h.cond.Wait()
	}
	if len(h.in) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	return n, nil
}

func (h *tlsInput) feed(p []byte) {
	h.mu.Lock()
	h.in = append(h.in, p...)
	h.mu.Unlock()
	h.cond.Signal()
}

func (h *tlsInput) end() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.cond.Signal()
}

// Write collects records for the loop, or, in the handshake, has them sent.
func (c *tlsClient) Write(p []byte) (int, error) {
	if c.handshake == nil {
		c.out = append(c.out, p...)
		return len(p), nil
	}
	flight := append([]byte(nil), p...)
	c.g.call(func() {
		if c.g.secure[c.i] == c {
			c.g.writeRaw(c.i, flight)
		}
	})
	return len(p), nil
}

// Close and the rest of net.Conn are the loop's business.
func (c *tlsClient) Close() error                     { return nil }
func (c *tlsClient) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *tlsClient) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *tlsClient) SetDeadline(time.Time) error      { return nil }
func (c *tlsClient) SetReadDeadline(time.Time) error  { return nil }
func (c *tlsClient) SetWriteDeadline(time.Time) error { return nil }

// beginTLS starts connection i's handshake.
func (g *generator) beginTLS(i int32, config *tls.Config) {
	h := &tlsInput{}
	h.cond.L = &h.mu
	c := &tlsClient{g: g, id: g.conns[i].id, i: i, handshake: h}
	c.conn = tls.Client(c, config)
	g.secure[i] = c
	go func() {
		err := c.conn.Handshake()
		g.call(func() { g.handshaken(c, err) })
	}()
}

// handshaken takes the connection back from the goroutine.
func (g *generator) handshaken(c *tlsClient, err error) {
	if g.secure[c.i] != c {
		return // it is gone
	}
	h := c.handshake
	c.handshake = nil
	conn := &g.conns[c.i]
	switch {
	case err != nil:
		g.openFailed(conn, err)
		resetOnClose(g.loop.FD(c.id))
		g.loop.Abort(c.id)
	case conn.state == connConnecting && g.opening != nil:
		g.requestUpgrade(c.i, g.opening)
		g.decrypt(c, h.in)
	}
}

// decrypt handles records that have come.
func (g *generator) decrypt(c *tlsClient, p []byte) {
	if h := c.handshake; h != nil {
		h.feed(p)
		return
	}
	if g.plain == nil {
		g.plain = make([]byte, 16<<10) // a record holds no more (RFC 8446, section 5.1)
	}
	c.in = p
	for g.secure[c.i] == c {
		n, err := c.conn.Read(g.plain)
		if n > 0 {
			g.plainText(c.i, g.plain[:n])
		}
		if err == nil {
			continue
		}
		if g.secure[c.i] == c && !errors.Is(err, errNoInput) && err != io.EOF { // close_notify: the end follows
			g.view.ProtocolErrors++
			g.fault("connection %d: %v", g.first+int(c.i), err)
			g.loop.Abort(c.id)
		}
		break
	}
	c.in = nil
	if len(c.out) > 0 && g.secure[c.i] == c { // an alert, a new key
		g.writeRaw(c.i, c.out)
	}
	c.out = nil
}

// encrypt returns p's records, valid until the next call.
func (g *generator) encrypt(c *tlsClient, p []byte) []byte {
	kept := c.out
	c.out = g.cipher[:0]
	_, _ = c.conn.Write(p) // it goes to c.Write, which cannot fail
	records := c.out
	g.cipher, c.out = records[:0], kept
	return records
}

// forget ends what belongs to connection i, but for its socket.
func (g *generator) forget(i int32) {
	delete(g.held, i)
	delete(g.pending, i)
	if c := g.secure[i]; c != nil {
		if c.handshake != nil {
			c.handshake.end()
		}
		delete(g.secure, i)
	}
}
