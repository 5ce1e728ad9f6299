package socketio

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/shard"
)

// TestFetchLeaving: a socket that the application disconnects cannot be had any more from then
// on, even before its client is told.
func TestFetchLeaving(t *testing.T) {
	for _, all := range []bool{false, true} {
		io := New(Options{Recovery: Recovery{MaxDisconnection: time.Hour}})
		had := make(chan *lostSocket, 1)
		io.Of("/").On("kick", func(s *Socket, _ *Event) {
			_ = s.Disconnect(all)
			io.fetch(s.ID(), "", func(k *lostSocket) { had <- k })
		})
		c := testServer(t, io)
		c.Send("40")
		c.Text()
		c.Send(`42["kick"]`)
		c.Want("41")
		if k := <-had; k != nil {
			t.Errorf("all: %v: a socket was had that is disconnected", all)
		}
	}
}

// testServer starts a server with one loop, and returns a client that has connected.
func testServer(t *testing.T, io *Server) *wstest.Client {
	t.Helper()
	cfg := server.Config{Listen: []string{"127.0.0.1:0"}, Engine: server.Engine{Loops: 1, KeepGOMAXPROCS: true}, Limits: server.Limits{MaxConnections: 100}}
	io.Configure(&cfg)
	srv, err := server.New(cfg)
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	c := wstest.DialWith(t, ws.Dialer{}, "ws://"+srv.Addrs()[0].String()+"/socket.io/?EIO=4&transport=websocket")
	c.Text() // open
	return c
}

// TestKeptBeforeTheEnd: what a socket was sent, and the rooms that it has joined and left, are
// there when its client comes back, though its connection ended before the loop came to that.
func TestKeptBeforeTheEnd(t *testing.T) {
	io := New(Options{Recovery: Recovery{MaxDisconnection: time.Hour}})
	pid := make(chan string, 1)
	rooms := make(chan bool, 2)
	io.Of("/").On("lose", func(s *Socket, _ *Event) {
		_ = s.Join("old")
		pid <- io.pid(s.ID())
		_ = s.conn.Do(func(*shard.Shard, netpoll.ID) { // in the old room
			_ = s.Emit("last")
			_ = s.Join("new")
			_ = s.Leave("old")
			(*clients)(io).Closed(s.conn, shard.Closed{Code: frame.CloseAbnormal})
			if s.Emit("late") != ErrGone || s.Join("late") != ErrGone || s.Leave("late") != ErrGone {
				t.Error("a socket that is gone takes more")
			}
			_ = s.conn.Close()
		})
	})
	io.Of("/").On("rooms", func(s *Socket, _ *Event) {
		for _, room := range []string{"old", "new"} {
			rooms <- s.conn.Shard().Subscribed(s.conn.ID(), Channel("/", room))
		}
	})
	c := testServer(t, io)
	c.Send("40")
	c.Text()
	c.Send(`42["lose"]`)
	c.WantClosing(1000)
	back := wstest.DialWith(t, ws.Dialer{}, "ws://"+c.RemoteAddr().String()+"/socket.io/?EIO=4&transport=websocket")
	back.Text() // open
	back.Send(`40{"pid":"` + <-pid + `"}`)
	back.Text()
	if got := back.Text(); !strings.HasPrefix(got, `42["last",`) {
		t.Errorf("got %s", got)
	}
	back.Send(`42["rooms"]`)
	if old, new := <-rooms, <-rooms; old || !new {
		t.Errorf("it is in the old room: %v, in the new one: %v", old, new)
	}
}

// TestComeBackTwice: a connection that ends before it is the socket that comes back takes nothing
// with it.
func TestComeBackTwice(t *testing.T) {
	io := New(Options{Recovery: Recovery{MaxDisconnection: time.Hour}})
	lose := make(chan string, 1)
	io.OnConnection(func(s *Socket) { s.SetData("data") })
	io.Of("/").On("lose", func(s *Socket, _ *Event) {
		lose <- s.ID()
		(*clients)(io).Closed(s.conn, shard.Closed{Code: frame.CloseAbnormal})
	})
	io.Of("/lost").On("come", func(s *Socket, _ *Event) {
		// What its client has sent is read, and its connection ends before that is done.
		sh, id := s.conn.Shard(), s.conn.ID()
		x, cl := (*clients)(io), s.conn.App.(*client)
		x.comeBack(cl, &Socket{conn: s.conn, ns: io.Of("/")}, <-lose, place{empty: true})
		sh.Shut(id, frame.CloseNormal, "over")
	})
	c := testServer(t, io)
	c.Send("40")
	var is struct{ SID, PID string }
	_ = json.Unmarshal([]byte(c.Text()[2:]), &is)
	c.Send(`42["lose"]`)
	dial := func() *wstest.Client {
		c := wstest.DialWith(t, ws.Dialer{}, "ws://"+c.RemoteAddr().String()+"/socket.io/?EIO=4&transport=websocket")
		c.Text() // open
		return c
	}
	first := dial()
	first.Send("40/lost,")
	first.Text()
	first.Send(`42/lost,["come"]`)
	first.WantClosing(1000)
	second := dial()
	second.Send(`40{"pid":"` + is.PID + `"}`)
	second.Want(`40{"sid":"` + is.SID + `","pid":"` + is.PID + `"}`)
}
