package server_test

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/roostws/roost/internal/leaktest"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/netpoll/gnet"
	"github.com/roostws/roost/server"
)

// Thousands vanish at once and thousands come back at once, with identities and
// subscriptions; nothing of it is left in the end.
func TestStorm(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		clients := 500
		if engine == engines.All()[0] {
			clients = 2000
		}
		goroutines, files := runtime.NumGoroutine(), leaktest.Descriptors()
		s := newServer(t, server.Config{Engine: server.Engine{Driver: engine}, Handler: server.Handler{
			Upgrade: func(r *server.UpgradeRequest) error {
				r.User, r.Channels = r.Get("X-User"), []string{"all", "room " + r.Get("X-User")}
				return nil
			},
		}})
		run(t, s)
		for round := range 2 {
			conns := storm(t, s, clients)
			eventually(t, "all are there", func() bool {
				st := statsOf(s)
				return st.Get("connections") == int64(clients) && st.Get("subscriptions") == int64(2*clients)
			})
			if err := s.Publish("all", server.Text, fmt.Append(nil, "round ", round)); err != nil {
				t.Fatal(err)
			}
			for _, c := range conns[:50] {
				c.Want(fmt.Sprint("round ", round))
			}
			for _, c := range conns {
				_ = c.Conn.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
			eventually(t, "all are gone", func() bool {
				st := statsOf(s)
				return st.Get("engine_conns") == 0 && st.Get("connections") == 0 && st.Get("subscriptions") == 0 && st.Get("channels") == 0 && st.Get("stalled") == 0 && st.Get("pending_bytes") == 0 && st.Get("paused") == 0
			})
		}
		if st, want := statsOf(s), int64(2*clients); st.Get("opened") != want || st.Get("closed") != want || st.Get("closed_abnormally") != want {
			t.Errorf("Opened = %d, Closed = %d, ClosedAbnormally = %d, want %d", st.Get("opened"), st.Get("closed"), st.Get("closed_abnormally"), 2*clients)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "descriptors and goroutines are back", func() bool {
			// What an earlier test had left may have gone meanwhile, and gnet's pool
			// of goroutines shrinks when it likes.
			for kind, n := range leaktest.Descriptors() {
				if n > files[kind] {
					return false
				}
			}
			return engine == gnet.Driver || runtime.NumGoroutine() <= goroutines
		})
	})
}

// storm connects n clients, some at a time.
func storm(t *testing.T, s *server.Server, n int) []*client {
	t.Helper()
	conns := make([]*client, n)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				conn, err := net.DialTimeout("tcp", s.Addrs()[0].String(), wstest.Patience)
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = newClient(t, conn)
				if _, err := conn.Write([]byte(wstest.Upgrade(fmt.Sprint("X-User: u", i)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, c := range conns {
		c.WantStatus(101)
	}
	return conns
}
