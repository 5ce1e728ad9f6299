package intake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
)

// TLS on an event loop. crypto/tls knows only blocking connections, so it is given
// a net.Conn without a socket: the loop feeds it what it has read, and sends what
// it has written. A handshake cannot be suspended and gets a goroutine; afterwards
// crypto/tls runs on the loop, where its reads return ErrWouldBlock when all that
// was fed is used up. An idle connection has no goroutine.
//
// Write errors are sticky in crypto/tls, so the layer below takes everything into
// out. Two things get there: records that the shard asked for, and those that
// crypto/tls makes by itself while it reads (answers to key updates, alerts). out
// is either empty or waits for the socket: after each call of crypto/tls the shard
// flushes it, and nothing else is encrypted while it waits. So out holds at most
// one record of ours, and what a client can make crypto/tls say is bounded by not
// reading that client (OutputMax).
const (
	// inputMax bounds what is held for a handshake: a client's part is a few KiB,
	// more with certificates.
	inputMax = 64 << 10
	// OutputMax is how much may wait in Out before the client must not be read any
	// more: a client may ask for a key update in each record and read no answer.
	OutputMax = 64 << 10
	// recordBytes is how much is encrypted at a time: one record (RFC 8446, 5.1).
	recordBytes = 16 << 10
)

// ErrWouldBlock is what Read returns when all that was fed is used up. crypto/tls
// takes it for a passing condition: a net.Error whose Temporary is true is not
// sticky.
var ErrWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "no more input for now" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// A TLS is the TLS of one connection. Its methods belong to the loop.
type TLS struct {
	conn    *tls.Conn
	under   ciphertext
	trimmed bool
}

// A Buffer is what the TLS connections of a loop share: nothing stays in it
// between two calls. The zero value is ready.
type Buffer struct{ plain, cipher []byte }

// ciphertext is the net.Conn below crypto/tls.
type ciphertext struct {
	// Owned by the loop, once handshake is nil.
	in, out []byte

	// handshake is not nil while a goroutine owns the tls.Conn. Set before that
	// goroutine starts, cleared by the loop after it has ended.
	handshake *tlsHandshake
}

// tlsHandshake is what the loop and a handshake's goroutine share.
type tlsHandshake struct {
	flight func([]byte) error

	mu   sync.Mutex
	cond sync.Cond
	// Guarded by mu.
	in       []byte
	ended    bool // the connection is gone
	starving bool // the handshake waits for the client
}

// StartTLS starts the handshake of a connection on a goroutine of its own. input,
// which it takes over, is what the client has sent so far. That goroutine calls
// flight with bytes for the client, which flight takes over, and at the end done,
// once; the loop then calls Finish.
func StartTLS(config *tls.Config, input []byte, flight func([]byte) error, done func(error)) *TLS {
	h := &tlsHandshake{in: input, flight: flight}
	h.cond.L = &h.mu
	t := &TLS{under: ciphertext{handshake: h}}
	t.conn = tls.Server(&t.under, config)
	go func() { done(t.shake()) }()
	return t
}

// shake runs the handshake. GetCertificate is the application's and may panic.
func (t *TLS) shake() (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic in TLS handshake: %v", value)
		}
	}()
	return t.conn.Handshake()
}

// Adopt takes a TLS connection over whose handshake is done, and its bytes from
// carrier. Any goroutine that owns conn.
func Adopt(conn *tls.Conn, carrier *Carrier) *TLS {
	t := &TLS{conn: conn}
	carrier.loop.Store(&t.under)
	return t
}

// Shaking reports whether the handshake is under way: only Feed, Queue, Flush,
// Starved and Abandon may be called then.
func (t *TLS) Shaking() bool { return t.under.handshake != nil }

// Finish makes the loop the owner, after done was called. What the handshake has
// not used up of its input can be read.
func (t *TLS) Finish() {
	t.under.in = t.under.handshake.in
	t.under.handshake = nil
}

// Abandon makes a handshake that is under way give up.
func (t *TLS) Abandon() {
	h := t.under.handshake
	if h == nil {
		return
	}
	h.mu.Lock()
	h.ended = true
	h.cond.Signal()
	h.mu.Unlock()
}

// Starved reports whether the next step of the handshake is the client's. It
// returns false if none is under way.
func (t *TLS) Starved() bool {
	h := t.under.handshake
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.starving && len(h.in) == 0
}

// Feed gives crypto/tls what the loop has read. After the handshake p is used
// until Starve. It returns false if a handshake gets more than it may.
func (t *TLS) Feed(p []byte) bool {
	h := t.under.handshake
	if h == nil {
		t.under.in = p
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in = append(h.in, p...)
	h.cond.Signal()
	return len(h.in) <= inputMax
}

// Fed returns what was fed and is not used up. It is valid until Starve.
func (t *TLS) Fed() []byte { return t.under.in }

// Starve ends the use of what was fed.
func (t *TLS) Starve() { t.under.in = nil }

// Read decrypts one piece of what was fed. plain is valid until the next call with
// b. The error is ErrWouldBlock when all is used up, io.EOF at the end.
func (t *TLS) Read(b *Buffer) (plain []byte, err error) {
	if b.plain == nil {
		b.plain = make([]byte, recordBytes)
	}
	n, err := t.conn.Read(b.plain)
	return b.plain[:n], err
}

// Write encrypts p, one record after the other, and sends it until the socket is
// full (Out is not empty then). All that it encrypts counts as written. It writes
// nothing while Out is not empty, or the handshake is under way.
func (t *TLS) Write(loop netpoll.Loop, id netpoll.ID, b *Buffer, p []byte) (n int, err error) {
	if t.Shaking() || len(t.under.out) > 0 {
		return 0, nil
	}
	for n < len(p) && len(t.under.out) == 0 {
		m := min(len(p)-n, recordBytes)
		t.under.out = b.cipher[:0]
		if _, err = t.conn.Write(p[n : n+m]); err != nil {
			return n, err
		}
		n += m
		if err = t.sendBorrowed(loop, id, b); err != nil {
			return n, err
		}
	}
	return n, nil
}

// CloseNotify says goodbye if the socket has room for it.
func (t *TLS) CloseNotify(loop netpoll.Loop, id netpoll.ID, b *Buffer) {
	if t.Shaking() || len(t.under.out) > 0 {
		return
	}
	t.under.out = b.cipher[:0]
	if t.conn.CloseWrite() == nil {
		_ = t.sendBorrowed(loop, id, b)
	}
	t.under.out = nil
}

// sendBorrowed sends out, whose array is b's, and copies what the socket does not
// take.
func (t *TLS) sendBorrowed(loop netpoll.Loop, id netpoll.ID, b *Buffer) error {
	records := t.under.out
	b.cipher, t.under.out = records[:0], nil
	n, err := loop.Write(id, records)
	if err == nil && n < len(records) {
		t.under.out = append([]byte(nil), records[n:]...)
	}
	return err
}

// Out is ciphertext that waits for the socket, or for Flush.
func (t *TLS) Out() []byte { return t.under.out }

// Queue puts bytes of a handshake behind those that wait.
func (t *TLS) Queue(flight []byte) { t.under.out = append(t.under.out, flight...) }

// Flush sends what waits and returns how much of it the socket took.
func (t *TLS) Flush(loop netpoll.Loop, id netpoll.ID) (n int, err error) {
	n, err = loop.Write(id, t.under.out)
	if t.under.out = t.under.out[n:]; len(t.under.out) == 0 || err != nil {
		t.under.out = nil
	}
	return n, err
}

// Trim frees buffers that an idle connection does not need.
func (t *TLS) Trim() { trimTLS(t.conn) }

// TrimOnce is Trim after the handshake, where it frees most.
func (t *TLS) TrimOnce() {
	if !t.trimmed {
		t.trimmed = true
		trimTLS(t.conn)
	}
}

// State returns crypto/tls's state of the connection, whose handshake must be
// done.
func (t *TLS) State() tls.ConnectionState { return t.conn.ConnectionState() }

// Read gives crypto/tls what was fed.
func (c *ciphertext) Read(p []byte) (int, error) {
	if h := c.handshake; h != nil {
		return h.read(p)
	}
	if len(c.in) == 0 {
		return 0, ErrWouldBlock
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (h *tlsHandshake) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.in) == 0 && !h.ended {
		h.starving = true
		h.cond.Wait()
		h.starving = false
	}
	if h.ended {
		return 0, io.ErrClosedPipe
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	return n, nil
}

// Write takes ciphertext: for the loop's next write, or, during the handshake, for
// flight.
func (c *ciphertext) Write(p []byte) (int, error) {
	if h := c.handshake; h != nil {
		return len(p), h.flight(append([]byte(nil), p...))
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// The rest of net.Conn does nothing: the loop has the socket and the deadlines.

func (c *ciphertext) Close() error                     { return nil }
func (c *ciphertext) LocalAddr() net.Addr              { return noAddr{} }
func (c *ciphertext) RemoteAddr() net.Addr             { return noAddr{} }
func (c *ciphertext) SetDeadline(time.Time) error      { return nil }
func (c *ciphertext) SetReadDeadline(time.Time) error  { return nil }
func (c *ciphertext) SetWriteDeadline(time.Time) error { return nil }

type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "loop" }

// WouldBlock reports whether err is the end of what was fed, for now.
func WouldBlock(err error) bool { return errors.Is(err, ErrWouldBlock) }
