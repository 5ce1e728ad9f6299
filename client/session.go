package client

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
)

const (
	// readBytes is read at a time.
	readBytes = 16 << 10
	// defaultPing is the interval of the server's heartbeats where it has not told one; it
	// is the server's default.
	defaultPing = 45 * time.Second
	// silence is how long beyond that interval the server may be silent: after probeAfter
	// the client sends a heartbeat of its own, then it waits for the rest.
	silence    = 20 * time.Second
	probeAfter = 10 * time.Second
	// closeTimeout bounds the closing handshake.
	closeTimeout = 2 * time.Second
)

// A session is one connection, from the upgrade to its end. Two goroutines serve it: the
// reader calls handle with each message, the writer writes all frames that have
// gathered. The first failure ends both.
type session struct {
	// Immutable after newSession.
	cfg    *Config
	sock   *socket
	handle func(*session, []byte) error // on the reader; the bytes are valid until it returns
	room   func(*session) error         // on the reader, before it reads on; may block
	done   chan struct{}                // closed by fail
	readc  chan struct{}                // closed when the reader has ended
	writec chan struct{}                // closed when the writer has ended
	foundc chan struct{}                // closed when the reader has set verdict
	wakec  chan struct{}                // of one: there is something to write
	window *frame.Window                // guarded by mu

	mu       sync.Mutex
	err      error // why the session failed
	verdict  error // the reader's reason, which replaces that of a failed write
	out      []byte
	leaving  bool // a Close frame is the last of out
	lastID   uint64
	pending  map[uint64]*command
	maxBytes int       // of a message to the server; 0: it has not told
	probing  bool      // our own heartbeat has no reply yet
	beat     time.Time // when the last heartbeat was written
	pingTime time.Duration
}

// A command waits for its reply.
type command struct {
	name string
	// reply is called once, with the reply's member or an error, on the reader or,
	// when the session is over, by abort.
	reply func(json.RawMessage, error)
	timer *time.Timer
}

// newSession starts the goroutines.
func newSession(cfg *Config, sock *socket, handle func(*session, []byte) error, room func(*session) error) *session {
	s := &session{
		cfg: cfg, sock: sock, handle: handle, room: room,
		done: make(chan struct{}), readc: make(chan struct{}), writec: make(chan struct{}), foundc: make(chan struct{}), wakec: make(chan struct{}, 1),
		window:  sock.deflate.ClientWindow(),
		pending: map[uint64]*command{}, pingTime: defaultPing,
	}
	go s.read()
	go s.write()
	return s
}

// fail ends the session; the first error stays. Any goroutine.
func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		if s.verdict != nil {
			s.err = s.verdict
		}
		close(s.done)
		_ = s.sock.Close()
	}
}

// failure returns why the session failed. After done only.
func (s *session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// leave sends a Close frame as the last frame, and fails the session when it is written.
// On the reader only, once.
func (s *session) leave(code frame.CloseCode, reason string, err error) {
	s.mu.Lock()
	s.verdict = err
	s.mu.Unlock()
	close(s.foundc)
	s.shut(code, reason)
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-s.writec:
	case <-timer.C:
	}
	s.fail(err)
}

// shut queues a Close frame as the last frame.
func (s *session) shut(code frame.CloseCode, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leaving {
		s.append(frame.OpClose, frame.AppendClosePayload(nil, code, reason))
		s.leaving = true
	}
}

// finish closes the connection with a closing handshake, unless it has failed, and
// returns when both goroutines have ended. err is the reason, nil for ErrClosed. Once,
// by the session's owner.
func (s *session) finish(err error) {
	s.shut(frame.CloseNormal, "")
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-s.done: // the server has replied, or the session had failed
	case <-timer.C:
	}
	if err == nil {
		err = ErrClosed
	}
	s.fail(err)
	s.abort()
}

// abort waits for the goroutines and fails every command that waits for its reply. After
// fail, once.
func (s *session) abort() {
	<-s.readc
	<-s.writec
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, c := range pending {
		c.stop()
		c.reply(nil, fmt.Errorf("%w to %s: %w", ErrDisconnected, c.name, s.failure()))
	}
}

func (c *command) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// Writing.

// send queues a command. A vital one is exempt from the limits of pending commands, and
// the session fails if its reply does not come in time. reply is called if and only if
// err is nil. Any goroutine.
func (s *session) send(name string, body any, vital bool, reply func(json.RawMessage, error)) (id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil || s.leaving:
		return 0, fmt.Errorf("%w to %s", ErrDisconnected, name)
	case !vital && (len(s.pending) >= s.cfg.MaxPendingCommands || len(s.out) >= s.cfg.MaxPendingBytes):
		return 0, ErrTooManyPending
	}
	message, err := appendCommand(nil, s.lastID+1, name, body)
	if err != nil {
		return 0, fmt.Errorf("client: %s: %w", name, err)
	}
	if s.maxBytes > 0 && len(message) > s.maxBytes {
		return 0, &MessageTooLargeError{Command: name, Bytes: len(message), MaxBytes: s.maxBytes}
	}
	s.lastID++
	id = s.lastID
	c := &command{name: name, reply: reply}
	if vital {
		c.timer = time.AfterFunc(s.cfg.CommandTimeout, func() {
			s.fail(fmt.Errorf("%w: %s has no reply after %s", ErrNoAnswer, name, s.cfg.CommandTimeout))
		})
	}
	s.pending[id] = c
	s.append(frame.OpText, message)
	return id, nil
}

// forget removes a command; its reply will be ignored.
func (s *session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, id)
}

// waiting reports whether a command waits for its reply.
func (s *session) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0
}

// append encodes a frame behind those that wait. With mu held.
func (s *session) append(op frame.Opcode, payload []byte) {
	if s.err != nil || s.leaving {
		return
	}
	var key [4]byte
	_, _ = rand.Read(key[:]) // it never fails
	if d := s.sock.deflate; d.Enabled && op.IsData() {
		s.out = frame.AppendMaskedDeflatedFrame(s.out, op, key, payload, d.ClientMaxWindowBits, s.window)
	} else {
		s.out = frame.AppendMaskedFrame(s.out, op, key, payload)
	}
	select {
	case s.wakec <- struct{}{}:
	default:
	}
}

// write is the writer: all frames that have gathered are one write.
func (s *session) write() {
	defer close(s.writec)
	var spare []byte
	for {
		select {
		case <-s.wakec:
		case <-s.done:
			return
		}
		s.mu.Lock()
		out, last := s.out, s.leaving
		s.out = spare[:0]
		s.mu.Unlock()
		_ = s.sock.tcp.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
		if _, err := s.sock.Write(out); err != nil {
			s.writeFailed(err)
			return
		}
		if last {
			return
		}
		if spare = out; cap(spare) > 64<<10 {
			spare = nil // do not keep the buffer of a large burst
		}
	}
}

// writeFailed ends the session. First it gives the reader time to find a Close frame that
// the server has sent: that is the better reason.
func (s *session) writeFailed(err error) {
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-s.foundc:
	case <-s.readc:
	case <-timer.C:
	}
	s.fail(fmt.Errorf("client: write: %w", err))
}

// Reading.

// read is the reader.
func (s *session) read() {
	defer close(s.readc)
	var decoder frame.Decoder
	decoder.Reset(&frame.DecoderConfig{
		MaxMessageBytes: s.cfg.MaxMessageBytes,
		// A server may fragment as it likes: only the bytes are bounded.
		MaxFragments: 1 << 20,
		AllowRSV1:    s.sock.deflate.Enabled,
	})
	if s.sock.deflate.Enabled {
		decoder.SetWindow(s.sock.deflate.ServerWindow())
	}
	defer decoder.Reset(&frame.DecoderConfig{})
	buffer := make([]byte, readBytes)
	for {
		n, err := s.readSome(buffer)
		if err != nil {
			s.fail(err)
			return
		}
		for p := buffer[:n]; len(p) > 0; {
			m, taken, err := decoder.Next(p)
			p = p[taken:]
			if err == nil {
				err = s.received(m)
			}
			if err == nil && m.Opcode.IsData() {
				err = s.room(s)
			}
			if err != nil {
				s.readFailed(err)
				return
			}
		}
	}
}

// readSome reads at least a byte. To a server that is silent it sends one heartbeat: a
// connection may be dead at its other end, or at a box on the way, without an error of
// TCP.
func (s *session) readSome(buffer []byte) (n int, err error) {
	ping := s.interval()
	_ = s.sock.tcp.SetReadDeadline(time.Now().Add(ping + probeAfter))
	n, err = s.sock.Read(buffer)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		s.probe()
		_ = s.sock.tcp.SetReadDeadline(time.Now().Add(silence - probeAfter))
		n, err = s.sock.Read(buffer)
	}
	switch {
	case n > 0:
		return n, nil // the next read returns the error again
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, fmt.Errorf("%w: nothing came for %s", ErrSilent, ping+silence)
	case err == nil:
		return 0, nil
	}
	return 0, fmt.Errorf("client: read: %w", err)
}

// readFailed ends the session with the Close frame that fits the error.
func (s *session) readFailed(err error) {
	if closed, ok := errors.AsType[*frame.CloseError](err); ok {
		// RFC 6455, section 5.5.1: a Close frame is answered with its code.
		s.leave(closed.Code, "", closed)
	} else if verdict, ok := errors.AsType[*frame.ProtocolError](err); ok {
		s.leave(verdict.Code, verdict.Reason, fmt.Errorf("client: the server broke the protocol: %w", err))
	} else if errors.Is(err, ErrSlowHandler) {
		s.leave(frame.CloseGoingAway, "handlers are too slow", err)
	} else {
		s.fail(err)
	}
}

// received handles one message or control frame.
func (s *session) received(m frame.Message) error {
	switch m.Opcode {
	case frame.OpText:
		if bytes.Equal(m.Payload, []byte(heartbeat)) {
			s.heartbeat()
			return nil
		}
		return s.handle(s, m.Payload)
	case frame.OpBinary:
		return &frame.ProtocolError{Code: frame.CloseUnsupportedData, Reason: "binary message in " + Subprotocol}
	case frame.OpPing:
		s.mu.Lock()
		if len(s.out) < s.cfg.MaxPendingBytes { // a peer that does not read gets no pongs
			s.append(frame.OpPong, m.Payload)
		}
		s.mu.Unlock()
	case frame.OpClose:
		code, reason, err := frame.ParseClose(m.Payload)
		if err != nil {
			return err
		}
		return &frame.CloseError{Code: code, Reason: string(reason)}
	}
	return nil
}

// heartbeat replies to the server's heartbeat, unless that is the reply to ours. It sends
// at most one a second, so that two ends that each take the other's reply for a request
// do not go on for ever.
func (s *session) heartbeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probing {
		s.probing = false
	} else if time.Since(s.beat) >= time.Second {
		s.beat = time.Now()
		s.append(frame.OpText, []byte(heartbeat))
	}
}

// probe sends a heartbeat, to which the server replies.
func (s *session) probe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probing, s.beat = true, time.Now()
	s.append(frame.OpText, []byte(heartbeat))
}

// live tells the server that the client is alive though it does not read: an unsolicited
// pong, which needs no reply (RFC 6455, section 5.5.3).
func (s *session) live() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) == 0 {
		s.append(frame.OpPong, nil)
	}
}

// answer passes a reply to its command.
func (s *session) answer(id uint64, failed *wireError, message []byte) error {
	s.mu.Lock()
	c := s.pending[id]
	delete(s.pending, id)
	s.mu.Unlock()
	if c == nil {
		return nil // forgotten meanwhile
	}
	c.stop()
	if failed != nil {
		c.reply(nil, failed.err())
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(message, &members); err != nil {
		return notTheProtocol(err)
	}
	body, ok := members[c.name]
	if !ok {
		err := notTheProtocol(fmt.Errorf("the reply to %s has no member of that name", c.name))
		c.reply(nil, err)
		return err
	}
	c.reply(body, nil)
	return nil
}

// notTheProtocol returns the error of a message that no server of this protocol sends.
func notTheProtocol(err error) error {
	return &frame.ProtocolError{Code: frame.CloseInvalidPayload, Reason: "not " + Subprotocol + ": " + err.Error()}
}

// setTerms notes the interval of the server's heartbeats, and the size of messages that it
// allows. Zero: the server has not told.
func (s *session) setTerms(ping time.Duration, maxBytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ping > 0 {
		s.pingTime = ping
	}
	s.maxBytes = max(maxBytes, 0)
}

// interval returns the interval of the server's heartbeats.
func (s *session) interval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pingTime
}
