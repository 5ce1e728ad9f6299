package server_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

func TestAuthorize(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		proceed := make(chan struct{})
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Handshake: server.Handshake{Subprotocols: []string{"v1"}}, Handler: server.Handler{
			Authorize: func(ctx context.Context, r *server.UpgradeRequest) error {
				switch r.Get("Authorization") {
				case "wait":
					<-proceed
				case "no":
					return &server.Rejection{Status: 401, Reason: "not you"}
				case "fail":
					return errors.New("the database is down")
				case "panic":
					panic("on purpose")
				}
				r.User, r.Channels = "ann", []string{"room"}
				r.Header = http.Header{"X-Path": {r.Path()}}
				return nil
			},
			Open:    func(e *server.OpenEvent) { e.Send(server.Text, []byte("hello "+e.User())) },
			Message: echo,
		}})

		t.Run("success", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Authorization: yes", "Sec-WebSocket-Protocol: v1"))
			r := w.WantStatus(101)
			wantHeader(t, r, "X-Path", "/ws")
			wantHeader(t, r, "Sec-WebSocket-Protocol", "v1")
			w.Want("hello ann")
			if err := s.Publish("room", server.Text, []byte("news")); err != nil {
				t.Fatal(err)
			}
			w.Want("news")
		})
		t.Run("early frames are kept", func(t *testing.T) {
			w := connect(t, s)
			f := wstest.Masked(ws.OpText, "early")
			w.Put(wstest.Upgrade("Authorization: wait") + f + f[:4])
			w.Put(f[4:] + wstest.Masked(ws.OpText, "last"))
			proceed <- struct{}{}
			w.WantStatus(101)
			for _, text := range []string{"hello ann", "early", "early", "last"} {
				w.Want(text)
			}
		})
		t.Run("rejection", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Authorization: no"))
			wantBodyHas(t, w.WantStatus(401), "not you")
			w.WantEnd()
		})
		t.Run("error", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Authorization: fail"))
			w.WantStatus(403)
		})
		t.Run("panic", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Authorization: panic"))
			w.WantStatus(500)
			w.WantEnd()
			wantPanics(t, s, 1)
		})
		t.Run("the client leaves meanwhile", func(t *testing.T) {
			w := connect(t, s)
			w.Put(wstest.Upgrade("Authorization: wait"))
			proceed <- struct{}{} // it is being worked on
			w2 := connect(t, s)
			w2.Put(wstest.Upgrade("Authorization: wait"))
			_ = w2.Close()
			proceed <- struct{}{}
			w.want101("hello ann")
		})
		eventually(t, "nobody is left in the middle", func() bool {
			st := statsOf(s)
			return st.Get("handshaking") == 0 && st.Get("paused") == 0
		})
	})
}

// want101 reads the answer to an upgrade and the first message.
func (c *client) want101(text string) {
	c.T.Helper()
	c.WantStatus(101)
	c.Want(text)
}

func TestAuthorizeTimeout(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		var cancelled atomic.Int64
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Timeouts: server.Timeouts{HandshakeTimeout: 2 * time.Second}, Handler: server.Handler{
			Authorize: func(ctx context.Context, r *server.UpgradeRequest) error {
				<-ctx.Done()
				cancelled.Add(1)
				return nil // too late: nobody is to be let in
			},
		}})
		w := connect(t, s)
		w.Put(wstest.Upgrade())
		wantHeader(t, w.WantStatus(503), "Retry-After", "5")
		w.WantEnd()
		eventually(t, "the context ended, and nobody was let in", func() bool {
			st := statsOf(s)
			return cancelled.Load() == 1 && st.Get("handshake_timeouts") == 1 && st.Get("opened") == 0 && st.Get("engine_conns") == 0
		})
	})
}

func TestAuthorizeMaxPending(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		proceed := make(chan struct{})
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{AuthorizeMaxPending: 2}, Handler: server.Handler{
			Authorize: func(ctx context.Context, r *server.UpgradeRequest) error { <-proceed; return nil },
		}})
		first, second, third := connect(t, s), connect(t, s), connect(t, s)
		first.Put(wstest.Upgrade())
		second.Put(wstest.Upgrade())
		eventually(t, "two are waiting", func() bool { return statsOf(s).Get("paused") == 2 })
		third.Put(wstest.Upgrade())
		wantHeader(t, third.WantStatus(503), "Retry-After", "5")
		close(proceed)
		first.WantStatus(101)
		second.WantStatus(101)
		fourth := connect(t, s)
		eventually(t, "there is room again", func() bool { return statsOf(s).Get("paused") == 0 })
		fourth.Put(wstest.Upgrade())
		fourth.WantStatus(101)
	})
}
