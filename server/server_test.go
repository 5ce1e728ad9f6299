package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/server"
)

// patience bounds every wait of these tests; none is expected to take it.
const patience = time.Minute

// eachEngine runs f with every engine that this system has.
func eachEngine(t *testing.T, f func(t *testing.T, engine netpoll.Driver)) {
	for _, engine := range engines.All() {
		t.Run(engine.Name(), func(t *testing.T) { f(t, engine) })
	}
}

// eachEngineAtOnce is eachEngine for tests that mostly wait: for all engines at
// the same time.
func eachEngineAtOnce(t *testing.T, f func(t *testing.T, engine netpoll.Driver)) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		t.Parallel()
		f(t, engine)
	})
}

// start runs a server on a free port until the test ends.
func start(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	s := newServer(t, cfg)
	run(t, s)
	return s
}

// newServer makes a server for run: callbacks that use it must find the
// variable set before the loops run.
func newServer(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []string{"127.0.0.1:0"}
	}
	if cfg.Engine.Loops == 0 {
		cfg.Engine.Loops = 2
	}
	if cfg.Limits.MaxConnections == 0 {
		cfg.Limits.MaxConnections = 10_000
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// disconnect, subscribe and unsubscribe do not wait for the loops.
func disconnect(s *server.Server, a server.Audience, code frame.CloseCode, reason string) error {
	_, err := s.Disconnect(server.NoWait, a, code, reason)
	return err
}

func subscribe(s *server.Server, a server.Audience, channel string) error {
	_, err := s.Subscribe(server.NoWait, a, channel)
	return err
}

func unsubscribe(s *server.Server, a server.Audience, channel string) error {
	_, err := s.Unsubscribe(server.NoWait, a, channel)
	return err
}

// run starts s and closes it when the test ends.
func run(t *testing.T, s *server.Server) {
	t.Helper()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wantPanics(t, s, 0)
	})
}

// wantPanics fails the test if not exactly n callbacks panicked since it was
// called last.
func wantPanics(t *testing.T, s *server.Server, n int64) {
	t.Helper()
	expectedPanics.Lock()
	defer expectedPanics.Unlock()
	if got := statsOf(s).Get("panics") - expectedPanics.of[s]; got != n && !t.Failed() {
		t.Errorf("%d callbacks panicked, want %d", got, n)
	}
	expectedPanics.of[s] += n
}

var expectedPanics = struct {
	sync.Mutex
	of map[*server.Server]int64
}{of: map[*server.Server]int64{}}

// client is a real client on gobwas/ws, with blocking calls.
type client struct {
	net.Conn
	t *testing.T
}

func dial(t *testing.T, s *server.Server, header ...string) *client {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	d := ws.Dialer{Header: ws.HandshakeHeaderHTTP(h), Timeout: patience}
	conn, rest, _, err := d.Dial(context.Background(), "ws://"+s.Addrs()[0].String()+"/ws")
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	if rest != nil {
		// What came with the handshake's answer is read first.
		conn = &restConn{conn, rest}
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &client{conn, t}
}

type restConn struct {
	net.Conn
	rest interface{ Read([]byte) (int, error) }
}

func (c *restConn) Read(p []byte) (int, error) {
	if c.rest != nil {
		if n, err := c.rest.Read(p); err == nil {
			return n, nil
		}
		c.rest = nil
	}
	return c.Conn.Read(p)
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := wsutil.WriteClientText(c, []byte(text)); err != nil {
		c.t.Fatalf("send %.40q: %v", text, err)
	}
}

func (c *client) want(text string) {
	c.t.Helper()
	got, op, err := wsutil.ReadServerData(c)
	if err != nil {
		c.t.Fatalf("read: %v, want %.60q", err, text)
	}
	if string(got) != text || op != ws.OpText {
		c.t.Fatalf("got %v %.60q (%d bytes), want %.60q (%d bytes)", op, got, len(got), text, len(text))
	}
}

func (c *client) wantClose(code ws.StatusCode, reason string) {
	c.t.Helper()
	for {
		h, err := ws.ReadHeader(c)
		if err != nil {
			c.t.Fatalf("read: %v, want Close %d", err, code)
		}
		p := make([]byte, h.Length)
		if _, err := io.ReadFull(c, p); err != nil {
			c.t.Fatal(err)
		}
		if h.OpCode != ws.OpClose {
			continue
		}
		gotCode, gotReason := ws.ParseCloseFrameData(p)
		if gotCode != code || (reason != "*" && gotReason != reason) {
			c.t.Fatalf("closed with %d %q, want %d %q", gotCode, gotReason, code, reason)
		}
		return
	}
}

// wantEnd reads to the end of the connection.
func (c *client) wantEnd() {
	c.t.Helper()
	p := make([]byte, 1024)
	for {
		if _, err := c.Read(p); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				c.t.Fatal("the server did not close the connection")
			}
			return
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func echo(m *server.Message) { m.Reply(m.Type, m.Payload) }

func TestEcho(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Handler: server.Handler{Message: echo}})
		c := dial(t, s)
		c.send("hello")
		c.want("hello")
		if err := ws.WriteFrame(c, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye")))); err != nil {
			t.Fatal(err)
		}
		c.wantClose(1000, "*")
		c.wantEnd()
		eventually(t, "the connection is gone", func() bool { return statsOf(s).Get("connections") == 0 && statsOf(s).Get("closed_by_peer") == 1 })
	})
}

func TestBroadcastReachesAll(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Handler: server.Handler{
			Message: func(m *server.Message) { _ = m.Broadcast(m.Type, m.Payload) },
		}})
		clients := make([]*client, 50)
		for i := range clients {
			clients[i] = dial(t, s)
		}
		eventually(t, "all are open", func() bool { return statsOf(s).Get("connections") == 50 })
		clients[7].send("to all")
		for _, c := range clients {
			c.want("to all")
		}
	})
}

// statsOf returns the counters when each loop has published those of what the caller
// has seen: it asks the loops a question through their inboxes.
func statsOf(s *server.Server) server.Stats {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _, _ = s.Channels(ctx, "", "", 0) // an error if the server has ended
	return s.Stats()
}
