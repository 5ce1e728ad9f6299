package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/internal/retry"
)

// Subscriptions on a new connection: what the client asks for, and how it handles the
// replies.

// resumable returns the positions of channels that the server will subscribe by itself.
func (c *Client) resumable() map[string]Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	resume := map[string]Position{}
	if c.stats.Connects == 0 {
		maps.Copy(resume, c.cfg.Resume)
	}
	for channel, sub := range c.subs {
		// The channel of a user is always the server's to subscribe.
		if (sub.serverSide || strings.HasPrefix(channel, "user:")) && sub.received.Epoch != "" {
			resume[channel] = sub.received
		}
	}
	return resume
}

// welcome handles the reply to connect; resume holds the positions that were sent. On the
// reader, before anything that follows the reply.
func (c *Client) welcome(s *session, body json.RawMessage, resume map[string]Position) error {
	var reply connectReply
	if err := json.Unmarshal(body, &reply); err != nil {
		return notTheProtocol(err)
	}
	s.setTerms(seconds(reply.Ping), reply.Limits.Message)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.session = s
	c.lastErr = nil
	c.stats.Connects++
	c.identity = StateEvent{State: StateConnected, Client: reply.Client, User: reply.User, Data: reply.Data}
	for channel, placing := range reply.Channels {
		from, resumed := resume[channel]
		c.serverSubscribed(channel, placing.Position, from, resumed && placing.Recovered)
	}
	for _, sub := range c.inOrder() {
		if _, ours := reply.Channels[sub.channel]; ours {
			continue
		}
		if sub.serverSide = false; sub.implicit {
			c.put(sub.queue, item{sub: sub, event: &Event{Type: EventUnsubscribed, Channel: sub.channel,
				Err: errors.New("client: the server has not subscribed this client again")}})
			c.end(sub, ErrUnsubscribed)
		} else {
			c.establish(s, sub)
		}
	}
	if reply.Expires > 0 && c.cfg.Token != nil {
		c.spawn(func() {
			c.keepFresh(s, "", c.cfg.Token, seconds(reply.Expires), func() bool { return true })
		})
	}
	c.change()
	return nil
}

// inOrder returns the subscriptions in the order in which they were made, which is the
// order in which they are established again. With mu held.
func (c *Client) inOrder() []*Subscription {
	subs := make([]*Subscription, 0, len(c.subs))
	for _, sub := range c.subs {
		subs = append(subs, sub)
	}
	slices.SortFunc(subs, func(a, b *Subscription) int { return int(a.order) - int(b.order) })
	return subs
}

// spawn runs f on a goroutine that Done waits for. With mu held, while not closed.
func (c *Client) spawn(f func()) {
	c.active.Add(1)
	go func() {
		defer c.active.Done()
		f()
	}()
}

// detach notes that a session has ended.
func (c *Client) detach(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return
	}
	c.session = nil
	for _, sub := range c.subs {
		if sub.phase == phaseLeaving {
			c.end(sub, ErrUnsubscribed)
		} else {
			sub.phase = phaseWaiting
		}
	}
	if !c.closed {
		c.change()
	}
}

// serverSubscribed notes that the server has subscribed this client to a channel.
// With mu held.
func (c *Client) serverSubscribed(channel string, at, resumed Position, recovered bool) {
	sub := c.subs[channel]
	if sub == nil {
		sub = c.add(channel, &c.inbox)
		sub.received, sub.handled = resumed, resumed
	}
	if sub.phase == phaseLeaving {
		return
	}
	sub.serverSide = true
	c.placed(sub, at, recovered)
}

// placed starts the delivery at a position. With mu held.
func (c *Client) placed(sub *Subscription, at Position, recovered bool) {
	// Recovered: the missed messages follow, after the position that was sent.
	if !recovered {
		sub.received = at
	}
	sub.gapTo = 0
	c.begin(sub, recovered)
}

// begin reports that messages come from now on. With mu held.
func (c *Client) begin(sub *Subscription, recovered bool) {
	sub.phase = phaseActive
	sub.tries.Reset()
	c.put(sub.queue, item{sub: sub, event: &Event{Type: EventSubscribed, Channel: sub.channel, Position: sub.received, Recovered: recovered}})
	sub.settle()
}

// establish asks the server for a subscription, with a token if there is a source
// of them. With mu held.
func (c *Client) establish(s *session, sub *Subscription) {
	if c.cfg.ChannelToken == nil {
		c.ask(s, sub, "")
		return
	}
	sub.phase = phaseWaiting
	c.spawn(func() {
		token, err := c.token(func(ctx context.Context) (string, error) { return c.cfg.ChannelToken(ctx, sub.channel) })
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.session != s || sub.phase != phaseWaiting:
		case err != nil:
			c.refused(s, sub, err)
		default:
			c.ask(s, sub, token)
		}
	})
}

// ask sends subscribe. With mu held.
func (c *Client) ask(s *session, sub *Subscription, token string) {
	command := subscribeCommand{Channel: sub.channel, Token: token}
	if at := sub.received; at.Epoch != "" {
		command.Resume = &at
	}
	sub.phase = phaseAsked
	if _, err := s.send("subscribe", command, true, func(body json.RawMessage, err error) {
		var placing wirePlacing
		if err == nil {
			if err = json.Unmarshal(body, &placing); err != nil {
				s.fail(notTheProtocol(err))
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case sub.phase != phaseAsked:
		case errors.Is(err, ErrDisconnected):
			sub.phase = phaseWaiting
		case err != nil:
			c.refused(s, sub, err)
		default:
			c.placed(sub, placing.Position, command.Resume != nil && placing.Recovered)
			if sub.lease++; placing.Expires > 0 && c.cfg.ChannelToken != nil {
				lease := sub.lease
				c.spawn(func() { c.keepChannelFresh(s, sub, lease, seconds(placing.Expires)) })
			}
		}
	}); errors.Is(err, ErrDisconnected) {
		sub.phase = phaseWaiting // the next connection asks again
	} else if err != nil {
		c.refused(s, sub, err)
	}
	c.nudge()
}

// refused decides what follows when a subscription was refused, or ended by the
// server: another attempt, or the end. With mu held.
func (c *Client) refused(s *session, sub *Subscription, err error) {
	refusal, ofServer := errors.AsType[*ServerError](err)
	_, tooLarge := errors.AsType[*MessageTooLargeError](err)
	switch {
	case c.closed:
		return
	case ofServer && refusal.Code == CodeAlreadySubscribed:
		// The server has subscribed it by itself.
		sub.serverSide = true
		c.begin(sub, false)
		return
	case ofServer && refusal.Temporary():
	case ofServer && refusal.Code == CodeTokenExpired && c.cfg.ChannelToken != nil:
	case !ofServer && !tooLarge && !errors.Is(err, ErrUnauthorized):
		// The token source failed.
	default:
		if sub.lease > 0 { // otherwise Subscribe tells
			c.put(sub.queue, item{sub: sub, event: &Event{Type: EventUnsubscribed, Channel: sub.channel, Err: err}})
		}
		c.end(sub, err)
		return
	}
	sub.phase = phaseWaiting
	delay := serverDelay(err) + sub.tries.Next()
	c.spawn(func() {
		if !sleep(delay, s.done) {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.session == s && sub.phase == phaseWaiting && !c.closed {
			c.establish(s, sub)
		}
	})
}

// keepFresh sends new tokens in time, for the connection or, if it is not empty, for a
// channel: when about four fifths of the old one's life are over, at a random moment so
// that clients that connected together do not refresh together. It ends with the session,
// and when wanted returns false.
func (c *Client) keepFresh(s *session, channel string, source func(context.Context) (string, error), life time.Duration, wanted func() bool) {
	tries := retry.Backoff{Min: c.cfg.ReconnectMin, Max: c.cfg.ReconnectMax}
	for delay := refreshAfter(life); delay > 0 && sleep(delay, s.done) && wanted(); {
		token, err := c.token(source)
		var body json.RawMessage
		if err == nil {
			body, err = c.exchange(c.ctx, s, "refresh", refreshCommand{channel, token})
		}
		var reply refreshReply
		if err == nil {
			err = json.Unmarshal(body, &reply)
		}
		if err != nil {
			// Try again until the server ends what has expired; that gets a new token too.
			delay = serverDelay(err) + tries.Next() + time.Millisecond
			continue
		}
		tries.Reset()
		delay = refreshAfter(seconds(reply.Expires))
	}
}

// keepChannelFresh is keepFresh for a subscription, until it is established again.
func (c *Client) keepChannelFresh(s *session, sub *Subscription, lease int, life time.Duration) {
	source := func(ctx context.Context) (string, error) { return c.cfg.ChannelToken(ctx, sub.channel) }
	c.keepFresh(s, sub.channel, source, life, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return sub.phase == phaseActive && sub.lease == lease
	})
}

// refreshAfter returns when to send a new token: after 75 to 85 % of the old one's life.
func refreshAfter(life time.Duration) time.Duration {
	return life*3/4 + rand.N(life/10+1)
}

// exchange sends a command on a session and waits for the reply.
func (c *Client) exchange(ctx context.Context, s *session, name string, body any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CommandTimeout)
	defer cancel()
	type result struct {
		body json.RawMessage
		err  error
	}
	replied := make(chan result, 1)
	id, err := s.send(name, body, false, func(body json.RawMessage, err error) { replied <- result{body, err} })
	if err != nil {
		return nil, err
	}
	c.nudge()
	select {
	case r := <-replied:
		return r.body, r.err
	case <-c.ctx.Done():
		return nil, fmt.Errorf("%w to %s: %w", ErrDisconnected, name, ErrClosed)
	case <-ctx.Done():
		s.forget(id)
		return nil, fmt.Errorf("client: %s has no reply: %w", name, context.Cause(ctx))
	}
}
