package shard

import (
	"crypto/tls"
	"errors"
	"io"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
)

// TLS, as intake.TLS does it, on a connection of this shard. One rule keeps its
// output moving: what crypto/tls has written is empty, or waits for the socket with
// flagStalled set, so that OnWritable goes on with it.

// onDataTLS handles ciphertext.
func (c conn) onDataTLS(p []byte) {
	x := c.makeExt()
	switch {
	case x.tls == nil && x.input == nil && handshake.CheckStart(p) == nil:
		// A TLS record begins with its type, which is no character of HTTP's. As
		// net/http and nginx do, we respond in plain HTTP: no handshake could.
		c.s.count.Inc(counters.TLSHandshakeErrors)
		c.flags &^= flagTLS
		if handshake.IsHEAD(p) {
			c.flags |= flagHEAD
		}
		c.setState(stateHead)
		c.refuse(handshake.ErrPlainHTTP)
	case x.tls == nil:
		c.hold(p)
		if c.s.intake.tlsPlaces.Take(c.id) {
			c.beginTLS()
			return
		}
		c.s.count.Inc(counters.TLSHandshakesQueued)
		c.pause(flagPausedWork)
	case !x.tls.Feed(p):
		c.s.count.Inc(counters.TLSHandshakeErrors)
		c.abort(Closed{Code: frame.CloseAbnormal, Reason: "TLS handshake too long"})
	case !x.tls.Shaking():
		c.readTLS(x.tls)
	}
}

// beginTLS starts the handshake of a connection that has a place for it.
func (c conn) beginTLS() {
	s, x, id := c.s, c.ext(), c.id
	c.openedTick = s.deadlines.tick // its turn begins: see makeRoom
	input := x.input
	x.input = nil
	x.tls = intake.StartTLS(s.cfg.TLS, input, func(flight []byte) error {
		return s.Call(func(s *Shard) {
			if s != nil {
				s.sendFlight(id, flight)
			}
		})
	}, func(err error) {
		_ = s.Call(func(s *Shard) {
			if s != nil {
				s.doneTLS(id, err)
			}
		})
	})
}

// sendFlight writes a part of the handshake.
func (s *Shard) sendFlight(id netpoll.ID, flight []byte) {
	if c, ok := s.find(id); ok && c.state != stateGone {
		c.tls().Queue(flight)
		_ = c.flushTLS(c.tls())
	}
}

// flushTLS passes on what crypto/tls has written by itself. If other output waits
// for the socket, it waits too.
func (c conn) flushTLS(t *intake.TLS) (err error) {
	switch n := len(t.Out()); {
	case n == 0:
		return nil
	case c.flags&flagStalled == 0:
		_, err = t.Flush(c.s.loop, c.id)
		c.noteStalled(t)
	case n > intake.OutputMax:
		c.pause(flagPausedOutput)
	}
	return err
}

// noteStalled marks the connection as stalled if ciphertext waits for its socket.
func (c conn) noteStalled(t *intake.TLS) {
	if len(t.Out()) > 0 {
		c.markStalled()
	}
}

// doneTLS takes the connection back from the handshake's goroutine.
func (s *Shard) doneTLS(id netpoll.ID, err error) {
	s.intake.tlsPlaces.Give()
	s.nextTLS()
	c, ok := s.find(id)
	if !ok || c.state != stateTLS {
		return
	}
	c.tls().Finish()
	if err != nil {
		s.count.Inc(counters.TLSHandshakeErrors)
		c.decide(Closed{Code: frame.CloseTLSHandshake, Reason: "TLS handshake failed", Err: err})
		s.log.Debug("TLS handshake failed", "conn_id", c.id.String(), "err", err)
		c.shutWhenFlushed()
		return
	}
	s.count.Inc(counters.TLSHandshakes)
	c.setState(stateHead)
	c.readTLS(c.tls())
}

// nextTLS starts handshakes that wait for a place.
func (s *Shard) nextTLS() {
	for {
		id, ok := s.intake.tlsPlaces.Next()
		if !ok {
			return
		}
		c, ok := s.find(id)
		if !ok || c.state != stateTLS {
			s.intake.tlsPlaces.Give()
			continue
		}
		c.resume(flagPausedWork)
		c.beginTLS()
	}
}

// readTLS decrypts what was fed and handles the plaintext.
func (c conn) readTLS(t *intake.TLS) {
	for c.alive() && c.state != stateFlushing {
		plain, err := t.Read(&c.s.intake.tls)
		if c.flushTLS(t) != nil {
			return // OnClose follows
		}
		if len(plain) > 0 {
			if c.onPlain(plain); !c.alive() {
				return // t may be another loop's by now
			}
		}
		if err == nil {
			continue
		}
		if !intake.WouldBlock(err) && c.current() {
			c.failTLS(err)
		}
		break
	}
	t.Starve()
	if c.isOpen() {
		t.TrimOnce() // from now on it is mostly idle
	}
}

// failTLS ends a connection whose TLS is over: by close_notify, or an error.
func (c conn) failTLS(err error) {
	if errors.Is(err, io.EOF) {
		c.decide(Closed{Code: frame.CloseAbnormal, Reason: "connection lost", ByPeer: true, Err: io.EOF})
	} else {
		c.s.count.Inc(counters.TLSErrors)
		c.decide(Closed{Code: frame.CloseAbnormal, Reason: "TLS error", Err: err})
		// crypto/tls encrypts nothing after its alert: only the alert still goes out.
		x := c.ext()
		c.s.count.Add(counters.PendingBytes, -int64(x.pending.bytes))
		x.pending.refs, x.pending.bytes = nil, 0
	}
	c.shutWhenFlushed()
}

// writeTLS is write through TLS.
func (c conn) writeTLS(p []byte) (n int, err error) {
	t := c.tls()
	n, err = t.Write(c.s.loop, c.id, &c.s.intake.tls, p)
	c.noteStalled(t)
	return n, err
}

// drainTLS is OnWritable's work on a TLS connection.
func (c conn) drainTLS() {
	s := c.s
	x := c.ext()
	t := x.tls
	if len(t.Out()) > 0 {
		n, err := t.Flush(s.loop, c.id)
		if err != nil {
			return // OnClose follows
		}
		if n > 0 {
			x.pending.progressTick = s.deadlines.tick
		}
		if len(t.Out()) > 0 {
			return
		}
	}
	for len(x.pending.refs) > 0 {
		first := x.pending.refs[0]
		n, err := c.writeTLS(first.frames[first.off:])
		if err != nil {
			return
		}
		x.pending.progressTick = s.deadlines.tick
		s.count.Add(counters.PendingBytes, -int64(n))
		x.pending.take(n)
		if len(t.Out()) > 0 {
			c.resumeOutput()
			return
		}
	}
	c.drained()
}

// endTLS sends close_notify if there is room for it.
func (c conn) endTLS() {
	if t := c.tls(); t != nil {
		t.CloseNotify(c.s.loop, c.id, &c.s.intake.tls)
	}
}

// TLS returns the TLS state of a connection, nil if it has none. Loop only.
func (s *Shard) TLS(id netpoll.ID) *tls.ConnectionState {
	c, ok := s.find(id)
	if !ok || c.flags&flagTLS == 0 {
		return nil
	}
	t := c.tls()
	if t == nil || t.Shaking() {
		return nil
	}
	state := t.State()
	return &state
}
