package server_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

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
			w.put(upgrade("Authorization: yes", "Sec-WebSocket-Protocol: v1"))
			r := w.wantStatus(101)
			wantHeader(t, r, "X-Path", "/ws")
			wantHeader(t, r, "Sec-WebSocket-Protocol", "v1")
			w.want("hello ann")
			if err := s.Publish("room", server.Text, []byte("news")); err != nil {
				t.Fatal(err)
			}
			w.want("news")
		})
		t.Run("early frames are kept", func(t *testing.T) {
			w := connect(t, s)
			f := masked(ws.OpText, "early")
			w.put(upgrade("Authorization: wait") + f + f[:4])
			w.put(f[4:] + masked(ws.OpText, "last"))
			proceed <- struct{}{}
			w.wantStatus(101)
			for _, text := range []string{"hello ann", "early", "early", "last"} {
				w.want(text)
			}
		})
		t.Run("rejection", func(t *testing.T) {
			w := connect(t, s)
			w.put(upgrade("Authorization: no"))
			wantBodyHas(t, w.wantStatus(401), "not you")
			w.wantEnd()
		})
		t.Run("error", func(t *testing.T) {
			w := connect(t, s)
			w.put(upgrade("Authorization: fail"))
			w.wantStatus(403)
		})
		t.Run("panic", func(t *testing.T) {
			w := connect(t, s)
			w.put(upgrade("Authorization: panic"))
			w.wantStatus(500)
			w.wantEnd()
			wantPanics(t, s, 1)
		})
		t.Run("the client leaves meanwhile", func(t *testing.T) {
			w := connect(t, s)
			w.put(upgrade("Authorization: wait"))
			proceed <- struct{}{} // it is being worked on
			w2 := connect(t, s)
			w2.put(upgrade("Authorization: wait"))
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
	c.t.Helper()
	c.wantStatus(101)
	c.want(text)
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
		w.put(upgrade())
		wantHeader(t, w.wantStatus(503), "Retry-After", "5")
		w.wantEnd()
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
		first.put(upgrade())
		second.put(upgrade())
		eventually(t, "two are waiting", func() bool { return statsOf(s).Get("paused") == 2 })
		third.put(upgrade())
		wantHeader(t, third.wantStatus(503), "Retry-After", "5")
		close(proceed)
		first.wantStatus(101)
		second.wantStatus(101)
		fourth := connect(t, s)
		eventually(t, "there is room again", func() bool { return statsOf(s).Get("paused") == 0 })
		fourth.put(upgrade())
		fourth.wantStatus(101)
	})
}
