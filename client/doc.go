// Package client is the Go client of Roost's native protocol, roost.v1.json.
//
//	c, err := client.Dial(ctx, client.Config{URL: "wss://push.example.com/", Token: newToken})
//	sub, err := c.Subscribe(ctx, "news", func(ctx context.Context, m *client.Message) {
//		fmt.Println(m.Position.Offset, string(m.Data))
//	}, nil)
//	_, err = c.Publish(ctx, "news", "hello")
//
// # Connections
//
// A Client keeps one connection. When that is lost it connects again, after a
// random delay that grows (Config.ReconnectMin, ReconnectMax) and is never less than
// the server asked for, and subscribes to everything again. It goes on until Close,
// unless the server sends it away for good (close code 4403), refuses its token and
// Config.Token has no other, or Token returns ErrUnauthorized. Dial also ends where
// the address is wrong: see there. A server that is silent for longer than its
// heartbeats allow is taken for dead.
//
// # What is promised
//
// In a channel with history every message reaches the handler once and in order,
// over any number of lost connections, or EventGap or an EventSubscribed with Recovered
// false says that some did not: reload your state then. In a channel without
// history, messages published while there is no connection are missed; its EventSubscribed
// always says so. Subscription.Position moves on when a handler has returned;
// given to SubscribeOptions.Resume it holds the promise over a restart of the program.
//
// # Handlers
//
// Each subscription has its own order: its handler is called for one message
// after the other, those of different subscriptions at the same time. A handler may
// block and may call any method. When more than Config.BufferBytes wait
// for handlers, the client stops reading: TCP then holds the server up, and the
// channel's slow consumer policy decides there. While a command waits for its reply it
// reads on, since a handler may be waiting for it, up to four times BufferBytes
// and one message; then it cuts the connection (ErrSlowHandler), lets the handlers
// catch up, and resumes. So a slow handler delays all subscriptions of its client, and
// never takes more memory than that.
//
// # Files
//
//	client.go         the life of a Client; reconnecting
//	establish.go      what is asked for on a new connection; tokens that expire
//	subscription.go   Subscribe, Unsubscribe, iterating
//	push.go           what the server sends by itself: order, repetition, gaps
//	queue.go          what waits for handlers, and its bound
//	session.go        one connection: reading, writing, heartbeats
//	dial.go           the upgrade
//	wire.go           the messages
package client
