package server_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/server"
)

// eachEngine runs f with every engine that this system has.
func eachEngine(t *testing.T, f func(t *testing.T, engine netpoll.Driver)) {
	for _, engine := range engines.All() {
		t.Run(engine.Name(), func(t *testing.T) { f(t, engine) })
	}
}

// eachEngineAtOnce is eachEngine for tests that mostly wait: for all engines, and
// beside other such tests, at the same time.
func eachEngineAtOnce(t *testing.T, f func(t *testing.T, engine netpoll.Driver)) {
	t.Parallel()
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

// client is wstest's, with more methods where they are needed.
type client struct{ *wstest.Client }

func newClient(t *testing.T, conn net.Conn) *client { return &client{wstest.New(t, conn)} }

// connect opens a connection on which nothing was said yet.
func connect(t *testing.T, s *server.Server) *client {
	t.Helper()
	return &client{wstest.Connect(t, s.Addrs()[0])}
}

// upgraded connects and upgrades.
func upgraded(t *testing.T, s *server.Server, lines ...string) *client {
	t.Helper()
	c := connect(t, s)
	c.Put(wstest.Upgrade(lines...))
	c.WantStatus(101)
	return c
}

// dial opens a WebSocket; header are names and values.
func dial(t *testing.T, s *server.Server, header ...string) *client {
	t.Helper()
	return &client{wstest.Dial(t, "ws://"+s.Addrs()[0].String()+"/ws", header...)}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(wstest.Patience)
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
		c.Send("hello")
		c.Want("hello")
		if err := ws.WriteFrame(c, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye")))); err != nil {
			t.Fatal(err)
		}
		c.WantClose(1000, "*")
		c.WantEnd()
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
		clients[7].Send("to all")
		for _, c := range clients {
			c.Want("to all")
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
