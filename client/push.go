package client

import (
	"encoding/json"
)

// take handles one message of the server. On the reader.
func (c *Client) take(s *session, message []byte) error {
	var in incoming
	if err := json.Unmarshal(message, &in); err != nil {
		return notTheProtocol(err)
	}
	if in.ID != 0 {
		return s.answer(in.ID, in.Error, message)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case in.Pub != nil:
		return c.published(in.Pub)
	case in.Message != nil:
		m, err := in.Message.message("", "")
		if err != nil {
			return notTheProtocol(err)
		}
		c.stats.Messages++
		sub := &Subscription{client: c, queue: &c.inbox, implicit: true, ctx: c.ctx, cancel: func() {}}
		c.put(&c.inbox, item{sub: sub, message: m})
	case in.Join != nil:
		c.tell(in.Join.Channel, &Event{Type: EventJoin, Client: in.Join.Client, User: in.Join.User})
	case in.Leave != nil:
		c.tell(in.Leave.Channel, &Event{Type: EventLeave, Client: in.Leave.Client, User: in.Leave.User})
	case in.Gap != nil:
		c.gap(in.Gap)
	case in.Reset != nil:
		c.reset(in.Reset)
	case in.Subscribed != nil:
		c.serverSubscribed(in.Subscribed.Channel, in.Subscribed.Position, Position{}, false)
	case in.Unsubscribed != nil:
		c.unsubscribed(s, in.Unsubscribed)
	}
	return nil // unknown pushes are of a later version
}

// published handles a message of a channel: it drops a duplicate, and reports what is
// missing before the message. With mu held.
func (c *Client) published(p *wirePub) error {
	sub := c.subs[p.Channel]
	if sub == nil {
		sub = c.add(p.Channel, &c.inbox)
		sub.phase, sub.serverSide = phaseActive, true
	}
	if sub.phase != phaseActive {
		c.stats.Unhandled++
		return nil
	}
	if at := &sub.received; at.Epoch != "" && p.Offset > 0 {
		if p.Epoch != "" {
			sub.begin(Position{p.Epoch, p.Offset - 1})
		}
		if p.Offset <= at.Offset {
			c.stats.Duplicates++
			return nil
		}
		if from := max(at.Offset, sub.gapTo) + 1; from < p.Offset {
			c.missed(sub, from, p.Offset-1)
		}
		at.Offset = p.Offset
	}
	m, err := p.message(p.Channel, sub.received.Epoch)
	if err != nil {
		return notTheProtocol(err)
	}
	c.stats.Messages++
	c.put(sub.queue, item{sub: sub, message: m})
	return nil
}

// gap handles the server's report that messages will not come. The position stays: some
// of them may still come (slow consumer policy latest), and a client that is cut before
// that asks for all of them again. With mu held.
func (c *Client) gap(g *wireGap) {
	sub := c.subs[g.Channel]
	if sub == nil || sub.phase != phaseActive || g.To < g.From || g.From == 0 || sub.received.Epoch == "" {
		return
	}
	sub.begin(Position{g.Epoch, g.From - 1})
	c.missed(sub, g.From, g.To)
	sub.gapTo = max(sub.gapTo, g.To)
}

// reset handles the server's report that a channel has a new epoch, and that messages may
// be lost. With mu held.
func (c *Client) reset(r *wireStarted) {
	if sub := c.subs[r.Channel]; sub != nil && sub.phase == phaseActive {
		c.placed(sub, r.Position, false)
	}
}

// begin moves to the beginning of another history if at has another epoch: the old one
// was forgotten while the client was subscribed, and nothing was missed between the
// two. With mu held.
func (sub *Subscription) begin(at Position) {
	if at.Epoch != sub.received.Epoch {
		sub.received, sub.gapTo = at, 0
	}
}

// missed reports a gap to the handler. With mu held.
func (c *Client) missed(sub *Subscription, from, to uint64) {
	c.stats.Missed += to - from + 1
	c.put(sub.queue, item{sub: sub, event: &Event{Type: EventGap, Channel: sub.channel, From: from, To: to}})
}

// tell queues an event of a subscription. With mu held.
func (c *Client) tell(channel string, e *Event) {
	if sub := c.subs[channel]; sub != nil && sub.phase == phaseActive {
		e.Channel = channel
		c.put(sub.queue, item{sub: sub, event: e})
	}
}

// unsubscribed handles the end of a subscription by the server: one whose token has
// expired is asked for again, with a new token. With mu held.
func (c *Client) unsubscribed(s *session, u *wireEnded) {
	sub := c.subs[u.Channel]
	if sub == nil || sub.phase == phaseLeaving {
		return
	}
	err := &ServerError{Code: u.Code, Message: u.Message}
	if !sub.implicit && !sub.serverSide {
		c.refused(s, sub, err)
		return
	}
	c.put(sub.queue, item{sub: sub, event: &Event{Type: EventUnsubscribed, Channel: sub.channel, Err: err}})
	c.end(sub, err)
}
