package client

import (
	"time"
)

// A queue holds what waits for one handler, in order. While it is not empty, a goroutine
// calls the handler; an empty queue has no goroutine. All fields are guarded by Client.mu.
type queue struct {
	items   []item
	running bool          // a goroutine takes from it
	pulled  bool          // an iterator takes from it, not a goroutine
	ended   bool          // nothing is put in any more
	wakec   chan struct{} // of one, where pulled: there is something, or it has ended
}

// An item is one call of a handler. One of message and event is set.
type item struct {
	sub     *Subscription
	message *Message
	event   *Event
	// position is the subscription's when the handler has returned.
	position Position
	bytes    int
}

// itemBytes is counted for each item beside its data: roughly the size of its
// structures.
const itemBytes = 256

// put appends an item, and starts a goroutine for it if there is none. With mu held.
func (c *Client) put(q *queue, it item) {
	if c.closed || q.ended {
		return
	}
	if it.message != nil && it.sub.implicit && c.cfg.OnMessage == nil {
		c.stats.Unhandled++
		it.sub.handled = it.sub.received
		return
	}
	it.position = it.sub.received
	it.bytes = itemBytes
	if it.message != nil {
		it.bytes += len(it.message.Data)
	}
	c.buffered += it.bytes
	q.items = append(q.items, it)
	c.start(q)
}

// start starts the queue's goroutine, or wakes its iterator. With mu held.
func (c *Client) start(q *queue) {
	switch {
	case q.pulled:
		select {
		case q.wakec <- struct{}{}:
		default:
		}
	case !q.running && !c.closed:
		q.running = true
		c.active.Add(1)
		go func() {
			defer c.active.Done()
			c.drain(q)
		}()
	}
}

// drain calls the handler until the queue is empty.
func (c *Client) drain(q *queue) {
	for {
		it, ok := c.next(q)
		if !ok {
			return
		}
		it.deliver()
		c.delivered(it)
	}
}

// next takes the first item. If there is none, the goroutine has to end.
func (c *Client) next(q *queue) (it item, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(q.items) == 0 {
		q.running = false
		q.items = nil
		return item{}, false
	}
	it = q.items[0]
	q.items[0] = item{}
	q.items = q.items[1:]
	return it, true
}

// deliver calls the handler.
func (it item) deliver() {
	sub, cfg := it.sub, &it.sub.client.cfg
	switch {
	case it.message != nil && sub.implicit:
		cfg.OnMessage(sub.ctx, it.message)
	case it.message != nil:
		sub.handler(sub.ctx, it.message)
	case sub.implicit && cfg.OnEvent != nil:
		cfg.OnEvent(it.event)
	case !sub.implicit && sub.options.OnEvent != nil:
		sub.options.OnEvent(it.event)
	}
}

// delivered notes that a handler has returned: only then its message counts as processed.
func (c *Client) delivered(it item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.sub.handled = it.position
	c.release(it.bytes)
	if q := it.sub.queue; q.ended && len(q.items) == 0 {
		it.sub.cancel()
	}
}

// discard drops all items of a queue and ends it. With mu held.
func (c *Client) discard(q *queue) {
	for _, it := range q.items {
		c.release(it.bytes)
	}
	q.items, q.ended = nil, true
	if q.pulled {
		c.start(q)
	}
}

// release subtracts bytes from those that wait for handlers. With mu held.
func (c *Client) release(bytes int) {
	before := c.buffered
	c.buffered -= bytes
	if before > c.cfg.BufferBytes && c.buffered <= c.cfg.BufferBytes {
		c.nudge()
	}
}

// nudge wakes the reader to check whether there is room.
func (c *Client) nudge() {
	select {
	case c.roomc <- struct{}{}:
	default:
	}
}

// room blocks the reader while too much waits for handlers. It does not block while a
// command waits for its reply, since a handler may wait for that, and the reply is behind
// the bytes that would not be read. Beyond a second bound it returns ErrSlowHandler: the
// connection is cut, and the messages are asked for again later, by position.
func (c *Client) room(s *session) error {
	var timer *time.Timer
	for {
		c.mu.Lock()
		buffered := c.buffered
		c.mu.Unlock()
		switch {
		case buffered <= c.cfg.BufferBytes:
			return nil
		case buffered > 4*c.cfg.BufferBytes+int(c.cfg.MaxMessageBytes):
			return ErrSlowHandler
		case s.waiting():
			return nil
		}
		if timer == nil {
			timer = time.NewTimer(s.interval())
			defer timer.Stop()
		}
		select {
		case <-c.roomc:
		case <-s.done:
			return nil // the next read returns the error
		case <-timer.C:
			s.live()
			timer.Reset(s.interval())
		}
	}
}

// drained waits until the handlers have caught up; it returns false if the client is
// closed before.
func (c *Client) drained() bool {
	for {
		c.mu.Lock()
		buffered, closed := c.buffered, c.closed
		c.mu.Unlock()
		if closed {
			return false
		}
		if buffered <= c.cfg.BufferBytes {
			return true
		}
		select {
		case <-c.roomc:
		case <-c.ctx.Done():
			return false
		}
	}
}
