package server_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// named is a server whose clients' User is in X-User, and the Conns by user.
func named(t *testing.T, cfg server.Config) (s *server.Server, conn func(user string) server.Conn) {
	t.Helper()
	var conns sync.Map
	cfg.Handler.Upgrade = func(r *server.UpgradeRequest) error { r.User = r.Get("X-User"); return nil }
	cfg.Handler.Open = func(e *server.OpenEvent) { conns.Store(e.User(), e.Conn()) }
	s = start(t, cfg)
	return s, func(user string) server.Conn {
		t.Helper()
		eventually(t, user+" is there", func() bool { _, ok := conns.Load(user); return ok })
		c, _ := conns.Load(user)
		return c.(server.Conn)
	}
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestConn(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s, conn := named(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{SubscriptionsMax: 2}})
		ann, bob := upgraded(t, s, "X-User: ann"), upgraded(t, s, "X-User: bob")
		a := conn("ann")

		check(t, a.Join("one"), a.Join("one"), conn("bob").Join("one"), a.Join("two"), a.Join("three"),
			a.Send(server.Text, []byte("joined")))
		ann.Want("joined")
		eventually(t, "three subscriptions, one refused", func() bool { st := statsOf(s); return st.Get("subscriptions") == 3 && st.Get("joins_refused") == 1 })
		check(t, s.Publish("one", server.Text, []byte("1")), s.Publish("three", server.Text, []byte("3")), s.Publish("nobody", server.Text, []byte("0")),
			s.Publish("two", server.Text, []byte("2")))
		ann.Want("1")
		ann.Want("2")
		bob.Want("1")
		check(t, a.Leave("one"), a.Leave("one"), a.Leave("never joined"), a.Send(server.Text, []byte("left")))
		ann.Want("left")
		check(t, s.Publish("one", server.Text, []byte("4")), s.PublishUser("ann", server.Text, []byte("to ann")), s.Broadcast(server.Text, []byte("to all")))
		bob.Want("4")
		bob.Want("to all")
		ann.Want("to ann")
		ann.Want("to all")

		check(t, disconnect(s, server.Audience{User: "ann"}, 4000, "out"), disconnect(s, server.Audience{User: "nobody"}, 4000, ""))
		ann.WantClose(4000, "out")
		ann.Put(wstest.CloseFrame(4000, ""))
		ann.WantEnd()
		eventually(t, "ann has gone, with what was hers", func() bool { st := statsOf(s); return st.Get("connections") == 1 && st.Get("subscriptions") == 1 })

		// A stale Conn does nothing to the connection that has its place now.
		var next []*client
		for i := range 4 { // two loops: one of these gets the slot
			next = append(next, upgraded(t, s, fmt.Sprintf("X-User: next%d", i)))
		}
		before := statsOf(s).Get("sends_to_closed")
		check(t, a.Send(server.Text, []byte("for ann")), a.Join("two"), a.Close(4001, ""), s.PublishUser("ann", server.Text, []byte("for ann")))
		check(t, s.Broadcast(server.Text, []byte("end")))
		for _, c := range append(next, bob) {
			c.Want("end")
		}
		if st := statsOf(s); st.Get("sends_to_closed") != before+1 || st.Get("subscriptions") != 1 || st.Get("connections") != 5 {
			t.Errorf("SendsToClosed + %d, Subscriptions = %d, Connections = %d", st.Get("sends_to_closed")-before, st.Get("subscriptions"), st.Get("connections"))
		}
	})
}

func TestBadArguments(t *testing.T) {
	s, conn := named(t, server.Config{Limits: server.Limits{InboxMaxBytes: 64 << 10}})
	upgraded(t, s, "X-User: ann")
	a := conn("ann")
	long := strings.Repeat("x", 256)
	big := make([]byte, 64<<10+1)
	for what, c := range map[string]struct{ err, want error }{
		"empty channel":      {s.Publish("", server.Text, nil), server.ErrBadName},
		"long channel":       {s.Publish(long, server.Text, nil), server.ErrBadName},
		"channel not UTF-8":  {s.Publish("\xff", server.Text, nil), server.ErrBadName},
		"empty user":         {s.PublishUser("", server.Text, nil), server.ErrBadName},
		"join long channel":  {a.Join(long), server.ErrBadName},
		"big publish":        {s.Publish("x", server.Binary, big), server.ErrMessageTooBig},
		"big send":           {a.Send(server.Binary, big), server.ErrMessageTooBig},
		"zero Conn":          {server.Conn{}.Send(server.Text, nil), server.ErrServerClosed},
		"zero Conn joins":    {server.Conn{}.Join("x"), server.ErrServerClosed},
		"type of publish":    {s.Broadcast(0, nil), nil},
		"type of send":       {a.Send(9, nil), nil},
		"code of close":      {a.Close(1005, ""), nil},
		"code of disconnect": {disconnect(s, server.Audience{User: "ann"}, 999, ""), nil},
	} {
		if c.err == nil || (c.want != nil && !errors.Is(c.err, c.want)) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
}

// A loop that is blocked by a callback takes notes up to the bounds, and none
// beyond; then all of them are delivered.
func TestErrBusy(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		blocked, proceed := make(chan struct{}), make(chan struct{})
		s, conn := named(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Limits: server.Limits{InboxMaxEntries: 20, InboxMaxBytes: 100 << 10}, Handler: server.Handler{
			Message: func(m *server.Message) { close(blocked); <-proceed },
		}})
		c := upgraded(t, s, "X-User: ann")
		a := conn("ann")
		check(t, a.Join("room"))
		eventually(t, "ann has joined", func() bool { return statsOf(s).Get("subscriptions") == 1 })
		c.Send("block")
		<-blocked
		taken := 0
		for ; taken < 100; taken++ {
			if err := s.Publish("room", server.Text, fmt.Append(nil, taken)); err != nil {
				if !errors.Is(err, server.ErrBusy) {
					t.Fatal(err)
				}
				break
			}
		}
		if taken != 20 {
			t.Errorf("%d messages were taken, want 20", taken)
		}
		for what, err := range map[string]error{"Send": a.Send(server.Text, nil), "Join": a.Join("x"), "Broadcast": s.Broadcast(server.Text, nil)} {
			if !errors.Is(err, server.ErrBusy) {
				t.Errorf("%s: %v, want ErrBusy", what, err)
			}
		}
		check(t, a.Leave("x")) // undoing is never refused
		if n := statsOf(s).Get("inbox_refused"); n != 4 {
			t.Errorf("InboxRefused = %d, want 4", n)
		}
		close(proceed)
		for n := range taken {
			c.Want(fmt.Sprint(n))
		}
		eventually(t, "there is room again", func() bool { return statsOf(s).Get("inbox_entries") == 0 })
		check(t, s.Publish("room", server.Text, []byte("again")))
		c.Want("again")
	})
}

// All subscribers of a channel see one order, on all loops, from any number of publishers.
// What one goroutine sends to a Conn arrives in its order.
func TestOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s, conn := named(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{PendingMaxBytes: 1 << 20}})
		const subscribers, publishers, each = 6, 4, 200
		var clients []*client
		for i := range subscribers {
			user := fmt.Sprint("user", i)
			clients = append(clients, upgraded(t, s, "X-User: "+user))
			check(t, conn(user).Join("room"))
		}
		eventually(t, "all have joined", func() bool { return statsOf(s).Get("subscriptions") == subscribers })
		direct := conn("user0")
		var wg sync.WaitGroup
		for p := range publishers {
			wg.Go(func() {
				for n := range each {
					if err := s.Publish("room", server.Text, fmt.Appendf(nil, "p%d %d", p, n)); err != nil {
						t.Errorf("Publish: %v", err)
					}
					if err := direct.Send(server.Text, fmt.Appendf(nil, "s%d %d", p, n)); err != nil {
						t.Errorf("Send: %v", err)
					}
				}
			})
		}
		wg.Wait()
		var order []string
		for i, c := range clients {
			var got []string
			next := map[string]int{}
			total := publishers * each
			if i == 0 {
				total *= 2
			}
			for range total {
				text := c.Text()
				var from string
				var n int
				if _, err := fmt.Sscanf(text, "%s %d", &from, &n); err != nil || n != next[from] {
					t.Fatalf("client %d: %q came, want number %d", i, text, next[from])
				}
				next[from]++
				if from[0] == 'p' {
					got = append(got, text)
				}
			}
			if order == nil {
				order = got
			} else if fmt.Sprint(got) != fmt.Sprint(order) {
				t.Errorf("client %d saw another order than client 0", i)
			}
		}
	})
}
