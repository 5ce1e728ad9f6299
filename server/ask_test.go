package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/memory"
)

// in connects a client as a user and subscribes it to channels.
func in(t *testing.T, s *server.Server, user string, channels ...string) *client {
	t.Helper()
	c := connectedAs(t, s, user)
	for _, channel := range channels {
		c.Send(fmt.Sprintf(`{"id":2,"subscribe":{"channel":%q}}`, channel))
		if text := c.Text(); !strings.HasPrefix(text, `{"id":2,"subscribe":{`) {
			t.Fatalf("subscribe was answered %s", text)
		}
	}
	return c
}

// Connections and channels are those of all servers, whichever is asked, page by page.
func TestNodesLists(t *testing.T) {
	all := cluster(t, memory.New(), 3)
	ctx := within(t)
	for i, s := range all {
		for k := range 4 {
			in(t, s, []string{"ann", "bob"}[k%2], fmt.Sprintf("plain:%d", i), "plain:all", fmt.Sprintf("plain:%d.%d", i, k))
		}
	}
	for i, s := range all {
		infos, more, err := s.Connections(ctx, "", "", 100)
		if err != nil || more || len(infos) != 12 {
			t.Fatalf("node %d: %d connections, %v, %v", i, len(infos), more, err)
		}
		var names []string
		for _, info := range infos {
			names = append(names, info.Client)
			if !strings.HasSuffix(info.Client, "@"+info.Node) || len(info.Channels) != 3 || !info.RemoteAddr.IsValid() {
				t.Errorf("node %d: %+v", i, info)
			}
		}
		for _, limit := range []int{1, 3, 4, 5} {
			var pages []string
			for after, more := "", true; more; {
				if infos, more, err = s.Connections(ctx, "", after, limit); err != nil || len(infos) == 0 || len(infos) > limit {
					t.Fatalf("node %d, after %s: %d connections, %v", i, after, len(infos), err)
				}
				for _, info := range infos {
					pages = append(pages, info.Client)
				}
				after = infos[len(infos)-1].Client
			}
			if !slices.Equal(pages, names) {
				t.Errorf("node %d, pages of %d: %v, want %v", i, limit, pages, names)
			}
		}
		if infos, _, err = s.Connections(ctx, "bob", "", 100); err != nil || len(infos) != 6 {
			t.Errorf("node %d: %d connections of bob, %v", i, len(infos), err)
		}

		channels, more, err := s.Channels(ctx, "plain:", "", 100)
		if err != nil || more || len(channels) != 16 || channels[0] != (server.ChannelInfo{Name: "plain:0", Clients: 4}) || channels[15] != (server.ChannelInfo{Name: "plain:all", Clients: 12}) {
			t.Errorf("node %d: channels %v, %v, %v", i, channels, more, err)
		}
		for _, limit := range []int{1, 5, 16} {
			var pages []server.ChannelInfo
			for after, more := "", true; more; {
				var page []server.ChannelInfo
				if page, more, err = s.Channels(ctx, "plain:", after, limit); err != nil || len(page) == 0 || len(page) > limit {
					t.Fatalf("node %d, after %s: %d channels, %v", i, after, len(page), err)
				}
				pages, after = append(pages, page...), page[len(page)-1].Name
			}
			if !slices.Equal(pages, channels) {
				t.Errorf("node %d, pages of %d: %v, want %v", i, limit, pages, channels)
			}
		}
		largest, more, err := s.LargestChannels(ctx, "", 2)
		if err != nil || !more || !slices.Equal(largest, []server.ChannelInfo{{Name: "plain:all", Clients: 12}, {Name: "plain:0", Clients: 4}}) {
			t.Errorf("node %d: largest %v, %v, %v", i, largest, more, err)
		}
	}
}

// The largest channel of all may be among the largest of no server.
func TestNodesLargest(t *testing.T) {
	all := cluster(t, memory.New(), 3)
	for i, s := range all {
		for k := range 3 {
			channels := []string{fmt.Sprintf("plain:%d", i), fmt.Sprintf("plain:%d.", i)}
			if k < 2 {
				channels = append(channels, "plain:spread")
			}
			in(t, s, "", channels...)
		}
	}
	for i, s := range all {
		largest, more, err := s.LargestChannels(within(t), "plain:", 1)
		if err != nil || !more || !slices.Equal(largest, []server.ChannelInfo{{Name: "plain:spread", Clients: 6}}) {
			t.Errorf("node %d: %v, %v, %v", i, largest, more, err)
		}
	}
}

// What is done to an audience is done on all servers, from any, and counts add up.
func TestNodesOrders(t *testing.T) {
	all := cluster(t, memory.New(), 3)
	ctx := within(t)
	ann := []*client{in(t, all[0], "ann", "plain:1"), in(t, all[1], "ann", "plain:1")}
	in(t, all[1], "bob")
	infos, _, err := all[2].Connections(ctx, "bob", "", 10)
	if err != nil || len(infos) != 1 {
		t.Fatalf("%v, %v", infos, err)
	}
	bob := server.Audience{Client: infos[0].Client}
	check := func(what string, want int) func(n int, err error) {
		return func(n int, err error) {
			t.Helper()
			if n != want || err != nil {
				t.Errorf("%s: %d, %v; want %d", what, n, err, want)
			}
		}
	}
	check("subscribe a user", 2)(all[2].Subscribe(ctx, server.Audience{User: "ann"}, "news:1"))
	for _, c := range ann {
		if text := c.Text(); !strings.HasPrefix(text, `{"subscribed":{"channel":"news:1"`) {
			t.Errorf("the user got %s", text)
		}
	}
	check("subscribe a connection", 1)(all[0].Subscribe(ctx, bob, "news:1"))
	check("subscribe a channel", 2)(all[1].Subscribe(ctx, server.Audience{Channel: "plain:1"}, "plain:2"))
	if channels, _, err := all[2].Channels(ctx, "news:", "", 10); err != nil || !slices.Equal(channels, []server.ChannelInfo{{Name: "news:1", Clients: 3}}) {
		t.Errorf("channels: %v, %v", channels, err)
	}
	r, err := all[2].PublishMessage(ctx, server.Publication{Client: bob.Client, Payload: []byte(`"hello"`)})
	if err != nil || r.Matched != 1 || r.Written != 1 || !r.Complete {
		t.Errorf("a message to a connection: %+v, %v", r, err)
	}
	check("unsubscribe a user", 2)(all[2].Unsubscribe(ctx, server.Audience{User: "ann"}, "news:1"))
	check("unsubscribe a connection", 1)(all[2].Unsubscribe(ctx, bob, "news:1"))
	check("again", 0)(all[2].Unsubscribe(ctx, bob, "news:1"))
	check("disconnect a connection", 1)(all[0].Disconnect(ctx, bob, frame.CloseServiceRestart, "x"))
	check("disconnect a channel", 2)(all[2].Disconnect(ctx, server.Audience{Channel: "plain:1"}, frame.CloseServiceRestart, "x"))
	check("a connection of a server that is not there", 0)(all[0].Disconnect(ctx, server.Audience{Client: "0-0-1@nowhere"}, frame.CloseServiceRestart, "x"))
	if _, err := all[0].Disconnect(ctx, server.Audience{Client: "0-0-1@a@b"}, frame.CloseServiceRestart, "x"); !errors.Is(err, server.ErrBadName) {
		t.Errorf("a name that is none: %v", err)
	}
	in(t, all[0], "cid")
	in(t, all[2], "cid")
	check("without waiting", 0)(all[1].Disconnect(server.NoWait, server.Audience{User: "cid"}, frame.CloseServiceRestart, "x"))
	eventually(t, "all are disconnected", func() bool {
		infos, _, err := all[1].Connections(ctx, "", "", 10)
		return err == nil && len(infos) == 0
	})
}

// A deaf broker hands nothing over while it is deaf.
type deafBroker struct {
	broker.Broker
	deaf atomic.Bool
}

type deafInbound struct {
	broker.Inbound
	b *deafBroker
}

func (b *deafBroker) Start(in broker.Inbound) error { return b.Broker.Start(deafInbound{in, b}) }

func (in deafInbound) Deliver(m *broker.Message) {
	if !in.b.deaf.Load() {
		in.Inbound.Deliver(m)
	}
}

// Where a server does not answer, or the broker is away, there is a result in time that says
// who is missing.
func TestNodesIncomplete(t *testing.T) {
	h := memory.New()
	all := cluster(t, h, 2)
	deaf := &deafBroker{Broker: h.Node()}
	third := nodetest.Start(t, deaf, 10, nil)
	for _, s := range append(all, third) {
		eventually(t, "all nodes", func() bool { return len(s.Nodes()) == 3 })
		in(t, s, "ann", "plain:1")
	}
	third3 := ""
	for _, n := range third.Nodes() {
		if n.Self {
			third3 = n.ID
		}
	}
	want := func(what string, n, wantN int, err error, missing ...string) {
		t.Helper()
		incomplete := new(server.IncompleteError)
		if !errors.As(err, &incomplete) || n != wantN {
			t.Errorf("%s: %d, %v; want %d", what, n, err, wantN)
		} else if missing != nil && !slices.Equal(incomplete.Missing, missing) {
			t.Errorf("%s: %v is missing, want %v", what, incomplete.Missing, missing)
		}
	}
	deaf.deaf.Store(true)
	ctx, cancel := context.WithTimeout(within(t), 100*time.Millisecond)
	defer cancel()
	infos, _, err := all[0].Connections(ctx, "ann", "", 10)
	want("connections", len(infos), 2, err, third3)
	ctx, cancel = context.WithTimeout(within(t), 100*time.Millisecond)
	defer cancel()
	n, err := all[0].Unsubscribe(ctx, server.Audience{User: "ann"}, "plain:1")
	want("unsubscribe", n, 2, err, third3)
	deaf.deaf.Store(false)
	n, err = all[0].Disconnect(within(t), server.Audience{Client: "0-0-1@" + third3}, frame.CloseServiceRestart, "x")
	if n > 1 || err != nil {
		t.Errorf("hearing again: %d, %v", n, err)
	}

	h.Interrupt()
	begin := time.Now()
	channels, _, err := all[0].Channels(within(t), "", "", 10)
	want("channels during an outage", len(channels), 0, err)
	infos, _, err = all[0].Connections(within(t), "", "", 10)
	want("connections during an outage", len(infos), 1, err)
	h.Restore()
	eventually(t, "a complete answer", func() bool {
		_, _, err = all[0].Connections(within(t), "", "", 10)
		return err == nil
	})
	t.Logf("the outage took %v", time.Since(begin))

	// A server that ends while it is asked, and while it asks.
	deaf.deaf.Store(true)
	done := make(chan error, 2)
	for _, s := range []*server.Server{all[0], third} {
		go func() {
			_, _, err := s.Connections(context.Background(), "", "", 10)
			done <- err
		}()
	}
	time.Sleep(5 * time.Millisecond) // somewhere in the middle, anywhere
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-done; err != nil && !errors.As(err, new(*server.IncompleteError)) && !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("at the end of a server: %v", err)
		}
	}
}
