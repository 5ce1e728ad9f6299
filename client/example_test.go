package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/roostws/roost/client"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// A server with history, and a client that hears what is published, whatever
// happens to its connection.
func Example() {
	s, err := server.New(server.Config{
		Listen:      []string{"127.0.0.1:0"},
		Application: &protocol.Application{Anonymous: true},
		Namespaces:  []server.Namespace{{Name: "news", HistoryMessages: 1000, Publish: protocol.AccessAnyone}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Close() }()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{URL: "ws://" + s.Addrs()[0].String()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	sub, err := c.Subscribe(ctx, "news:today", nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"hello", "world"} {
		if _, err := c.Publish(ctx, "news:today", text); err != nil {
			fmt.Println(err)
			return
		}
	}
	for m := range sub.Messages(ctx) {
		fmt.Println(m.Channel, m.Position.Offset, string(m.Data))
		if m.Position.Offset == 2 {
			break
		}
	}
	// Output:
	// news:today 1 "hello"
	// news:today 2 "world"
}
