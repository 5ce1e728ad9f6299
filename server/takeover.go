package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/shard"
)

// ServeHTTP lets a Server stand in somebody else's net/http server, on any mux
// or framework whose ResponseWriter is an http.Hijacker:
//
//	http.Handle("/ws", srv)
//
// It takes the connection from net/http; from then on the connection lives on
// the server's loops like any other, without a goroutine or a net.Conn. The
// request is checked, authorised and answered there. So are event streams and long
// polls, at the paths that they have on a port of the server's own:
//
//	http.Handle("/v1/sse", srv)
//	http.Handle("/v1/poll", srv)
//
// Their connections end with the response, since the next request may be for another
// handler: each long poll is a connection of its own. Where net/http terminates
// TLS, its listener must be wrapped with Listener for that; without, the
// connection works, too, but costs two goroutines (Stats.Bridged).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(err error) {
		var e *handshake.Error
		errors.As(err, &e)
		for _, h := range e.Header {
			w.Header().Set(h.Name, h.Value)
		}
		if e.Status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		if e.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
		}
		http.Error(w, e.Reason+".\n"+e.Advice, e.Status)
	}
	if s.engine() == nil || s.ctx.Err() != nil {
		refuse(&handshake.Error{Status: http.StatusServiceUnavailable, Reason: "the server is not running", RetryAfter: errTooBusy.RetryAfter})
		return
	}
	if r.ProtoMajor != 1 {
		refuse(&handshake.Error{Status: http.StatusHTTPVersionNotSupported, Reason: "a connection with other HTTP/2 streams can't be taken over: WebSockets, event streams and long polls need HTTP/1.1 here"})
		return
	}
	// What would be refused is refused while net/http still can answer it.
	var request handshake.Request
	head := requestHead(r)
	err := handshake.Parse(head, &request)
	if err == nil && s.fallbacks[string(request.Path)] != nil && !handshake.IsUpgrade(&request) {
		head, err = s.wholeRequest(w, r)
	} else if err == nil {
		_, err = handshake.Upgrade(&request, &s.shards.Policy)
	}
	if err != nil {
		refuse(err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.cfg.Logger.Error("this connection cannot be taken from net/http", "err", err)
		refuse(&handshake.Error{Status: http.StatusInternalServerError, Reason: "this HTTP server does not give its connections away"})
		return
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err := s.adopt(conn, append(head, early...)); err != nil {
		s.cfg.Logger.Error("a connection from net/http could not be taken over", "remote_addr", r.RemoteAddr, "err", err)
		_ = conn.Close()
	}
}

// wholeRequest returns a request for a fallback as a client sends it, body included,
// that asks for the connection's end.
func (s *Server) wholeRequest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.cfg.Limits.MessageMaxBytes)))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, handshake.ErrBodyTooLarge
	case err != nil:
		return nil, &handshake.Error{Status: http.StatusBadRequest, Reason: "the body did not come whole"}
	}
	r = r.Clone(r.Context())
	r.Header.Del("Expect") // net/http has said 100 Continue
	r.Header.Set("Connection", "close")
	r.Header.Del("Content-Length")
	if len(body) > 0 {
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return append(requestHead(r), body...), nil
}

// requestHead writes r's head as a client sends it.
func requestHead(r *http.Request) []byte {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.%d\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), r.ProtoMinor, r.Host)
	_ = r.Header.Write(&head) // a bytes.Buffer takes everything
	head.WriteString("\r\n")
	return head.Bytes()
}

// adopt gives conn, of which input was read, to a loop.
func (s *Server) adopt(conn net.Conn, input []byte) error {
	a := &shard.Adoption{Input: input, Failed: func(err error) {
		s.cfg.Logger.Warn("a loop refused a connection from net/http", "err", err)
	}}
	socket := conn
	if t, ok := conn.(*tls.Conn); ok {
		c, ok := t.NetConn().(*intake.Carrier)
		if !ok {
			return s.bridge(conn, input)
		}
		a.TLS, a.Carrier = t, c
		socket = c.Conn
	} else if c, ok := conn.(*intake.Carrier); ok {
		socket = c.Conn
	}
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return s.bridge(conn, input)
	}
	fd, err := duplicate(sc)
	if err != nil {
		return err
	}
	a.FD = fd
	members := s.members()
	sh := members[s.nextShard.Add(1)%uint32(len(members))]
	if err := sh.Adopt(a); err != nil {
		_ = unix.Close(fd)
		return err
	}
	// Our descriptor keeps the connection; Go's, and its place in Go's poller,
	// are not needed any more.
	_ = socket.Close()
	return nil
}

// duplicate returns a descriptor of its own for c's socket.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	if controlErr := raw.Control(func(original uintptr) {
		if fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}); controlErr != nil {
		return -1, controlErr
	}
	if err != nil && fd >= 0 {
		_ = unix.Close(fd)
	}
	return fd, err
}

// bridge serves a connection whose socket cannot be had: two goroutines copy
// between it and a socket pair whose other end lives on a loop.
func (s *Server) bridge(conn net.Conn, input []byte) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	far, err := fileConn(pair[1])
	if err != nil {
		_ = unix.Close(pair[0])
		return err
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		_ = unix.Close(pair[0])
		_ = far.Close()
		return err
	}
	unix.CloseOnExec(pair[0])
	members := s.members()
	sh := members[s.nextShard.Add(1)%uint32(len(members))]
	if err := sh.Adopt(&shard.Adoption{FD: pair[0], Input: input, Failed: func(error) { _ = far.Close() }}); err != nil {
		_ = unix.Close(pair[0])
		_ = far.Close()
		return err
	}
	s.parts.Load().group.CountShared(counters.Bridged)
	var once sync.Once
	end := func() {
		_ = conn.Close()
		_ = far.Close()
	}
	go func() { _, _ = io.Copy(far, conn); once.Do(end) }()
	go func() { _, _ = io.Copy(conn, far); once.Do(end) }()
	return nil
}

// Listener wraps the listener of a net/http server that terminates TLS, so that
// ServeHTTP can take its connections to the loops:
//
//	l, err := net.Listen("tcp", ":443")
//	err = httpServer.ServeTLS(server.Listener(l), certFile, keyFile)
func Listener(l net.Listener) net.Listener { return carrierListener{l} }

type carrierListener struct{ net.Listener }

// Accept is net.Listener's.
func (l carrierListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &intake.Carrier{Conn: conn}, nil
}
