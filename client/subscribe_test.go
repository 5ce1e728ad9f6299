package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
)

// subscribe subscribes while the peer answers.
func subscribe(t *testing.T, c *Client, p *peer, l *log, channel, reply string, options *SubscribeOptions) *Subscription {
	t.Helper()
	if options == nil {
		options = &SubscribeOptions{}
	}
	options.OnEvent = l.event
	subc := make(chan *Subscription, 1)
	go func() {
		sub, err := c.Subscribe(t.Context(), channel, l.message, options)
		if err != nil {
			t.Errorf("Subscribe(%q): %v", channel, err)
		}
		subc <- sub
	}()
	id, _ := p.want("subscribe")
	p.send(`{"id":%d,"subscribe":%s}`, id, reply)
	return <-subc
}

func (p *peer) pub(channel string, offset int) {
	p.t.Helper()
	p.send(`{"pub":{"channel":%q,"offset":%d,"data":%d}}`, channel, offset, offset)
}

// A resumed subscription gives every message once, in order.
func TestResume(t *testing.T) {
	withClient(t, quiet, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		sub := subscribe(t, c, p, l, "news", `{"epoch":"e","offset":3}`, nil)
		subscribe(t, c, p, l, "plain", `{}`, nil)
		p.send(`{"pub":{"channel":"plain","data":"x","from":"7","key":"k"}}`)
		for offset := 4; offset <= 6; offset++ {
			p.pub("news", offset)
		}
		synctest.Wait()
		if at := sub.Position(); at != (Position{"e", 6}) {
			t.Errorf("Position() = %v", at)
		}
		l.lines = nil
		p.close(frame.CloseTryAgainLater, "slow")

		// Both are asked for before either is answered, in the order of old.
		p = n.welcome("")
		first := p.wantBody("subscribe", `{"channel":"news","resume":{"epoch":"e","offset":6}}`)
		second := p.wantBody("subscribe", `{"channel":"plain"}`)
		p.send(`{"id":%d,"subscribe":{"epoch":"e","offset":8,"recovered":true}}`, first)
		for offset := 5; offset <= 9; offset++ {
			p.pub("news", offset)
		}
		p.send(`{"id":%d,"subscribe":{}}`, second)
		synctest.Wait()
		l.mu.Lock()
		got := strings.Join(l.lines, "\n")
		l.lines = nil
		l.mu.Unlock()
		// The two channels have no common order.
		if got = strings.Replace(got, "plain subscribed at /0, recovered false", "", 1); strings.Join(strings.Fields(got), " ") !=
			"news subscribed at e/6, recovered true news 7 7 news 8 8 news 9 9" {
			t.Errorf("got %s", got)
		}
		if stats := c.Stats(); stats.Duplicates != 2 || stats.Connects != 2 || stats.Messages != 7 || stats.BufferedBytes != 0 {
			t.Errorf("Stats() = %+v", stats)
		}
		p.close(frame.CloseGoingAway, "")

		// What can't be resumed is told in its place.
		p = n.welcome("")
		id := p.wantBody("subscribe", `{"channel":"news","resume":{"epoch":"e","offset":9}}`)
		p.send(`{"id":%d,"subscribe":{"epoch":"f","offset":2,"recovered":false}}`, id)
		p.pub("news", 3)
		l.want(t, "news subscribed at f/2, recovered false", "news 3 3")
		p.wantBody("subscribe", `{"channel":"plain"}`)
	})
}

func TestResumeOption(t *testing.T) {
	withClient(t, quiet, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		sub := subscribe(t, c, p, l, "news", `{"epoch":"e","offset":9,"recovered":true}`, &SubscribeOptions{Resume: &Position{"e", 7}})
		p.pub("news", 8)
		p.pub("news", 9)
		l.want(t, "news subscribed at e/7, recovered true", "news 8 8", "news 9 9")
		if at := sub.Position(); at.Offset != 9 {
			t.Errorf("Position() = %v", at)
		}
	})
}

// A history that was forgotten while the client was subscribed begins again with
// another epoch: nothing is missing, and that epoch is resumed.
func TestNewEpoch(t *testing.T) {
	withClient(t, quiet, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		sub := subscribe(t, c, p, l, "news", `{"epoch":"e1","offset":16}`, nil)
		p.pub("news", 17)
		p.send(`{"pub":{"channel":"news","epoch":"e2","offset":5,"data":5}}`)
		p.pub("news", 6)
		p.send(`{"gap":{"channel":"news","epoch":"e3","from":3,"to":4}}`) // the first messages of the next one
		p.pub("news", 5)
		l.want(t, "news subscribed at e1/16, recovered false", "news 17 17", "news 5 5", "news 6 6", "news gap 3-4", "news 5 5")
		if at := sub.Position(); at != (Position{"e3", 5}) {
			t.Errorf("Position() = %v", at)
		}
		p.close(frame.CloseGoingAway, "")
		n.welcome("").wantBody("subscribe", `{"channel":"news","resume":{"epoch":"e3","offset":5}}`)
		if s := c.Stats(); s.Missed != 2 || s.Duplicates != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestGaps(t *testing.T) {
	withClient(t, quiet, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		subscribe(t, c, p, l, "news", `{"epoch":"e","offset":16}`, nil)
		p.send(`{"gap":{"channel":"news","epoch":"e","from":17,"to":120}}`)
		p.pub("news", 50) // the policy "latest": the newest of each key come
		p.pub("news", 121)
		p.pub("news", 124) // a hole that was not announced
		l.want(t, "news subscribed at e/16, recovered false", "news gap 17-120", "news 50 50", "news 121 121", "news gap 122-123", "news 124 124")
		p.send(`{"gap":{"channel":"news","epoch":"e","from":125,"to":200}}`)
		p.close(frame.CloseGoingAway, "")
		// Nothing of the gap has come: it is asked for again.
		n.welcome("").wantBody("subscribe", `{"channel":"news","resume":{"epoch":"e","offset":124}}`)
		l.want(t, "news gap 125-200")
		if missed := c.Stats().Missed; missed != 104+2+76 {
			t.Errorf("Missed = %d", missed)
		}
	})
}

// A reset is told as a subscription that was not recovered, and its position counts,
// although its offset is lower.
func TestReset(t *testing.T) {
	withClient(t, quiet, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		sub := subscribe(t, c, p, l, "news", `{"epoch":"e1","offset":16}`, nil)
		p.pub("news", 17)
		p.send(`{"reset":{"channel":"news","epoch":"e2","offset":3}}`)
		p.send(`{"pub":{"channel":"news","epoch":"e2","offset":4,"data":4}}`)
		p.pub("news", 5)
		p.send(`{"reset":{"channel":"other","epoch":"e2","offset":3}}`)
		l.want(t, "news subscribed at e1/16, recovered false", "news 17 17", "news subscribed at e2/3, recovered false", "news 4 4", "news 5 5")
		if at := sub.Position(); at != (Position{"e2", 5}) {
			t.Errorf("Position() = %v", at)
		}
		p.close(frame.CloseGoingAway, "")
		n.welcome("").wantBody("subscribe", `{"channel":"news","resume":{"epoch":"e2","offset":5}}`)
		if s := c.Stats(); s.Missed != 0 || s.Duplicates != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSubscribeRefused(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		errc := make(chan error)
		try := func(ctx context.Context) {
			_, err := c.Subscribe(ctx, "news", l.message, &SubscribeOptions{OnEvent: l.event})
			errc <- err
		}
		go try(t.Context())
		id, _ := p.want("subscribe")
		p.send(`{"id":%d,"error":{"code":103,"message":"not yours"}}`, id)
		var refused *ServerError
		if err := <-errc; !errors.As(err, &refused) || refused.Code != CodePermissionDenied {
			t.Errorf("Subscribe = %v", err)
		}
		// What is temporary is tried again, when the server says.
		go try(t.Context())
		id, _ = p.want("subscribe")
		begin := time.Now()
		p.send(`{"id":%d,"error":{"code":108,"message":"too fast","retry":2.5}}`, id)
		id, _ = p.want("subscribe")
		if waited := time.Since(begin); waited < 2500*time.Millisecond || waited > 2500*time.Millisecond*5/4+500*time.Millisecond {
			t.Errorf("tried again after %s", waited)
		}
		p.send(`{"id":%d,"subscribe":{}}`, id)
		if err := <-errc; err != nil {
			t.Errorf("Subscribe = %v", err)
		}
		if _, err := c.Subscribe(t.Context(), "news", l.message, nil); !errors.Is(err, ErrAlreadySubscribed) {
			t.Errorf("a second Subscribe = %v", err)
		}
		// The server ends it: for good, or for now.
		l.want(t, "connected as c-1 42 ", "news subscribed at /0, recovered false")
		p.send(`{"unsubscribed":{"channel":"news","code":111,"message":"moving"}}`)
		id, _ = p.want("subscribe")
		p.send(`{"id":%d,"subscribe":{}}`, id)
		p.send(`{"unsubscribed":{"channel":"news","code":103,"message":"fired"}}`)
		l.want(t, "news subscribed at /0, recovered false", "news unsubscribed: server: fired (103)")
		// A context that ends takes the wish back.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go try(ctx)
		p.want("subscribe")
		if err := <-errc; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Subscribe = %v", err)
		}
		p.wantBody("unsubscribe", `{"channel":"news"}`)
	})
}

func TestUnsubscribe(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) { cfg.OnMessage = l.message }, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		sub := subscribe(t, c, p, l, "news", `{}`, nil)
		l.want(t, "connected as c-1 42 ", "news subscribed at /0, recovered false")
		errc := make(chan error)
		go func() { errc <- sub.Unsubscribe(t.Context()) }()
		id := p.wantBody("unsubscribe", `{"channel":"news"}`)
		p.pub("news", 0)
		// Another one waits for the end of this one.
		go func() {
			_, err := c.Subscribe(t.Context(), "news", l.message, nil)
			errc <- err
		}()
		p.wantNothing()
		p.send(`{"id":%d,"unsubscribe":{}}`, id)
		if err := <-errc; err != nil {
			t.Error(err)
		}
		id, _ = p.want("subscribe")
		p.send(`{"id":%d,"subscribe":{}}`, id)
		if err := <-errc; err != nil {
			t.Error(err)
		}
		l.want(t)
		if err := sub.Err(); !errors.Is(err, ErrUnsubscribed) {
			t.Errorf("Err() = %v", err)
		}
		if err := sub.Unsubscribe(t.Context()); err != nil {
			t.Errorf("a second Unsubscribe: %v", err)
		}
		if stats := c.Stats(); stats.Unhandled != 1 {
			t.Errorf("Stats() = %+v", stats)
		}
	})
}

// What waits for the handler of an ended subscription is not given to it.
func TestUnsubscribeDrops(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		go func() {
			id, _ := p.want("subscribe")
			p.send(`{"id":%d,"subscribe":{}}`, id)
			for offset := range 5 {
				p.pub("news", offset)
			}
			id, _ = p.want("unsubscribe")
			p.send(`{"id":%d,"unsubscribe":{}}`, id)
		}()
		calls, free := 0, make(chan struct{})
		sub, err := c.Subscribe(t.Context(), "news", func(ctx context.Context, _ *Message) {
			calls++
			<-free
			<-ctx.Done()
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := sub.Unsubscribe(t.Context()); err != nil {
			t.Error(err)
		}
		close(free)
		synctest.Wait()
		if left := c.Stats().BufferedBytes; calls != 1 || left != 0 {
			t.Errorf("the handler was called %d times, %d bytes are left", calls, left)
		}
	})
}

// Channels that the server subscribes by itself.
func TestServerSide(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) { cfg.OnState, cfg.OnMessage = nil, l.message }, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome(`,"channels":{"user:42":{"epoch":"e","offset":5}}`)
		p.pub("user:42", 6)
		p.send(`{"message":{"data":"psst"}}`)
		p.send(`{"subscribed":{"channel":"team","epoch":"g","offset":1}}`)
		p.send(`{"join":{"channel":"team","client":"c-9","user":"9"}}`)
		p.pub("team", 2)
		p.send(`{"pub":{"channel":"team","offset":3,"data":"AAH/","encoding":"base64"}}`)
		l.want(t, "user:42 subscribed at e/5, recovered false", "user:42 6 6", ` 0 "psst"`, "team subscribed at g/1, recovered false",
			"team join c-9 9", "team 2 2", "team 3 \x00\x01\xff")
		// Somebody asks for one: nothing goes over the wire.
		mine := new(log)
		if _, err := c.Subscribe(t.Context(), "team", mine.message, &SubscribeOptions{OnEvent: mine.event}); err != nil {
			t.Fatal(err)
		}
		p.pub("team", 4)
		mine.want(t, "team subscribed at g/3, recovered false", "team 4 4")
		p.wantNothing()
		p.close(frame.CloseGoingAway, "")
		// Each goes on where it was, in the connect itself.
		p = n.accept()
		p.upgrade("")
		id := p.wantBody("connect", `{"resume":{"team":{"epoch":"g","offset":4},"user:42":{"epoch":"e","offset":6}}}`)
		p.send(`{"id":%d,"connect":{"client":"c-2","channels":{"user:42":{"epoch":"e","offset":8,"recovered":true}}}}`, id)
		p.pub("user:42", 7)
		l.want(t, "user:42 subscribed at e/6, recovered true", "user:42 7 7")
		// The token no longer has the other one, but we want it.
		id = p.wantBody("subscribe", `{"channel":"team","resume":{"epoch":"g","offset":4}}`)
		p.send(`{"id":%d,"subscribe":{"epoch":"g","offset":4,"recovered":true}}`, id)
		p.send(`{"unsubscribed":{"channel":"user:42","code":103,"message":"blocked"}}`)
		mine.want(t, "team subscribed at g/4, recovered true")
		l.want(t, "user:42 unsubscribed: server: blocked (103)")
	})
}

func TestMessagesIterator(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		go func() {
			id, _ := p.want("subscribe")
			p.send(`{"id":%d,"subscribe":{"epoch":"e","offset":0}}`, id)
			for offset := 1; offset <= 3; offset++ {
				p.pub("news", offset)
			}
		}()
		sub, err := c.Subscribe(t.Context(), "news", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for m := range sub.Messages(t.Context()) {
			if at := sub.Position().Offset; at != m.Position.Offset-1 {
				t.Errorf("in the body for %d the position is %d", m.Position.Offset, at)
			}
			got = append(got, m.Position.Offset)
			if len(got) == 2 {
				break
			}
		}
		if at := sub.Position().Offset; at != 2 {
			t.Errorf("the position is %d behind the loop, want 2", at)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for m := range sub.Messages(ctx) {
			got = append(got, m.Position.Offset)
		}
		go func() {
			time.Sleep(time.Second)
			c.Close()
		}()
		for m := range sub.Messages(t.Context()) {
			t.Errorf("one more: %d", m.Position.Offset)
		}
		if fmt.Sprint(got) != "[1 2 3]" || !errors.Is(sub.Err(), ErrClosed) {
			t.Errorf("got %v, %v", got, sub.Err())
		}
	})
}

// Positions that an earlier process has kept go into the first connect.
func TestConfigResume(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) {
		cfg.OnState, cfg.OnMessage = nil, l.message
		cfg.Resume = map[string]Position{"user:42": {Epoch: "e", Offset: 5}, "gone": {Epoch: "e", Offset: 1}}
	}, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.accept()
		p.upgrade("")
		id := p.wantBody("connect", `{"resume":{"gone":{"epoch":"e","offset":1},"user:42":{"epoch":"e","offset":5}}}`)
		p.send(`{"id":%d,"connect":{"client":"c-1","channels":{"user:42":{"epoch":"e","offset":7,"recovered":true}}}}`, id)
		p.pub("user:42", 6)
		p.pub("user:42", 7)
		l.want(t, "user:42 subscribed at e/5, recovered true", "user:42 6 6", "user:42 7 7")
		p.close(frame.CloseGoingAway, "")
		p = n.accept()
		p.upgrade("")
		p.wantBody("connect", `{"resume":{"user:42":{"epoch":"e","offset":7}}}`)
	})
}
