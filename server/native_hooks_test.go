package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// nativeServer runs a server for native clients.
func nativeServer(t *testing.T, engine netpoll.Driver, native protocol.Application, adjust func(c *server.Config)) *server.Server {
	t.Helper()
	cfg := server.Config{Engine: server.Engine{Driver: engine}, Application: &native, Namespaces: []server.Namespace{
		{Name: "open", HistoryMessages: 10, Publish: protocol.AccessAnyone, Presence: true, JoinLeave: true},
		{Name: "granted", Subscribe: protocol.AccessGranted, Publish: protocol.AccessGranted},
	}}
	if adjust != nil {
		adjust(&cfg)
	}
	return start(t, cfg)
}

// connected is a native client that was let in.
func connected(t *testing.T, s *server.Server, token string) *client {
	t.Helper()
	c := speaking(t, s)
	c.Send(`{"id":1,"connect":{"token":"` + token + `"}}`)
	if got := c.Text(); !strings.HasPrefix(got, `{"id":1,"connect":{"client":"`) {
		t.Fatalf("connect was answered %s", got)
	}
	return c
}

// wantError reads an error with an id and a code.
func (c *client) wantError(id int, code protocol.Code) string {
	c.T.Helper()
	got := c.Text()
	if !strings.HasPrefix(got, fmt.Sprintf(`{"id":%d,"error":{"code":%d,`, id, code)) {
		c.T.Fatalf("got %s, want error %d to %d", got, code, id)
	}
	return got
}

// anybody lets everybody in as the user that the token names.
func anybody(_ context.Context, r *protocol.ConnectRequest) error {
	r.User = r.Token
	return nil
}

// What a hook answers is checked, and what it does wrong costs nobody but the
// client that it was for.
func TestNativeHooksThatFail(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{
			Connect: func(_ context.Context, r *protocol.ConnectRequest) error {
				r.User = "ann"
				switch r.Token {
				case "panic":
					panic("on purpose")
				case "refuse":
					return errors.New("a secret of the log")
				case "json":
					r.Reply = json.RawMessage("{")
				case "info":
					r.Info = json.RawMessage("no")
				case "name":
					r.User = strings.Repeat("x", 256)
				case "channel":
					r.Channels = []string{"user:bob"}
				case "over":
					r.Expires = time.Now().Add(-time.Second)
				case "busy":
					return &protocol.Error{Code: protocol.CodeBusy, Message: "later", RetryAfter: time.Second}
				}
				return nil
			},
			Publish: func(_ context.Context, r *protocol.PublishRequest) error {
				r.Data = json.RawMessage("{]")
				return nil
			},
			Call: func(_ context.Context, r *protocol.CallRequest) error {
				r.Reply = json.RawMessage("\"\xff\"")
				return nil
			},
		}, nil)
		for token, code := range map[string]protocol.Code{
			"panic": protocol.CodeInternal, "json": protocol.CodeInternal, "info": protocol.CodeInternal, "name": protocol.CodeUnauthorized,
			"channel": protocol.CodeUnauthorized, "refuse": protocol.CodePermissionDenied, "over": protocol.CodeTokenExpired, "busy": protocol.CodeBusy,
		} {
			c := speaking(t, s)
			for i := range 2 {
				c.Send(fmt.Sprintf(`{"id":%d,"connect":{"token":"%s"}}`, i+1, token))
				if got := c.wantError(i+1, code); strings.Contains(got, "secret") {
					t.Errorf("a client was told %s", got)
				}
			}
			c.Send(`{"id":3,"connect":{"token":"good"}}`)
			if got := c.Text(); !strings.HasPrefix(got, `{"id":3,"connect":{`) {
				t.Errorf("%s: then connect was answered %s", token, got)
			}
			c.Send(`{"id":4,"publish":{"channel":"granted:x","data":1}}`)
			c.wantError(4, protocol.CodeInternal)
			c.Send(`{"id":5,"call":{"method":"m"}}`)
			c.wantError(5, protocol.CodeInternal)
		}
		wantPanics(t, s, 2)
		// Who shows one wrong token after the other is sent away; not who meets a busy application.
		c := speaking(t, s)
		for i := range 5 {
			c.Send(fmt.Sprintf(`{"id":%d,"connect":{"token":"busy"}}`, i+1))
			c.wantError(i+1, protocol.CodeBusy)
		}
		for i := range 3 {
			c.Send(fmt.Sprintf(`{"id":%d,"connect":{"token":"refuse"}}`, i+1))
			c.wantError(i+1, protocol.CodePermissionDenied)
		}
		c.WantClose(4401, "unauthorized")
		if got := statsOf(s); got.Get("connects_refused") < 8 || got.Get("command_errors") < got.Get("connects_refused") {
			t.Errorf("ConnectsRefused is %d, CommandErrors %d", got.Get("connects_refused"), got.Get("command_errors"))
		}
	})
}

// A hook that takes too long is reported as a timeout, and delays no other connection.
func TestNativeHookTimeout(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		release := make(chan struct{})
		s := nativeServer(t, engine, protocol.Application{Anonymous: true, Call: func(ctx context.Context, r *protocol.CallRequest) error {
			switch r.Method {
			case "deaf":
				<-release // it looks at no context
			case "polite":
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}, func(c *server.Config) { c.Timeouts.HandshakeTimeout = 3 * time.Second })
		defer close(release)
		deaf, polite, other := connected(t, s, ""), connected(t, s, ""), connected(t, s, "")
		deaf.Send(`{"id":2,"call":{"method":"deaf"}}`)
		deaf.Send(`{"id":3,"call":{"method":"quick"}}`) // does not wait for the first
		deaf.Want(`{"id":3,"call":{}}`)
		polite.Send(`{"id":2,"call":{"method":"polite"}}`)
		other.Send(`{"id":2,"call":{"method":"quick"}}`)
		other.Want(`{"id":2,"call":{}}`)
		deaf.wantError(2, protocol.CodeTimeout)
		polite.wantError(2, protocol.CodeTimeout)
	})
}

// At most AuthorizeMaxPending hooks run; who comes too many is told to come back.
func TestNativeHooksAreBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		begun, release := make(chan struct{}), make(chan struct{})
		s := nativeServer(t, engine, protocol.Application{Anonymous: true, Call: func(context.Context, *protocol.CallRequest) error {
			begun <- struct{}{}
			<-release
			return nil
		}}, func(c *server.Config) { c.Limits.AuthorizeMaxPending = 1 })
		first, second := connected(t, s, ""), connected(t, s, "")
		first.Send(`{"id":2,"call":{"method":"m"}}`)
		<-begun
		second.Send(`{"id":2,"call":{"method":"m"}}`)
		if got := second.wantError(2, protocol.CodeBusy); !strings.Contains(got, `"retry":1`) {
			t.Errorf("got %s, want retry", got)
		}
		close(release)
		first.Want(`{"id":2,"call":{}}`)
	})
}

// An identity that the upgrade gave needs no token, and no token can change it.
func TestNativeUpgradeIdentity(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Connect: anybody}, func(c *server.Config) {
			c.Handler.Upgrade = func(r *server.UpgradeRequest) error {
				r.User, r.Channels = "ann", []string{"open:room", "open:room"}
				return nil
			}
		})
		c := speaking(t, s)
		c.Send(`{"id":1,"connect":{"token":"bob"}}`)
		c.wantError(1, protocol.CodeUnauthorized)
		early, err := s.PublishMessage(context.Background(), server.Publication{User: "ann", Payload: []byte("too early")})
		if err != nil || early.Matched != 0 {
			t.Fatalf("%+v, %v, want nobody matched", early, err)
		}
		c.Send(`{"id":2,"connect":{}}`)
		got := c.Text()
		for _, part := range []string{`"user":"ann"`, `"channels":{"user:ann":{},"open:room":{"epoch":"`} {
			if !strings.Contains(got, part) {
				t.Errorf("connect was answered %s, want %s in it", got, part)
			}
		}
		if got := c.Text(); !strings.HasPrefix(got, `{"join":{"channel":"open:room"`) {
			t.Errorf("got %s, want a join", got)
		}
		if err := s.PublishUser("ann", server.Text, []byte("now")); err != nil {
			t.Fatal(err)
		}
		c.Want(`{"pub":{"channel":"user:ann","data":"now"}}`)
	})
}

// A client without an identity is refused where anonymous clients are not allowed.
func TestNativeAnonymousIsRefused(t *testing.T) {
	s := nativeServer(t, nil, protocol.Application{}, nil)
	c := speaking(t, s)
	c.Send(`{"id":1,"connect":{}}`)
	c.wantError(1, protocol.CodeUnauthorized)
	c.Send(`{"id":2,"connect":{"token":"x"}}`)
	c.wantError(2, protocol.CodeUnauthorized)
}

// A token allows what its patterns say, until another one takes its place.
func TestNativePermissions(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Connect: func(_ context.Context, r *protocol.ConnectRequest) error {
			r.User = "ann"
			if r.Token == "some" {
				r.Allow = protocol.Permissions{Subscribe: []string{"granted:a*", "granted:exact"}, Publish: []string{"granted:b*"}}
			}
			return nil
		}}, nil)
		c := connected(t, s, "some")
		id := 1
		try := func(command, channel string, allowed bool) {
			t.Helper()
			id++
			c.Send(fmt.Sprintf(`{"id":%d,"%s":{"channel":"%s","data":1}}`, id, command, channel))
			if !allowed {
				c.wantError(id, protocol.CodePermissionDenied)
				return
			}
			c.Want(fmt.Sprintf(`{"id":%d,"%s":{}}`, id, command))
		}
		try("subscribe", "granted:a", true)
		try("subscribe", "granted:abc", true)
		try("subscribe", "granted:exact", true)
		try("subscribe", "granted:exactly", false)
		try("subscribe", "granted:b", false)
		try("publish", "granted:b2", true)
		try("publish", "granted:a", false)
		c.Send(`{"id":100,"refresh":{"token":"none"}}`)
		c.Want(`{"id":100,"refresh":{}}`)
		try("subscribe", "granted:a3", false)
		try("unsubscribe", "granted:abc", true) // what was subscribed goes on
	})
}

// The application is told what happens, and a mistake of its own there harms no client.
func TestNativeEvents(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		var mu sync.Mutex
		var told []string
		done := make(chan struct{})
		s := nativeServer(t, engine, protocol.Application{Connect: anybody}, func(c *server.Config) {
			c.Events = func(e *protocol.Event) {
				mu.Lock()
				defer mu.Unlock()
				line := string(e.Type)
				for _, part := range []string{e.User, e.Channel, string(e.Data), e.Reason} {
					if part != "" {
						line += " " + part
					}
				}
				if e.Position.Offset > 0 {
					line += fmt.Sprint(" ", e.Position.Offset)
				}
				if e.Time.IsZero() || (e.Client == "") != (e.Type == protocol.EventOccupied || e.Type == protocol.EventVacated) {
					line += fmt.Sprintf(" of %q at %v", e.Client, e.Time)
				}
				told = append(told, line)
				switch e.Type {
				case protocol.EventDisconnected:
					close(done)
				case protocol.EventAcknowledged:
					panic("on purpose")
				}
			}
		})
		c := connected(t, s, "ann")
		c.Send(`{"id":2,"subscribe":{"channel":"open:x"}}`)
		epoch := strings.Split(c.Text(), `"`)[7]
		_ = c.Text() // its join
		c.Send(`{"id":3,"publish":{"channel":"open:x","data":{"a":1}}}`)
		_, pub := c.Text(), c.Text()
		if !strings.Contains(pub, `"from":"ann"`) {
			t.Errorf("got %s", pub)
		}
		c.Send(`{"ack":{"channel":"open:x","epoch":"` + epoch + `","offset":1}}`)
		c.Send(`{"id":5,"unsubscribe":{"channel":"open:x"}}`)
		c.Want(`{"id":5,"unsubscribe":{}}`)
		c.Send(`{"id":6,"subscribe":{"channel":"open:y"}}`)
		_, _ = c.Text(), c.Text()
		c.Put(wstest.Masked(ws.OpClose, "\x03\xe8bye"))
		select {
		case <-done:
		case <-time.After(wstest.Patience):
			t.Error("no disconnected event")
		}
		mu.Lock()
		defer mu.Unlock()
		want := []string{
			"connected ann", "occupied open:x", "subscribed ann open:x", `message ann open:x {"a":1} 1`, "acknowledged ann open:x 1",
			"vacated open:x", "unsubscribed ann open:x", "occupied open:y", "subscribed ann open:y", "unsubscribed ann open:y", "disconnected ann bye",
		}
		if got := strings.Join(told[:min(len(told), len(want))], "\n"); got != strings.Join(want, "\n") {
			t.Errorf("told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
		wantPanics(t, s, 1)
	})
}

// anybodyAtRate lets everybody in, at 5 messages a second.
func anybodyAtRate(_ context.Context, r *protocol.ConnectRequest) error {
	r.User, r.MessageRate = r.Token, 5
	return nil
}

// What the application joins a native client to, the client is told; before it
// has connected, with connect.
func TestNativeJoinByApplication(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		conns := make(chan server.Conn, 1)
		s := nativeServer(t, engine, protocol.Application{Anonymous: true}, func(c *server.Config) {
			c.Limits.SubscriptionsMax = 2
			c.Handler.Open = func(e *server.OpenEvent) {
				for _, channel := range []string{"plain", "open:x"} {
					if err := e.Conn().Join(channel); err != nil {
						t.Error(err)
					}
				}
				if err := e.Conn().Leave("plain"); err != nil {
					t.Error(err)
				}
				conns <- e.Conn()
			}
		})
		c := speaking(t, s)
		conn := <-conns
		if _, err := s.PublishMessage(t.Context(), server.Publication{Channel: "open:x", Payload: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		c.Send(`{"id":1,"connect":{}}`)
		got := c.Text()
		if !strings.Contains(got, `"channels":{"open:x":{"epoch":"`) || !strings.Contains(got, `"offset":1}}`) {
			t.Errorf("connect was answered %s", got)
		}
		if got := c.Text(); !strings.HasPrefix(got, `{"join":{"channel":"open:x"`) {
			t.Errorf("got %s, want a join", got)
		}
		for _, channel := range []string{"granted:x", "granted:x", "too:many"} {
			if err := conn.Join(channel); err != nil {
				t.Fatal(err)
			}
		}
		c.Want(`{"subscribed":{"channel":"granted:x"}}`)
		if err := conn.Leave("granted:x"); err != nil {
			t.Fatal(err)
		}
		c.Want(`{"unsubscribed":{"channel":"granted:x","code":103,"message":"ended by the application"}}`)
		if got := statsOf(s); got.Get("joins_refused") != 1 || got.Get("subscriptions") != 1 {
			t.Errorf("JoinsRefused is %d, Subscriptions %d, want 1 and 1", got.Get("joins_refused"), got.Get("subscriptions"))
		}
	})
}

// Events tell of clients of raw messages, too.
func TestEventsOfRawClients(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		told, conns := make(chan string, 100), make(chan server.Conn, 1)
		s := start(t, server.Config{Engine: server.Engine{Driver: engine},
			Events: func(e *protocol.Event) { told <- strings.TrimSpace(string(e.Type) + " " + e.User + " " + e.Channel) },
			Handler: server.Handler{
				Upgrade: func(r *server.UpgradeRequest) error {
					r.User, r.Channels = "ann", []string{"a"}
					return nil
				},
				Open: func(e *server.OpenEvent) { conns <- e.Conn() },
			}})
		c := upgraded(t, s)
		conn := <-conns
		for _, err := range []error{conn.Join("b"), conn.Join("b"), conn.Leave("b"), conn.Leave("b"), conn.Join("c")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		wait := func(want ...string) {
			t.Helper()
			got := map[string]int{}
			for range want {
				select {
				case e := <-told:
					got[e]++
				case <-time.After(wstest.Patience):
					t.Fatalf("told %v, want %v", got, want)
				}
			}
			for _, e := range want {
				if got[e]--; got[e] < 0 {
					t.Fatalf("told %v, want %v", got, want)
				}
			}
		}
		wait("occupied  a", "connected ann", "subscribed ann a")
		wait("occupied  b", "subscribed ann b", "vacated  b", "unsubscribed ann b", "occupied  c", "subscribed ann c")
		_ = c.Close()
		wait("unsubscribed ann a", "unsubscribed ann c", "disconnected ann", "vacated  a", "vacated  c")
	})
}

// The application is asked only where the namespace leaves it to decide: what is
// for nobody, or for users, stays so whatever a hook would say.
func TestNativeHooksOpenNoMore(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{
			Anonymous: true,
			Subscribe: func(context.Context, *protocol.SubscribeRequest) error { return nil },
			Publish:   func(context.Context, *protocol.PublishRequest) error { return nil },
		}, func(c *server.Config) {
			c.Namespaces = append(c.Namespaces,
				server.Namespace{Name: "closed", Subscribe: protocol.AccessNobody, Publish: protocol.AccessNobody},
				server.Namespace{Name: "users", Subscribe: protocol.AccessUsers, Publish: protocol.AccessUsers})
		})
		c := connected(t, s, "")
		for id, channel := range []string{"closed:x", "users:x"} {
			for k, command := range []string{"subscribe", "publish"} {
				n := 10 + 2*id + k
				c.Send(fmt.Sprintf(`{"id":%d,"%s":{"channel":"%s","token":"t","data":1}}`, n, command, channel))
				c.wantError(n, protocol.CodePermissionDenied)
			}
		}
		c.Send(`{"id":20,"subscribe":{"channel":"granted:x"}}`)
		c.Want(`{"id":20,"subscribe":{}}`)
		c.Send(`{"id":21,"publish":{"channel":"granted:x","data":1}}`)
		c.Want(`{"id":21,"publish":{}}`)
	})
}
