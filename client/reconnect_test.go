package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
)

func TestRetryOf(t *testing.T) {
	for reason, want := range map[string]time.Duration{
		"":                                    0,
		"going away":                          0,
		"going away; retry=1500":              1500 * time.Millisecond,
		"a; retry=1; retry=20":                20 * time.Millisecond,
		"going away; retry=":                  0,
		"going away; retry=-5":                0,
		"going away; retry=5s":                0,
		"going away; retry=99999999999999999": 0,
	} {
		if got := retryOf(reason); got != want {
			t.Errorf("retryOf(%q) = %s, want %s", reason, got, want)
		}
	}
	if delay := serverDelay(&UpgradeError{RetryAfter: 1000 * time.Hour}); delay < time.Hour || delay > 75*time.Minute {
		t.Errorf("a server can send a client away for %s, want an hour and a quarter at most", delay)
	}
}

// The client never gives up, and its attempts stay within the bounds.
func TestReconnectBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		var attempts []time.Time
		cfg := n.config(l)
		cfg.NetDial = func(context.Context, string, string) (net.Conn, error) {
			attempts = append(attempts, time.Now())
			return nil, errors.New("no route")
		}
		c := n.start(cfg)
		time.Sleep(time.Hour)
		n.end(c)
		if len(attempts) < 3600/20 {
			t.Fatalf("%d attempts in an hour", len(attempts))
		}
		for i := range attempts[1:] {
			bound := min(500*time.Millisecond<<min(i, 10), 20*time.Second)
			if delay := attempts[i+1].Sub(attempts[i]); delay > bound {
				t.Errorf("attempt %d came after %s, want %s at most", i+1, delay, bound)
			}
		}
	})
}

// What the server asks for is kept, whatever way it says it.
func TestServerDelay(t *testing.T) {
	refuse := func(status int, header string) func(*fakeNet) {
		return func(n *fakeNet) { n.accept().refuse(status, header) }
	}
	for _, test := range []struct {
		name   string
		refuse func(*fakeNet)
		want   time.Duration
	}{
		{"503", refuse(503, "Retry-After: 120\r\n"), 2 * time.Minute},
		{"429", refuse(429, "Retry-After: Sat, 01 Jan 2000 00:01:00 GMT\r\n"), time.Minute}, // the bubble's clock begins in 2000
		{"close", func(n *fakeNet) { n.welcome("").close(frame.CloseGoingAway, "deployment; retry=90000") }, 90 * time.Second},
		{"error", func(n *fakeNet) {
			p := n.accept()
			p.upgrade("")
			id, _ := p.want("connect")
			p.send(`{"id":%d,"error":{"code":111,"message":"busy","retry":45.5}}`, id)
		}, 45500 * time.Millisecond},
		{"none", refuse(503, ""), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, l := newFakeNet(t), new(log)
				cfg := n.config(l)
				var told time.Duration
				var at time.Time
				cfg.OnState = func(e StateEvent) {
					if e.State == StateDisconnected {
						told, at = e.RetryIn, time.Now()
					}
				}
				c := n.start(cfg)
				defer n.end(c)
				test.refuse(n)
				n.accept()
				synctest.Wait()
				if told < test.want || told > test.want*5/4+cfg.withDefaults().ReconnectMin {
					t.Errorf("the event says %s, want %s, up to a quarter more, and up to 500 ms", told, test.want)
				}
				if delay := time.Since(at); delay != told {
					t.Errorf("the client came after %s, and said %s", delay, told)
				}
			})
		})
	}
}

// A server that lets clients in and drops them meets the same patience; a
// connection that lasted begins anew.
func TestReconnectAfterWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		var attempts []int
		cfg.OnState = func(e StateEvent) {
			if e.State == StateConnecting {
				attempts = append(attempts, e.Attempt)
			}
		}
		c := n.start(cfg)
		defer n.end(c)
		for range 3 {
			n.welcome("").close(frame.CloseInternalError, "")
		}
		p := n.welcome("")
		time.Sleep(30 * time.Second)
		p.close(frame.CloseGoingAway, "")
		n.welcome("")
		synctest.Wait()
		if got := fmt.Sprint(attempts); got != "[1 2 3 4 2]" {
			t.Errorf("attempts %s, want [1 2 3 4 2]", got)
		}
	})
}

// What ends a client for good, and what does not.
func TestPermanent(t *testing.T) {
	answer := func(code int) func(*fakeNet) {
		return func(n *fakeNet) {
			p := n.accept()
			p.upgrade("")
			id, _ := p.want("connect")
			p.send(`{"id":%d,"error":{"code":%d,"message":"no"}}`, id, code)
		}
	}
	closed := func(code frame.CloseCode) func(*fakeNet) {
		return func(n *fakeNet) { n.welcome("").close(code, "bye") }
	}
	token, _ := numbered()
	for _, test := range []struct {
		name      string
		token     func(context.Context) (string, error)
		act       func(*fakeNet)
		permanent string // empty: it comes again
	}{
		{"sent away", token, closed(4403), `frame: peer closed: 4403: "bye"`},
		{"bad request", token, closed(4400), ""},
		{"token expired", token, closed(4401), ""},
		{"slow consumer", nil, closed(1013), ""},
		{"policy", nil, closed(1008), ""},
		{"unauthorized", nil, answer(101), "server: no (101)"},
		{"unauthorized with a token", token, answer(101), ""},
		{"expired", nil, answer(102), "server: no (102)"},
		{"expired with a token", token, answer(102), ""},
		{"denied", nil, answer(103), ""},
		{"no token", func(context.Context) (string, error) { return "", fmt.Errorf("logged out: %w", ErrUnauthorized) },
			func(*fakeNet) {}, "client: token: logged out: client: unauthorized"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, l := newFakeNet(t), new(log)
				cfg := n.config(l)
				cfg.Token = test.token
				var last StateEvent
				cfg.OnState = func(e StateEvent) { last = e }
				c := n.start(cfg)
				defer n.end(c)
				test.act(n)
				if test.permanent == "" {
					n.accept()
					return
				}
				select {
				case <-c.Done():
				case <-time.After(10 * time.Minute):
					t.Fatal("the client goes on")
				}
				if last.State != StateClosed || last.Err == nil || last.Err.Error() != test.permanent {
					t.Errorf("the last event is %s: %v, want closed: %s", last.State, last.Err, test.permanent)
				}
				if err := c.Err(); err != last.Err {
					t.Errorf("Err() = %v", err)
				}
				if _, err := c.Publish(t.Context(), "a", 1); !errors.Is(err, ErrClosed) || !errors.Is(err, last.Err) {
					t.Errorf("Publish on it = %v", err)
				}
			})
		})
	}
}
