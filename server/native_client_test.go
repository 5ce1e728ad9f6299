package server_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goclient "github.com/roostws/roost/client"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// A badNetwork is a TCP proxy that ends every connection: after a number of
// bytes, and so mostly within a frame, by a reset, an orderly end, or by swallowing what
// comes for a while. It is slow at times, too.
type badNetwork struct {
	net.Listener
	to   string
	mu   sync.Mutex
	rand *rand.Rand
	good bool
	cuts int
	wg   sync.WaitGroup
}

func newBadNetwork(t *testing.T, to net.Addr) *badNetwork {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("the network's seed is %d", seed)
	n := &badNetwork{Listener: l, to: to.String(), rand: rand.New(rand.NewPCG(seed, 0))}
	n.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.carry(near.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		n.wg.Wait()
	})
	return n
}

// heal makes connections last from now on.
func (n *badNetwork) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.good = true
}

func (n *badNetwork) draw(most int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rand.IntN(most)
}

func (n *badNetwork) carry(near *net.TCPConn) {
	far, err := net.Dial("tcp", n.to)
	if err != nil {
		_ = near.Close()
		return
	}
	defer func() { _ = far.Close(); _ = near.Close() }()
	n.wg.Go(func() { // upwards
		n.pump(far, near, 200+n.draw(1000), func() {})
		_ = far.Close()
		_ = near.Close()
	})
	n.pump(near, far, 300+n.draw(6000), func() {
		switch n.draw(3) {
		case 0:
			_ = near.SetLinger(0) // a reset
		case 1: // swallowed: both ends believe in the connection
			buffer := make([]byte, 1024)
			_ = far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			for err := error(nil); err == nil; {
				_, err = far.Read(buffer)
			}
		}
	})
}

// pump forwards up to a number of bytes, then cut is called.
func (n *badNetwork) pump(to, from net.Conn, most int, cut func()) {
	buffer := make([]byte, 512)
	for {
		got, err := from.Read(buffer)
		if err != nil {
			return
		}
		n.mu.Lock()
		good := n.good
		n.mu.Unlock()
		if !good && got >= most {
			_, _ = to.Write(buffer[:most])
			n.mu.Lock()
			n.cuts++
			n.mu.Unlock()
			cut()
			return
		}
		most -= got
		if n.draw(8) == 0 {
			time.Sleep(time.Duration(n.draw(5)) * time.Millisecond)
		}
		if _, err := to.Write(buffer[:got]); err != nil {
			return
		}
	}
}

// The Go client on a network that cuts every connection gets every message of every channel once
// and in order.
func TestNativeClientOnABadNetwork(t *testing.T) {
	const channels, messages = 4, 400
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := notifier(t, engine, func(c *server.Config) {
			c.Application = &protocol.Application{Anonymous: true}
			c.Namespaces = []server.Namespace{{Name: "news", HistoryMessages: 10 * messages}}
			c.Handler = server.Handler{}
		})
		network := newBadNetwork(t, s.Addrs()[0])
		ctx := within(t)
		c, err := goclient.Dial(ctx, goclient.Config{
			URL:          "ws://" + network.Addr().String() + "/",
			ReconnectMin: 5 * time.Millisecond, ReconnectMax: 50 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { c.Close(); <-c.Done() }()

		var mu sync.Mutex
		got := map[string][]string{}
		all := make(chan struct{}, channels)
		for i := range channels {
			channel := fmt.Sprintf("news:%d", i)
			subscribed := 0
			_, err := c.Subscribe(ctx, channel, func(_ context.Context, m *goclient.Message) {
				mu.Lock()
				defer mu.Unlock()
				got[channel] = append(got[channel], string(m.Data))
				if len(got[channel]) == messages {
					all <- struct{}{}
				}
			}, &goclient.SubscribeOptions{OnEvent: func(e *goclient.Event) {
				if subscribed++; subscribed > 1 && !e.Recovered {
					t.Errorf("%s: %+v", channel, e)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		for k := range messages {
			for i := range channels {
				if err := s.Publish(fmt.Sprintf("news:%d", i), server.Text, strconv.AppendInt(nil, int64(k), 10)); err != nil {
					t.Fatal(err)
				}
			}
			if k%4 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		for range channels {
			select {
			case <-all:
			case <-ctx.Done():
				mu.Lock()
				defer mu.Unlock()
				for channel, list := range got {
					t.Errorf("%s: %d messages, want %d", channel, len(list), messages)
				}
				t.Fatalf("not everything came: %+v", c.Stats())
			}
		}
		// The network is good again: commands work, and nothing else comes.
		network.heal()
		at, err := c.Publish(ctx, "news:0", 1)
		for ; err != nil && ctx.Err() == nil; at, err = c.Publish(ctx, "news:0", 1) {
			// Clients may not publish here: whether the answer comes is what counts.
			if refused, ok := errors.AsType[*goclient.ServerError](err); ok && refused.Code == goclient.CodePermissionDenied {
				break
			}
		}
		if ctx.Err() != nil {
			t.Errorf("Publish = %v, %v", at, err)
		}
		want := make([]string, messages)
		for k := range want {
			want[k] = strconv.Itoa(k)
		}
		mu.Lock()
		defer mu.Unlock()
		for channel, list := range got {
			if !slices.Equal(list, want) {
				t.Errorf("%s: %v", channel, list)
			}
		}
		network.mu.Lock()
		defer network.mu.Unlock()
		if stats := c.Stats(); network.cuts < 5 || stats.Connects < 5 {
			t.Errorf("%d cuts, %+v: the network was too good", network.cuts, stats)
		} else {
			t.Logf("%d cuts, %+v", network.cuts, stats)
		}
	})
}

// The Go client refuses by itself what the server would close the connection for, and
// sends what is one byte smaller.
func TestNativeClientKnowsTheMessageLimit(t *testing.T) {
	const limit = 1000
	s := notifier(t, nil, func(c *server.Config) {
		c.Limits.MessageMaxBytes = limit
		c.Application = &protocol.Application{Anonymous: true}
		c.Namespaces = []server.Namespace{{Name: "chat", Publish: protocol.AccessAnyone}}
		c.Handler = server.Handler{}
	})
	ctx := within(t)
	c, err := goclient.Dial(ctx, goclient.Config{
		URL:          "ws://" + s.Addrs()[0].String() + "/",
		ChannelToken: func(context.Context, string) (string, error) { return strings.Repeat("t", limit), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Close(); <-c.Done() }()
	publish := func(bytes int) error {
		_, err := c.Publish(ctx, "chat:1", strings.Repeat("x", bytes))
		return err
	}
	err = publish(limit)
	refused, ok := errors.AsType[*goclient.MessageTooLargeError](err)
	if !ok || refused.Command != "publish" || refused.MaxBytes != limit || refused.Bytes <= limit {
		t.Fatalf("a message that is too large: %v", err)
	}
	if err := publish(limit - (refused.Bytes - limit)); err != nil {
		t.Errorf("a message of %d bytes: %v", limit, err)
	}
	if err := publish(limit - (refused.Bytes - limit) + 1); err == nil {
		t.Errorf("a message of %d bytes was sent", limit+1)
	}
	if _, err := c.Call(ctx, "m", strings.Repeat("x", limit)); !errors.As(err, &refused) || refused.Command != "call" {
		t.Errorf("a call that is too large: %v", err)
	}
	if _, err := c.Subscribe(ctx, "chat:1", func(context.Context, *goclient.Message) {}, nil); !errors.As(err, &refused) || refused.Command != "subscribe" {
		t.Errorf("a channel token that is too large: %v", err)
	}
	if stats := c.Stats(); stats.Connects != 1 {
		t.Errorf("%+v, want one connection", stats)
	}
}
