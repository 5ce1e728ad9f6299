//go:build realclients

package socketio_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/socketio"
)

// A line carries connections to a server, until it is cut.
type line struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn // guarded by mu
}

func newLine(t *testing.T, to string) *line {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener}
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			l.mu.Lock()
			l.conns = append(l.conns, near, far)
			l.mu.Unlock()
			pump := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
				_ = from.Close()
			}
			go pump(near, far)
			go pump(far, near)
		}
	}()
	return l
}

// cut ends all connections at once.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// An unchanged socket.io-client, in Node.js, over WebSockets, polling, and polling with
// upgrade: each feature once, and the network cut under it. What is missing is a failure,
// never a skip.
func TestSocketIOClient(t *testing.T) {
	r := start(t, func(_ *server.Config, io *socketio.Server) {
		main := io.Of("/")
		main.On("echo", func(_ *socketio.Socket, e *socketio.Event) { _ = e.Ack(e.Values()...) })
		main.On("silence", func(*socketio.Socket, *socketio.Event) {})
		main.On("ask me", func(s *socketio.Socket, e *socketio.Event) {
			_ = s.EmitWithAck(patience, func(args []socketio.Value, err error) {
				if err != nil {
					t.Error(err)
					return
				}
				_ = e.Ack(args[0].String() + " " + string(args[1].Bytes()))
			}, "question", e.Arg(0))
		})
		main.On("join", func(s *socketio.Socket, e *socketio.Event) {
			for i := range e.Len() {
				_ = s.Join(e.Arg(i).String())
			}
			_ = e.Ack()
		})
		main.On("to", func(s *socketio.Socket, e *socketio.Event) {
			_ = s.To(e.Arg(0).String()).Except(e.Arg(1).String()).Emit("said", e.Arg(2))
			_ = e.Ack()
		})
		main.On("everyone", func(s *socketio.Socket, e *socketio.Event) {
			_ = s.Broadcast().Emit("all", e.Arg(0))
			_ = e.Ack()
		})
		main.On("kick me", func(s *socketio.Socket, _ *socketio.Event) { _ = s.Disconnect(false) })
		guarded := io.Of("/guarded")
		guarded.Use(func(_ context.Context, s *socketio.Socket) error {
			var auth struct{ Token string }
			if err := s.Handshake().Auth.Decode(&auth); err != nil || auth.Token != "good" {
				return &socketio.Error{Message: "not authorized", Data: map[string]int{"code": 7}}
			}
			return nil
		})
		guarded.On("where", func(s *socketio.Socket, e *socketio.Event) { _ = e.Ack(s.Namespace().Name()) })
	})
	line := newLine(t, r.srv.Addrs()[0].String())
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { line.cut() }))
	t.Cleanup(cut.Close)
	runClient(t, "client.js", "http://"+line.listener.Addr().String(), cut.URL)
}

// runClient runs a script of testdata in Node.js.
func runClient(t *testing.T, script string, args ...string) {
	t.Helper()
	modules := os.Getenv("ROOST_NODE_MODULES")
	if modules == "" {
		t.Fatal("ROOST_NODE_MODULES must say where node_modules with socket.io-client is: scripts/test.sh sets it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{"testdata/" + script}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// An unchanged socket.io-client whose connections are cut comes back as the same socket with
// exactly what it has missed, and as a new one if it comes too late.
func TestSocketIOClientComesBack(t *testing.T) {
	r := startWith(t, socketio.Options{Recovery: socketio.Recovery{MaxDisconnection: 2 * time.Second}}, func(_ *server.Config, io *socketio.Server) {
		io.OnConnection(func(s *socketio.Socket) {
			if !s.Recovered() {
				_ = s.Emit("hello")
			}
		})
		io.Of("/").On("join", func(s *socketio.Socket, e *socketio.Event) { _, _ = s.Join(e.Arg(0).String()), e.Ack() })
	})
	// Each client has its own line: the others are not cut with it.
	var lines []string
	for range 3 {
		line := newLine(t, r.srv.Addrs()[0].String())
		cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { line.cut() }))
		t.Cleanup(cut.Close)
		lines = append(lines, "http://"+line.listener.Addr().String(), cut.URL)
	}
	emit := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		for _, err := range []error{
			r.io.Emit("all"), r.io.To("a").Emit("a"), r.io.To("b").Emit("b"), r.io.To("a", "b").Emit("bytes", []byte{1, 2}), r.io.Except("a").Emit("c"), r.io.Emit("end"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	}))
	t.Cleanup(emit.Close)
	runClient(t, "recovery.js", append([]string{emit.URL}, lines...)...)
}
