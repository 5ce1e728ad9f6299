package socketio

import (
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
)

// TestFetchLeaving: a socket that the application disconnects cannot be had any more from then
// on, even before its client is told.
func TestFetchLeaving(t *testing.T) {
	for _, all := range []bool{false, true} {
		io := New(Options{Recovery: Recovery{MaxDisconnection: time.Hour}})
		had := make(chan *lostSocket, 1)
		io.Of("/").On("kick", func(s *Socket, _ *Event) {
			_ = s.Disconnect(all)
			io.fetch(s.ID(), func(k *lostSocket) { had <- k })
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
