package shard

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
)

// TLS on an event loop. crypto/tls knows only blocking connections, so a tlsConn
// is a net.Conn without a socket: what the loop has read is fed to it, what it
// writes is collected and sent by the loop. A handshake cannot be suspended and
// gets a goroutine, in bounded number and time; afterwards crypto/tls runs on
// the loop, Read answers errWouldBlock when it has used up what was fed, and an
// idle connection has no goroutine.
//
// Write errors are sticky in crypto/tls, so the layer below takes everything
// into out. Two things come there: records that we asked for, and those that
// crypto/tls makes by itself while it reads (answers to key updates, alerts).
// One rule keeps them moving: out is either empty or waits for the socket, with
// flagStalled set, so that OnWritable goes on with it. Whoever calls crypto/tls
// passes on what it left in out (flushTLS) before anything else is written.
// Nothing of ours is encrypted while out waits; so out holds one record of ours
// at most, and what a client can make crypto/tls say is bounded by not reading
// that client (tlsOutputMax).

// tlsInputMax bounds what is held for a handshake: a client's part is a few KiB,
// more with certificates.
const tlsInputMax = 64 << 10

// tlsOutputMax is how much may wait in out before the client is not read any
// more: a client may ask for a key update in each record and read no answer.
const tlsOutputMax = 64 << 10

// tlsChunk is how much is encrypted at a time: one record (RFC 8446, 5.1).
const tlsChunk = 16 << 10

type tlsConn struct {
	shard *Shard
	id    netpoll.ID
	conn  *tls.Conn

	// Owned by the loop, once handshake is nil.
	in, out []byte
	trimmed bool // the handshake's buffers are gone

	// handshake is not nil while a goroutine owns conn. Set and cleared by the
	// loop.
	handshake *tlsHandshake
}

// tlsHandshake is what the loop and a handshake's goroutine share.
type tlsHandshake struct {
	mu    sync.Mutex
	cond  sync.Cond
	in    []byte // guarded by mu
	ended bool   // guarded by mu: the connection is gone
	// starving: the handshake waits for the client. Guarded by mu.
	starving bool
}

// starved tells whether the next step is the client's. Any goroutine.
func (h *tlsHandshake) starved() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.starving && len(h.in) == 0
}

// errWouldBlock is what crypto/tls takes for a passing condition: a net.Error
// whose Temporary is true is not sticky.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "no more input for now" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock net.Error = wouldBlock{}

// Read gives crypto/tls what was fed.
func (c *tlsConn) Read(p []byte) (int, error) {
	if h := c.handshake; h != nil {
		return h.read(p)
	}
	if len(c.in) == 0 {
		return 0, errWouldBlock
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

// feed adds what the loop has read; it answers false when it is too much.
func (h *tlsHandshake) feed(p []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in = append(h.in, p...)
	h.cond.Signal()
	return len(h.in) <= tlsInputMax
}

// end makes the goroutine give up.
func (h *tlsHandshake) end() {
	h.mu.Lock()
	h.ended = true
	h.cond.Signal()
	h.mu.Unlock()
}

// Write collects ciphertext: for the loop's next write, or, during the
// handshake, through the inbox.
func (c *tlsConn) Write(p []byte) (int, error) {
	if c.handshake == nil {
		c.out = append(c.out, p...)
		return len(p), nil
	}
	flight := append([]byte(nil), p...)
	err := c.shard.Call(func(s *Shard) {
		if s != nil {
			s.sendFlight(c, flight)
		}
	})
	return len(p), err
}

// Close and the rest of net.Conn are not ours to do.
func (c *tlsConn) Close() error                     { return nil }
func (c *tlsConn) LocalAddr() net.Addr              { return noAddr{} }
func (c *tlsConn) RemoteAddr() net.Addr             { return noAddr{} }
func (c *tlsConn) SetDeadline(time.Time) error      { return nil }
func (c *tlsConn) SetReadDeadline(time.Time) error  { return nil }
func (c *tlsConn) SetWriteDeadline(time.Time) error { return nil }

type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "loop" }

// onDataTLS handles ciphertext.
func (c conn) onDataTLS(p []byte) {
	x := c.makeExt()
	switch {
	case x.tls == nil && x.input == nil && handshake.CheckStart(p) == nil:
		// A TLS record begins with its type, which is no character of HTTP's.
		// net/http and nginx answer in plain HTTP, too: no handshake could.
		c.s.count.TLSHandshakeErrors.Add(1)
		c.flags &^= flagTLS
		c.setState(stateHead)
		c.refuse(handshake.ErrPlainHTTP)
	case x.tls == nil:
		c.hold(p)
		c.beginTLS()
	case x.tls.handshake != nil:
		if !x.tls.handshake.feed(p) {
			c.s.count.TLSHandshakeErrors.Add(1)
			c.abort(Closed{Code: frame.CloseAbnormal, Reason: "TLS handshake too long"})
		}
	default:
		x.tls.in = p
		c.readTLS(x.tls)
	}
}

// beginTLS starts the handshake, or lets it wait for its turn, unread.
func (c conn) beginTLS() {
	s := c.s
	x := c.ext()
	if s.tlsRunning >= s.cfg.TLSHandshakes {
		s.count.TLSHandshakesQueued.Add(1)
		s.tlsWaiting = append(s.tlsWaiting, c.id)
		c.pause(flagPausedWork)
		return
	}
	s.tlsRunning++
	c.openedTick = s.tick // its turn begins: see makeRoom
	h := &tlsHandshake{in: x.input}
	h.cond.L = &h.mu
	x.input = nil
	t := &tlsConn{shard: s, id: c.id, handshake: h}
	t.conn = tls.Server(t, s.cfg.TLS)
	x.tls = t
	go t.run()
}

// run is the handshake's goroutine.
func (c *tlsConn) run() {
	err := func() (err error) {
		defer func() {
			if value := recover(); value != nil { // GetCertificate is the application's
				err = fmt.Errorf("panic in TLS handshake: %v", value)
			}
		}()
		return c.conn.Handshake()
	}()
	_ = c.shard.Call(func(s *Shard) {
		if s != nil {
			s.doneTLS(c, err)
		}
	})
}

// sendFlight writes a part of the handshake.
func (s *Shard) sendFlight(t *tlsConn, flight []byte) {
	c, ok := s.find(t.id)
	if !ok || c.state == stateGone {
		return
	}
	if len(t.out) > 0 {
		t.out = append(t.out, flight...)
		return
	}
	_ = c.sendCipher(t, flight)
}

// sendCipher writes records and keeps what the socket does not take.
func (c conn) sendCipher(t *tlsConn, records []byte) (err error) {
	n, err := c.s.loop.Write(c.id, records)
	t.out = nil
	if err == nil && n < len(records) {
		t.out = append(t.out, records[n:]...)
		c.markStalled()
	}
	return err
}

// flushTLS passes on what crypto/tls has left in out by itself. Behind output
// that waits for the socket it waits, too.
func (c conn) flushTLS(t *tlsConn) error {
	switch {
	case len(t.out) == 0:
		return nil
	case c.flags&flagStalled == 0:
		return c.sendCipher(t, t.out)
	case len(t.out) > tlsOutputMax:
		c.pause(flagPausedOutput)
	}
	return nil
}

// doneTLS takes the connection back from the handshake's goroutine.
func (s *Shard) doneTLS(t *tlsConn, err error) {
	s.tlsRunning--
	s.nextTLS()
	h := t.handshake
	c, ok := s.find(t.id)
	if !ok || c.state != stateTLS {
		return
	}
	t.handshake = nil
	if err != nil {
		s.count.TLSHandshakeErrors.Add(1)
		c.decide(Closed{Code: frame.CloseTLSHandshake, Reason: "TLS handshake failed", Err: err})
		s.log.Debug("TLS handshake failed", "conn_id", c.id.String(), "err", err)
		c.shutWhenFlushed()
		return
	}
	s.count.TLSHandshakes.Add(1)
	c.setState(stateHead)
	t.in = h.in
	c.readTLS(t)
}

// nextTLS starts a handshake that waited for its turn.
func (s *Shard) nextTLS() {
	for len(s.tlsWaiting) > 0 && s.tlsRunning < s.cfg.TLSHandshakes {
		id := s.tlsWaiting[0]
		s.tlsWaiting = s.tlsWaiting[1:]
		if c, ok := s.find(id); ok && c.state == stateTLS {
			c.resume(flagPausedWork)
			c.beginTLS()
		}
	}
}

// readTLS decrypts what was fed and handles the plaintext.
func (c conn) readTLS(t *tlsConn) {
	s := c.s
	if s.plain == nil {
		s.plain = make([]byte, tlsChunk)
	}
	for c.alive() && c.state != stateFlushing {
		n, err := t.conn.Read(s.plain)
		if c.flushTLS(t) != nil {
			return // OnClose follows
		}
		if n > 0 {
			c.onPlain(s.plain[:n])
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errWouldBlock) || !c.current() {
			break
		}
		c.failTLS(err)
		break
	}
	t.in = nil
	if !t.trimmed && c.isOpen() {
		// Upgraded, and from now on mostly idle.
		t.trimmed = true
		trimTLS(t.conn)
	}
}

// failTLS ends a connection whose TLS is over: by close_notify, or an error.
func (c conn) failTLS(err error) {
	if errors.Is(err, io.EOF) {
		c.decide(Closed{Code: frame.CloseAbnormal, Reason: "connection lost", ByPeer: true, Err: io.EOF})
	} else {
		c.s.count.TLSErrors.Add(1)
		c.decide(Closed{Code: frame.CloseAbnormal, Reason: "TLS error", Err: err})
		// crypto/tls encrypts nothing behind its alert: only that still goes out.
		x := c.ext()
		c.s.count.PendingBytes.Add(-int64(x.pending.bytes))
		x.pending.refs, x.pending.bytes = nil, 0
	}
	c.shutWhenFlushed()
}

// writeTLS is write through TLS: it encrypts one record after the other until
// the socket is full. All that it encrypts counts as taken.
func (c conn) writeTLS(p []byte) (n int, err error) {
	t := c.tls()
	if t.handshake != nil || len(t.out) > 0 {
		return 0, nil
	}
	for n < len(p) {
		m := min(len(p)-n, tlsChunk)
		t.out = c.s.cipher[:0]
		if _, err = t.conn.Write(p[n : n+m]); err != nil {
			return n, err
		}
		n += m
		c.s.cipher = t.out[:0]
		if err = c.sendCipher(t, t.out); err != nil || len(t.out) > 0 {
			return n, err
		}
	}
	return n, nil
}

// drainTLS is OnWritable's work on a TLS connection.
func (c conn) drainTLS() {
	s := c.s
	x := c.ext()
	t := x.tls
	if len(t.out) > 0 {
		n, err := s.loop.Write(c.id, t.out)
		if err != nil {
			return // OnClose follows
		}
		if n > 0 {
			x.pending.progressTick = s.tick
		}
		if t.out = t.out[n:]; len(t.out) > 0 {
			return
		}
		t.out = nil
	}
	for len(x.pending.refs) > 0 {
		first := x.pending.refs[0]
		n, err := c.writeTLS(first.frames[first.off:])
		if err != nil {
			return
		}
		x.pending.progressTick = s.tick
		s.count.PendingBytes.Add(-int64(n))
		x.pending.take(n)
		if len(t.out) > 0 {
			c.resumeOutput()
			return
		}
	}
	c.drained()
}

// endTLS says goodbye (close_notify), if there is room for it.
func (c conn) endTLS() {
	t := c.tls()
	if t == nil || t.handshake != nil || len(t.out) > 0 {
		return
	}
	t.out = c.s.cipher[:0]
	if t.conn.CloseWrite() == nil {
		_, _ = c.s.loop.Write(c.id, t.out)
	}
	t.out = nil
}

// TLS answers the TLS state of a connection, nil if it has none. Loop only.
func (s *Shard) TLS(id netpoll.ID) *tls.ConnectionState {
	c, ok := s.find(id)
	if !ok || c.flags&flagTLS == 0 {
		return nil
	}
	t := c.tls()
	if t == nil || t.handshake != nil {
		return nil
	}
	state := t.conn.ConnectionState()
	return &state
}
