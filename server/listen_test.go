package server_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// Pings may be as rare as one likes: that moves TCP's own probes no further than
// the system allows.
func TestRarePings(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Timeouts: server.Timeouts{PingInterval: 48 * time.Hour}, Handler: server.Handler{Message: echo}})
		c := upgraded(t, s)
		c.Send("hello")
		c.Want("hello")
	})
}

// Clients of every listener meet on the same channels, and each is known by its
// own address.
func TestSeveralListeners(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		addrs := make(chan netip.AddrPort, 8)
		var s *server.Server
		s = newServer(t, server.Config{
			Engine: server.Engine{Driver: engine},
			Listen: []string{"127.0.0.1:0", "[::1]:0", "unix:" + filepath.Join(t.TempDir(), "s"), ":0"},
			Handler: server.Handler{
				Upgrade: func(r *server.UpgradeRequest) error { addrs <- r.RemoteAddr(); return nil },
				Message: func(m *server.Message) { _ = s.Broadcast(m.Type, m.Payload) },
			},
		})
		run(t, s)
		var clients []*client
		for i, addr := range s.Addrs() {
			if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
				tcp.IP = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}[i%2]
			}
			c := &client{wstest.Connect(t, addr)}
			c.Put(wstest.Upgrade())
			c.WantStatus(101)
			want, _ := netip.ParseAddrPort(c.LocalAddr().String()) // none on a unix socket
			if got := <-addrs; got != want {
				t.Errorf("a client of %v is known as %v, want %v", addr, got, want)
			}
			clients = append(clients, c)
		}
		eventually(t, "all are open", func() bool { return statsOf(s).Get("connections") == int64(len(clients)) })
		for i, c := range clients {
			text := s.Addrs()[i].String()
			c.Put(wstest.Masked(ws.OpText, text))
			for _, other := range clients {
				other.WantFrame(ws.OpText, text)
			}
		}
	})
}
