package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
)

// numbered is a token source whose tokens are numbered.
func numbered() (source func(context.Context) (string, error), asked *atomic.Int64) {
	asked = new(atomic.Int64)
	return func(context.Context) (string, error) { return fmt.Sprintf("t%d", asked.Add(1)), nil }, asked
}

// The token is refreshed on the open connection when 75 to 85 % of its life are over.
func TestTokenRefresh(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) { cfg.Token, _ = numbered() }, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.accept()
		p.upgrade("")
		id := p.wantBody("connect", `{"token":"t1"}`)
		begin := time.Now()
		p.send(`{"id":%d,"connect":{"client":"c","expires":20,"ping":300}}`, id)
		id = p.wantBody("refresh", `{"token":"t2"}`)
		if at := time.Since(begin); at < 15*time.Second || at > 17*time.Second {
			t.Errorf("refreshed after %s of 20 s", at)
		}
		// A refusal is not the end: the old token is good for a while.
		p.send(`{"id":%d,"error":{"code":111,"message":"busy","retry":1}}`, id)
		id = p.wantBody("refresh", `{"token":"t3"}`)
		begin = time.Now()
		p.send(`{"id":%d,"refresh":{"expires":100}}`, id)
		id = p.wantBody("refresh", `{"token":"t4"}`)
		if at := time.Since(begin); at < 75*time.Second || at > 85*time.Second {
			t.Errorf("refreshed after %s of 100 s", at)
		}
		p.send(`{"id":%d,"refresh":{}}`, id) // never expires
		time.Sleep(4 * time.Minute)
		p.wantNothing()
		if got := c.Stats().Connects; got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
	})
}

// A source that has no other token than the one that was refused ends the client.
func TestTokenRefusedAgain(t *testing.T) {
	for _, code := range []ErrorCode{CodeUnauthorized, CodeTokenExpired} {
		synctest.Test(t, func(t *testing.T) {
			n, l := newFakeNet(t), new(log)
			cfg := n.config(l)
			cfg.Token = func(context.Context) (string, error) { return "fixed", nil }
			c := n.start(cfg)
			defer n.end(c)
			for _, code := range []ErrorCode{CodeBusy, code} { // busy is not about the token
				p := n.accept()
				p.upgrade("")
				id := p.wantBody("connect", `{"token":"fixed"}`)
				p.send(`{"id":%d,"error":{"code":%d,"message":"no"}}`, id, code)
				p.wantText("close 1000 ")
				p.close(frame.CloseNormal, "")
			}
			<-c.Done()
			var refused *ServerError
			if err := c.Err(); !errors.Is(err, ErrUnauthorized) || !errors.As(err, &refused) || refused.Code != code || n.dials != 2 {
				t.Errorf("%d: after %d attempts: %v", code, n.dials, err)
			}
		})
	}
}

// An expired token, told by an error or a Close frame, leads to a new one.
func TestTokenExpired(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) { cfg.Token, _ = numbered() }, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.accept()
		p.upgrade("")
		id := p.wantBody("connect", `{"token":"t1"}`)
		p.send(`{"id":%d,"error":{"code":102,"message":"expired"}}`, id)
		p.wantText("close 1000 ")
		p.close(frame.CloseNormal, "")
		p = n.accept()
		p.upgrade("")
		id = p.wantBody("connect", `{"token":"t2"}`)
		p.send(`{"id":%d,"connect":{"client":"c"}}`, id)
		p.close(CloseTokenExpired, "token expired")
		p = n.accept()
		p.upgrade("")
		p.wantBody("connect", `{"token":"t3"}`)
		l.want(t, "disconnected: server: expired (102)", "connected as c  ", `disconnected: frame: peer closed: 4401: "token expired"`)
	})
}

// A token source that fails, or hangs, is asked again.
func TestTokenSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		asked := 0
		cfg.Token = func(ctx context.Context) (string, error) {
			switch asked++; asked {
			case 1:
				return "", errors.New("no luck")
			case 2:
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "t", nil
		}
		c := n.start(cfg)
		defer n.end(c)
		n.welcome("")
		l.want(t, "disconnected: client: token: no luck", "disconnected: client: token: context deadline exceeded", "connected as c-1 42 ")
	})
}

func TestChannelToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		cfg.OnState = nil
		asked := 0
		cfg.ChannelToken = func(_ context.Context, channel string) (string, error) {
			if asked++; asked == 1 {
				return "", errors.New("no luck")
			}
			return fmt.Sprintf("%s-%d", channel, asked), nil
		}
		c := n.start(cfg)
		defer n.end(c)
		p := n.welcome("")
		subc := make(chan *Subscription, 1)
		go func() {
			sub, err := c.Subscribe(t.Context(), "private", l.message, &SubscribeOptions{OnEvent: l.event})
			if err != nil {
				t.Error(err)
			}
			subc <- sub
		}()
		id := p.wantBody("subscribe", `{"channel":"private","token":"private-2"}`)
		p.send(`{"id":%d,"error":{"code":102,"message":"expired"}}`, id)
		id = p.wantBody("subscribe", `{"channel":"private","token":"private-3"}`)
		p.send(`{"id":%d,"subscribe":{"epoch":"e","offset":1,"expires":10}}`, id)
		<-subc
		begin := time.Now()
		id = p.wantBody("refresh", `{"channel":"private","token":"private-4"}`)
		if at := time.Since(begin); at < 7500*time.Millisecond || at > 8500*time.Millisecond {
			t.Errorf("refreshed after %s of 10 s", at)
		}
		p.send(`{"id":%d,"refresh":{}}`, id)
		p.pub("private", 2)
		p.send(`{"unsubscribed":{"channel":"private","code":102,"message":"token expired"}}`)
		id = p.wantBody("subscribe", `{"channel":"private","token":"private-5","resume":{"epoch":"e","offset":2}}`)
		p.send(`{"id":%d,"subscribe":{"epoch":"e","offset":2,"recovered":true}}`, id)
		l.want(t, "private subscribed at e/1, recovered false", "private 2 2", "private subscribed at e/2, recovered true")
	})
}
