package server_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// tokens lets in whose token is "good:USER", for as long as expires says.
func tokens(expires time.Duration) *protocol.Application {
	check := func(_ context.Context, r *protocol.ConnectRequest) error {
		user, ok := strings.CutPrefix(r.Token, "good:")
		if !ok {
			return &protocol.Error{Code: protocol.CodeUnauthorized, Message: "a bad token"}
		}
		r.User = user
		if expires > 0 {
			r.Expires = time.Now().Add(expires)
		}
		return nil
	}
	return &protocol.Application{Connect: check, Subscribe: func(_ context.Context, r *protocol.SubscribeRequest) error {
		if r.Token != "good:"+r.Channel {
			return errors.New("not for strangers")
		}
		if expires > 0 {
			r.Expires = time.Now().Add(expires)
		}
		return nil
	}}
}

// Who is not let in gets nothing that is published, and not for ever a chance.
func TestNativeConnectIsRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := notifier(t, engine, func(c *server.Config) { c.Application, c.Handler = tokens(0), server.Handler{} })
		c := speaking(t, s)
		if err := s.Broadcast(server.Text, []byte("secret")); err != nil {
			t.Fatal(err)
		}
		c.Send(`{"id":1,"connect":{}}`)
		c.Want(`{"id":1,"error":{"code":101,"message":"a bad token"}}`)
		c.Send(`{"id":2,"connect":{"token":"bad"}}`)
		c.Want(`{"id":2,"error":{"code":101,"message":"a bad token"}}`)
		c.Send(`{"id":3,"connect":{"token":"worse"}}`)
		c.Want(`{"id":3,"error":{"code":101,"message":"a bad token"}}`)
		c.WantClose(4401, "unauthorized")
		second := speaking(t, s)
		second.Send(`{"id":1,"connect":{"token":"bad"}}`)
		second.Want(`{"id":1,"error":{"code":101,"message":"a bad token"}}`)
		second.Send(`{"id":2,"connect":{"token":"good:ann"}}`)
		if text := second.Text(); !strings.Contains(text, `"user":"ann"`) || !strings.Contains(text, `"channels":{"user:ann":{"epoch":"`) {
			t.Fatalf("connect was answered %s", text)
		}
		if err := s.PublishUser("ann", server.Text, []byte(`"hello"`)); err != nil {
			t.Fatal(err)
		}
		second.Want(`{"pub":{"channel":"user:ann","epoch":"` + epochOf(t, s, "user:ann") + `","offset":1,"data":"hello"}}`)
		if n := statsOf(s).Get("connects_refused"); n != 4 {
			t.Errorf("ConnectsRefused = %d, want 4", n)
		}
	})
}

func TestNativeConnectTakesTooLong(t *testing.T) {
	t.Parallel()
	s := notifier(t, nil, func(c *server.Config) {
		c.Timeouts.HandshakeTimeout, c.Handler = time.Second, server.Handler{}
		c.Application = tokens(0)
		c.Application.Connect = func(ctx context.Context, _ *protocol.ConnectRequest) error {
			<-ctx.Done()
			return nil // too late
		}
	})
	silent, waiting := speaking(t, s), speaking(t, s)
	waiting.Send(`{"id":1,"connect":{"token":"good:ann"}}`)
	silent.WantClose(4401, "no connect command in time")
	got, _ := waiting.frames()
	if len(got) > 1 || len(got) == 1 && got[0] != `{"id":1,"error":{"code":112,"message":"it took too long"}}` {
		t.Errorf("the one who waits got %q", got)
	}
	_, _ = silent.Close(), waiting.Close()
	eventually(t, "both are gone", func() bool { return statsOf(s).Get("connections") == 0 })
}

// frames reads texts until the Close frame, whose code it answers.
func (c *client) frames() (texts []string, code ws.StatusCode) {
	c.T.Helper()
	for {
		h, err := ws.ReadHeader(c)
		if err != nil || h.Length > 1<<20 {
			c.T.Fatalf("read: %d bytes, %v, want a Close", h.Length, err)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(c, payload); err != nil {
			c.T.Fatalf("read: %v, want a Close", err)
		}
		switch h.OpCode {
		case ws.OpText:
			texts = append(texts, string(payload))
		case ws.OpClose:
			code, _ = ws.ParseCloseFrameData(payload)
			return texts, code
		}
	}
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	s := notifier(t, nil, func(c *server.Config) {
		c.Application, c.Handler = tokens(2*time.Second), server.Handler{}
		c.Namespaces = []server.Namespace{{Name: "vip", Subscribe: protocol.AccessGranted}}
	})
	c := speaking(t, s)
	c.Send(`{"id":1,"connect":{"token":"good:ann"}}`)
	if text := c.Text(); !strings.Contains(text, `"expires":`) {
		t.Fatalf("connect was answered %s", text)
	}
	c.Send(`{"id":2,"subscribe":{"channel":"vip:1","token":"bad"}}`)
	c.Want(`{"id":2,"error":{"code":103,"message":"permission denied"}}`)
	c.Send(`{"id":3,"subscribe":{"channel":"vip:1","token":"good:vip:1"}}`)
	if text := c.Text(); !strings.HasPrefix(text, `{"id":3,"subscribe":{"expires":`) {
		t.Fatalf("subscribe was answered %s", text)
	}
	c.Send(`{"id":4,"refresh":{"token":"good:bob"}}`)
	c.Want(`{"id":4,"error":{"code":101,"message":"the new token is another user's"}}`)
	for id, more := 5, time.Now().Add(4*time.Second); time.Now().Before(more); time.Sleep(300 * time.Millisecond) {
		// A new token every moment keeps the connection, and the old one's end is passed.
		c.Send(`{"id":9,"refresh":{"token":"good:ann"}}`)
		for text := ""; !strings.HasPrefix(text, `{"id":9,"refresh":{"expires":`); id++ {
			if text = c.Text(); id > 1000 || strings.Contains(text, "error") {
				t.Fatalf("refresh was answered %s", text)
			}
			if strings.HasPrefix(text, `{"unsubscribed":`) && text != `{"unsubscribed":{"channel":"vip:1","code":102,"message":"the token for this channel has expired"}}` {
				t.Fatal(text)
			}
		}
	}
	eventually(t, "the subscription ended", func() bool { return statsOf(s).Get("subscriptions") == 0 })
	if texts, code := c.frames(); code != 4401 {
		t.Errorf("closed with %d after %q", code, texts)
	}
	if n := statsOf(s).Get("tokens_expired"); n != 2 {
		t.Errorf("TokensExpired = %d, want 2", n)
	}
}

// Whatever a client sends, it is told what was wrong, and goes on.
func TestNativeCommandErrors(t *testing.T) {
	s := notifier(t, nil, func(c *server.Config) {
		c.Application, c.Handler = tokens(0), server.Handler{}
		c.Limits.SubscriptionsMax = 2
		c.Namespaces = append(c.Namespaces, server.Namespace{Name: "vip", Subscribe: protocol.AccessNobody}, server.Namespace{Name: "plain"})
	})
	c := speaking(t, s)
	c.Send(`{"id":1,"connect":{"token":"good:ann"}}`)
	_ = c.Text()
	for _, step := range []struct{ command, want string }{
		{`{"id":2,"connect":{"token":"good:ann"}}`, `"code":105,"message":"connected already"`},
		{`{"id":3,"subscribe":{"channel":"nowhere:1"}}`, `"code":104,`},
		{`{"id":4,"subscribe":{"channel":"vip:1"}}`, `"code":103,`},
		{`{"id":5,"subscribe":{"channel":"user:bob"}}`, `"code":103,`},
		{`{"id":6,"subscribe":{"channel":"user:ann"}}`, `"code":106,`},
		{`{"id":7,"subscribe":{"channel":"` + strings.Repeat("x", 256) + `"}}`, `"code":105,`},
		{`{"id":8,"subscribe":{}}`, `"code":105,`},
		{`{"id":9,"subscribe":{"channel":"plain:1"}}`, `{"id":9,"subscribe":{}}`},
		{`{"id":10,"subscribe":{"channel":"plain:1"}}`, `"code":106,`},
		{`{"id":11,"subscribe":{"channel":"plain:2"}}`, `{"id":11,"subscribe":{}}`},
		{`{"id":12,"subscribe":{"channel":"plain:3"}}`, `"code":108,`},
		{`{"id":13,"unsubscribe":{"channel":"plain:9"}}`, `"code":107,`},
		{`{"id":14,"unsubscribe":{"channel":"user:ann"}}`, `"code":103,`},
		{`{"id":15,"publish":{"channel":"plain:1","data":1}}`, `"code":103,`},
		{`{"id":16,"presence":{"channel":"plain:1"}}`, `"code":110,`},
		{`{"id":17,"history":{"channel":"plain:1"}}`, `"code":110,`},
		{`{"id":18,"history":{"channel":"news:1"}}`, `"code":107,`},
		{`{"id":19,"call":{"method":"x"}}`, `"code":109,`},
		{`{"id":20,"ack":{"channel":"news:1","epoch":"e","offset":1}}`, `"code":107,`},
		{`{"id":21,"refresh":{"channel":"news:1","token":"t"}}`, `"code":107,`},
		{`{"id":22,"dance":{}}`, `"code":105,`},
		{`{"subscribe":{"channel":"nowhere:1"}}`, `{"error":{"code":104,`},
		{`{"id":23,"history":{"channel":"user:ann","limit":1}}`, `{"id":23,"history":{"epoch":"`},
	} {
		c.Send(step.command)
		if text := c.Text(); !strings.Contains(text, step.want) {
			t.Errorf("%s was answered %s", step.command, text)
		}
	}
	if n := statsOf(s).Get("command_errors"); n != 20 {
		t.Errorf("CommandErrors = %d, want 20", n)
	}
	binary := speaking(t, s)
	binary.Put(wstest.Masked(ws.OpBinary, "{}"))
	binary.WantClose(1003, "roost.v1.json has text messages only")
}
