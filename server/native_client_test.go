package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goclient "github.com/roostws/roost/client"
	"github.com/roostws/roost/internal/badnetwork"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// The Go client on a network that cuts every connection gets every message of every channel once
// and in order.
func TestNativeClientOnABadNetwork(t *testing.T) {
	const channels, messages = 4, 400
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := notifier(t, engine, func(c *server.Config) {
			c.Application = &protocol.Application{Anonymous: true}
			c.Namespaces = []server.Namespace{{Name: "news", HistoryMessages: 10 * messages}}
			c.Handler = server.Handler{}
		})
		network := badnetwork.New(t, s.Addrs()[0].String(), 6000)
		ctx := within(t)
		c, err := goclient.Dial(ctx, goclient.Config{
			URL:          "ws://" + network.Addr() + "/",
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
		network.Heal()
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
		cuts := network.Cuts()
		if stats := c.Stats(); cuts < 5 || stats.Connects < 5 {
			t.Errorf("%d cuts, %+v: the network was too good", cuts, stats)
		} else {
			t.Logf("%d cuts, %+v", cuts, stats)
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
