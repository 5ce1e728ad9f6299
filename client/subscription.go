package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/roostws/roost/internal/retry"
)

// A Handler gets the messages of one subscription, one at a time and in order. When it
// returns, the message has been processed: the subscription's position moves on. ctx
// ends with the subscription.
type Handler func(ctx context.Context, m *Message)

// SubscribeOptions are the options of a subscription.
type SubscribeOptions struct {
	// Resume asks for the messages after a position, which an earlier
	// Subscription.Position returned: nothing is missed or repeated over a restart of the
	// program.
	Resume *Position
	// OnEvent is called for each event of the subscription, in order with the messages
	// and on the same goroutine.
	OnEvent func(*Event)
}

// A Subscription delivers the messages of a channel, over any number of connections,
// until Unsubscribe or until the server refuses it for good.
type Subscription struct {
	// Immutable.
	client   *Client
	channel  string
	handler  Handler
	options  SubscribeOptions
	implicit bool // made by the server, not by Subscribe
	ctx      context.Context
	cancel   context.CancelFunc
	order    uint64        // lower for earlier ones
	settled  chan struct{} // closed by the server's first reply, or with endedc
	endedc   chan struct{} // closed at the end

	// Guarded by Client.mu.
	queue      *queue // its own, or Client.inbox
	phase      phase
	serverSide bool // the server subscribes it by itself
	lease      int  // of the channel's token: counts how often it was placed
	tries      retry.Backoff
	received   Position // of the last message that was put in the queue
	gapTo      uint64   // the end of the last gap that the server has reported
	handled    Position // of the last message that was processed
	err        error
}

// A phase is the state of a subscription on the current connection.
type phase int

const (
	// phaseWaiting: subscribe was not sent on this connection yet, or is to be repeated.
	phaseWaiting phase = iota
	// phaseAsked: subscribe waits for its reply.
	phaseAsked
	// phaseActive: messages come.
	phaseActive
	// phaseLeaving: unsubscribe waits for its reply; messages that still come are dropped.
	phaseLeaving
	// phaseEnded: it is no longer in Client.subs.
	phaseEnded
)

// Subscribe calls handler with the messages of a channel from now on, or from
// options.Resume, and returns when the server has agreed. A *ServerError says that it
// refuses. If ctx is done before, or the client is closed, there is no subscription; ctx
// has no effect on the subscription later.
//
// If handler is nil, the caller takes the messages with Messages. options may be nil. A
// client has one subscription for a channel. For a channel that the server has subscribed
// this client to, handler takes the place of Config.OnMessage.
func (c *Client) Subscribe(ctx context.Context, channel string, handler Handler, options *SubscribeOptions) (*Subscription, error) {
	sub, err := c.subscription(ctx, channel, handler, options)
	if err != nil {
		return nil, fmt.Errorf("client: subscribe to %q: %w", channel, err)
	}
	select {
	case <-sub.settled:
		err = sub.Err()
	case <-ctx.Done():
		err = context.Cause(ctx)
		c.mu.Lock()
		if sub.phase == phaseEnded {
			err = sub.err
		} else if c.session == nil {
			err = c.notConnected(err)
		}
		c.abandon(sub, func(error) {})
		c.mu.Unlock()
	}
	if err != nil {
		return nil, fmt.Errorf("client: subscribe to %q: %w", channel, err)
	}
	return sub, nil
}

// subscription makes one, and begins to establish it.
func (c *Client) subscription(ctx context.Context, channel string, handler Handler, options *SubscribeOptions) (*Subscription, error) {
	for {
		c.mu.Lock()
		old := c.subs[channel]
		switch {
		case c.closed:
			err := c.closedError()
			c.mu.Unlock()
			return nil, err
		case old == nil || old.implicit && old.phase != phaseLeaving:
			defer c.mu.Unlock()
			sub := c.add(channel, &queue{pulled: handler == nil, wakec: make(chan struct{}, 1)})
			sub.handler = handler
			if options != nil {
				sub.options = *options
			}
			if resume := sub.options.Resume; resume != nil {
				sub.received, sub.handled = *resume, *resume
			}
			if old != nil {
				c.takeOver(sub, old)
			} else if c.session != nil {
				c.establish(c.session, sub)
			}
			return sub, nil
		case old.phase != phaseLeaving:
			c.mu.Unlock()
			return nil, ErrAlreadySubscribed
		}
		c.mu.Unlock()
		select {
		case <-old.endedc:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// add makes a subscription. With mu held.
func (c *Client) add(channel string, q *queue) *Subscription {
	sub := &Subscription{
		client: c, channel: channel, queue: q, implicit: q == &c.inbox, order: c.order,
		settled: make(chan struct{}), endedc: make(chan struct{}),
		tries: retry.Backoff{Min: c.cfg.ReconnectMin, Max: c.cfg.ReconnectMax},
	}
	sub.ctx, sub.cancel = c.ctx, func() {}
	if !sub.implicit {
		sub.ctx, sub.cancel = context.WithCancel(c.ctx)
	}
	c.order++
	c.subs[channel] = sub
	return sub
}

// takeOver passes a channel that the server has subscribed to the caller of Subscribe.
// With mu held.
func (c *Client) takeOver(sub, old *Subscription) {
	recovered := sub.received == old.received && sub.received.Epoch != ""
	sub.received, sub.gapTo, sub.serverSide = old.received, old.gapTo, true
	active := old.phase == phaseActive
	old.phase = phaseEnded
	close(old.endedc)
	if active {
		c.begin(sub, recovered)
	} // else the next connection does
}

// Channel returns the channel's name.
func (s *Subscription) Channel() string { return s.channel }

// Position returns the position of the last message whose handler has returned; zero for
// channels without history and before the first EventSubscribed. A later
// SubscribeOptions.Resume takes it.
func (s *Subscription) Position() Position {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.handled
}

// Err returns nil until the subscription ends, then ErrUnsubscribed, the server's
// *ServerError, or ErrClosed.
func (s *Subscription) Err() error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.err
}

// Messages iterates over the messages of a subscription without a handler, one loop at a
// time. The loop's body stands for the handler: the message is processed when the body
// ends. The loop ends when ctx is done, and with the subscription: Err returns the reason.
// While there is no loop, messages wait, and beyond Config.BufferBytes the client stops
// reading.
func (s *Subscription) Messages(ctx context.Context) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		if s.handler != nil {
			panic("client: Messages of a Subscription with a Handler")
		}
		c, q := s.client, s.queue
		for more := true; more && ctx.Err() == nil; {
			if it, ok := c.next(q); !ok {
				c.mu.Lock()
				over := q.ended
				c.mu.Unlock()
				if over {
					return
				}
				select {
				case <-q.wakec:
				case <-ctx.Done():
				}
			} else if it.event != nil {
				it.deliver()
				c.delivered(it)
			} else {
				func() {
					defer c.delivered(it)
					more = yield(it.message)
				}()
			}
		}
	}
}

// Unsubscribe ends the subscription: no call of the handler begins after it has returned,
// and messages that wait are dropped. It waits for the server's reply. An error means that
// there was none; the subscription has ended all the same.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	c := s.client
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CommandTimeout)
	defer cancel()
	answer := make(chan error, 1)
	c.mu.Lock()
	c.abandon(s, func(err error) { answer <- err })
	c.mu.Unlock()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("client: unsubscribe from %q: %w", s.channel, context.Cause(ctx))
	}
}

// abandon ends a subscription on behalf of its owner. told is called with the server's
// error or nil, perhaps before abandon returns. With mu held.
func (c *Client) abandon(sub *Subscription, told func(error)) {
	was := sub.phase
	if was == phaseEnded || was == phaseLeaving {
		told(nil)
		return
	}
	c.discard(sub.queue)
	sub.cancel()
	sub.err = ErrUnsubscribed
	sub.phase = phaseLeaving
	sub.settle()
	if c.session == nil || was == phaseWaiting {
		c.end(sub, ErrUnsubscribed)
		told(nil)
		return
	}
	if _, err := c.session.send("unsubscribe", channelCommand{sub.channel}, true, func(_ json.RawMessage, err error) {
		c.mu.Lock()
		c.end(sub, ErrUnsubscribed)
		c.mu.Unlock()
		var refused *ServerError
		if errors.Is(err, ErrDisconnected) || errors.As(err, &refused) && refused.Code == CodeNotSubscribed {
			err = nil // it is over all the same
		}
		told(err)
	}); err != nil {
		c.end(sub, ErrUnsubscribed)
		told(nil)
	}
	c.nudge()
}

// end removes a subscription. Its handler still gets the messages that wait. With mu
// held.
func (c *Client) end(sub *Subscription, err error) {
	if sub.phase == phaseEnded {
		return
	}
	sub.phase = phaseEnded
	if sub.err == nil {
		sub.err = err
	}
	if c.subs[sub.channel] == sub {
		delete(c.subs, sub.channel)
	}
	sub.settle()
	close(sub.endedc)
	if sub.implicit {
		return
	}
	if sub.queue.ended = true; len(sub.queue.items) == 0 && !sub.queue.running {
		sub.cancel()
	}
	if sub.queue.pulled {
		c.start(sub.queue)
	}
}

// settle wakes the callers that wait in Subscribe. With mu held.
func (s *Subscription) settle() {
	select {
	case <-s.settled:
	default:
		close(s.settled)
	}
}
