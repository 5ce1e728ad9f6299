//go:build realclients

package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/roostws/roost/client"
	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/internal/redistest"
	"github.com/roostws/roost/server"
)

// Servers on one Redis know each other, and lists and orders reach over them.
func TestNodesTogether(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	all := []*server.Server{nodetest.Start(t, node(t, s), 10, nil), nodetest.Start(t, node(t, s), 10, nil), nodetest.Start(t, node(t, s), 10, nil)}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	wait(t, "the others", func() bool {
		return len(all[0].Nodes()) == 3 && len(all[1].Nodes()) == 3 && len(all[2].Nodes()) == 3
	})
	for i := range 6 {
		gc, err := client.New(client.Config{URL: "ws://" + all[i%3].Addrs()[0].String(), Token: func(context.Context) (string, error) { return "ann", nil }, ReconnectMin: time.Hour, ReconnectMax: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { gc.Close(); <-gc.Done() }()
		if _, err := gc.Subscribe(ctx, "news:1", func(context.Context, *client.Message) {}, nil); err != nil {
			t.Fatal(err)
		}
	}
	infos, more, err := all[1].Connections(ctx, "ann", "", 10)
	if err != nil || more || len(infos) != 6 {
		t.Fatalf("%d connections, %v", len(infos), err)
	}
	if channels, _, err := all[2].Channels(ctx, "", "", 10); err != nil || len(channels) != 1 || channels[0].Clients != 6 {
		t.Errorf("channels: %v, %v", channels, err)
	}
	if n, err := all[0].Disconnect(ctx, server.Audience{Client: infos[5].Client}, 4403, "x"); err != nil || n != 1 {
		t.Errorf("one was disconnected: %d, %v", n, err)
	}
	if n, err := all[0].Disconnect(ctx, server.Audience{User: "ann"}, 4403, "x"); err != nil || n != 5 {
		t.Errorf("all were disconnected: %d, %v", n, err)
	}
	s.Freeze()
	begin := time.Now()
	if _, _, err := all[0].Connections(ctx, "", "", 10); !errors.As(err, new(*server.IncompleteError)) || time.Since(begin) > 20*time.Second {
		t.Errorf("Redis is frozen: %v after %v", err, time.Since(begin))
	}
	s.Thaw()
	if err := all[2].Close(); err != nil {
		t.Error(err)
	}
	wait(t, "the goodbye", func() bool { return len(all[0].Nodes()) == 2 })
}
