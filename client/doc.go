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
// unless the application disconnects it for good (close code 4403), the server refuses its
// token and Config.Token has no other, or Token returns ErrUnauthorized. Dial also gives up
// where the address is wrong. A server that is silent for longer than its heartbeats allow
// counts as dead.
//
// # What is promised
//
// In a channel with history every message reaches the handler once and in order,
// over any number of lost connections, or EventGap or an EventSubscribed with Recovered
// false says that some did not: reload your state then. In a channel without
// history, messages published while there is no connection are missed; its EventSubscribed
// always says so. Subscription.Position moves on when a handler has returned;
// given to SubscribeOptions.Resume it keeps the promise over a restart of the program.
//
// # Handlers
//
// Each subscription has its own order: its handler is called for one message
// after the other, those of different subscriptions at the same time. A handler may
// block and may call any method. When more than Config.BufferBytes wait
// for handlers, the client stops reading: TCP then holds the server up, and the
// channel's slow consumer policy decides there. While a command waits for its reply it
// reads on, since a handler may be waiting for it, up to four times BufferBytes
// and one message; then it cuts the connection (ErrSlowHandler), waits until the handlers
// have caught up, and resumes. So a slow handler delays all subscriptions of its client,
// and takes no more memory than that.
//
// # Files
//
//	client.go         the life of a Client; reconnecting
//	establish.go      subscribing on a new connection; tokens that expire
//	subscription.go   Subscribe, Unsubscribe, iterating
//	push.go           messages and events of the server: order, duplicates, gaps
//	queue.go          messages that wait for handlers, and their bound
//	session.go        one connection: reading, writing, heartbeats
//	dial.go           the upgrade
//	proxy.go          tunnels through proxies
//	wire.go           the messages
package client
