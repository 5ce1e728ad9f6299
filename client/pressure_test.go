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

// With a slow handler the client stops reading, says that it is alive, and
// loses nothing.
func TestSlowHandlerStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		cfg.BufferBytes = 10 * itemBytes
		c := n.start(cfg)
		defer n.end(c)
		p := n.welcome("")
		go func() {
			id, _ := p.want("subscribe")
			p.send(`{"id":%d,"subscribe":{"epoch":"e","offset":0}}`, id)
		}()
		free, handled := make(chan struct{}), make(chan uint64, 200)
		if _, err := c.Subscribe(t.Context(), "news", func(_ context.Context, m *Message) {
			<-free
			handled <- m.Position.Offset
		}, nil); err != nil {
			t.Fatal(err)
		}
		sent := make(chan struct{})
		go func() {
			for offset := 1; offset <= 200; offset++ {
				p.pub("news", offset)
			}
			close(sent)
		}()
		for range 3 {
			p.wantText("pong ") // once every 25 s
		}
		select {
		case <-sent:
			t.Error("the client has read everything")
		default:
		}
		if got := c.Stats().BufferedBytes; got < cfg.BufferBytes || got > cfg.BufferBytes+itemBytes+readBytes {
			t.Errorf("%d bytes wait", got)
		}
		close(free)
		for want := uint64(1); want <= 200; want++ {
			if got := <-handled; got != want {
				t.Fatalf("%d came, want %d", got, want)
			}
		}
		<-sent
		if stats := c.Stats(); stats.Connects != 1 || stats.BufferedBytes != 0 && stats.BufferedBytes > itemBytes+8 {
			t.Errorf("Stats() = %+v", stats)
		}
	})
}

// A handler's own command is answered, though far more than BufferBytes is before the reply.
func TestCommandInHandler(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) { cfg.BufferBytes = 10 * itemBytes }, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		go func() {
			id, _ := p.want("subscribe")
			p.send(`{"id":%d,"subscribe":{"epoch":"e","offset":0}}`, id)
			for offset := 1; offset <= 100; offset++ {
				p.pub("news", offset)
			}
			for {
				m := p.next()
				var id int
				if !strings.Contains(m, `"ack"`) {
					return
				}
				for _, r := range strings.TrimPrefix(m, `{"id":`) {
					if r < '0' || r > '9' {
						break
					}
					id = 10*id + int(r-'0')
				}
				p.send(`{"id":%d,"ack":{}}`, id)
			}
		}()
		done := make(chan error, 100)
		if _, err := c.Subscribe(t.Context(), "news", func(ctx context.Context, m *Message) {
			done <- c.Ack(ctx, m.Channel, m.Position)
		}, nil); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for range 100 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("it took %s: replies were not read", took)
		}
	})
}

// Beyond the bound the connection is cut, the handlers catch up, and what was not read
// is asked for by position.
func TestSlowHandlerBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		cfg.BufferBytes, cfg.MaxMessageBytes = 10*itemBytes, 4096
		var lost error
		cfg.OnState = func(e StateEvent) {
			if e.State == StateDisconnected && lost == nil {
				lost = e.Err
			}
		}
		c := n.start(cfg)
		defer n.end(c)
		p := n.welcome("")
		go func() {
			id, _ := p.want("subscribe")
			p.send(`{"id":%d,"subscribe":{"epoch":"e","offset":0}}`, id)
		}()
		free := make(chan struct{})
		if _, err := c.Subscribe(t.Context(), "news", func(context.Context, *Message) { <-free }, nil); err != nil {
			t.Fatal(err)
		}
		go func() {
			// It waits for a reply that never comes, so reading goes on.
			if _, err := c.Call(t.Context(), "m", nil); !errors.Is(err, ErrDisconnected) {
				t.Errorf("Call = %v", err)
			}
		}()
		p.want("call")
		ended := make(chan int)
		go func() {
			for offset := 1; ; offset++ {
				message := fmt.Sprintf(`{"pub":{"channel":"news","offset":%d,"data":0}}`, offset)
				if _, err := p.conn.Write([]byte(frameOf(frame.OpText, message))); err != nil {
					ended <- offset
					return
				}
			}
		}()
		p.wantText("close 1001 handlers are too slow")
		_ = p.conn.Close()
		if sent := <-ended; sent < 40 || sent > 70 {
			t.Errorf("it was cut at message %d, want about 56", sent)
		}
		waiting := c.Stats().BufferedBytes
		time.Sleep(10 * time.Minute) // it does not come again before there is room
		synctest.Wait()
		if again := c.Stats().BufferedBytes; again != waiting || !errors.Is(lost, ErrSlowHandler) || n.dials != 1 {
			t.Errorf("%d, then %d bytes wait; %d connections; %v", waiting, again, n.dials, lost)
		}
		close(free)
		p = n.welcome("")
		_, body := p.want("subscribe")
		if want := fmt.Sprintf(`{"channel":"news","resume":{"epoch":"e","offset":%d}}`, c.Stats().Messages); body != want {
			t.Errorf("subscribe is %s, want %s", body, want)
		}
	})
}

func TestTooManyPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		cfg.MaxPendingCommands = 2
		c := n.start(cfg)
		defer n.end(c)
		p := n.welcome("")
		synctest.Wait()
		errc := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := c.Call(t.Context(), "m", 1)
				errc <- err
			}()
			p.want("call")
		}
		if _, err := c.Call(t.Context(), "m", 1); !errors.Is(err, ErrTooManyPending) {
			t.Errorf("a third call = %v", err)
		}
		begin := time.Now()
		for range 2 { // CommandTimeout makes room
			if err := <-errc; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Call = %v", err)
			}
		}
		if took := time.Since(begin); took > cfg.withDefaults().CommandTimeout {
			t.Errorf("the calls took %s", took)
		}
		go func() {
			id, _ := p.want("call")
			p.send(`{"id":1,"call":{}}`) // a reply without a caller
			p.send(`{"id":%d,"call":{"data":{"b":2}}}`, id)
		}()
		if reply, err := c.Call(t.Context(), "m", 1); err != nil || string(reply) != `{"b":2}` {
			t.Errorf("Call = %s, %v", reply, err)
		}
	})
}
