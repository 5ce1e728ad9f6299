package engineio

import (
	"bytes"
	"net/url"
	"sync"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// A Conn is one client, wherever it is: its session may move from a mailbox to a
// WebSocket. What it is sent goes through a queue of its own, so that nothing is lost or
// overtaken by that.
type Conn struct {
	// App is the application's. Owned by the loop.
	App any

	// Immutable.
	shard *shard.Shard
	began netpoll.ID // the connection in which the client began

	mu sync.Mutex
	// Guarded by mu; id is written on the loop only.
	id    netpoll.ID
	queue *[]entry // nil while it is empty: most clients are idle
	// rung: the loop will look at the queue.
	rung, ended bool
}

// An entry is something to be done on the loop, in order.
type entry struct {
	text  []byte
	blobs [][]byte
	do    func(s *shard.Shard, id netpoll.ID)
}

// Send sends a text message, its packet type included, unless it is nil, and binary ones
// behind it, with nothing in between. It keeps them. Any goroutine. It returns false if the
// client is gone.
func (c *Conn) Send(text []byte, blobs ...[]byte) bool {
	return c.push(entry{text: text, blobs: blobs})
}

// Do calls f on the client's loop, in order with what is sent; not if the client is gone
// by then. Any goroutine.
func (c *Conn) Do(f func(s *shard.Shard, id netpoll.ID)) bool { return c.push(entry{do: f}) }

// Close ends the connection behind what was sent before. Any goroutine.
func (c *Conn) Close() bool {
	return c.Do(func(s *shard.Shard, id netpoll.ID) { s.Shut(id, frame.CloseNormal, "") })
}

func (c *Conn) push(e entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if c.queue == nil {
		c.queue = &[]entry{e}
	} else {
		*c.queue = append(*c.queue, e)
	}
	if !c.rung {
		c.rung = true
		return c.shard.Call(c.ring) == nil
	}
	return true
}

// ring empties the queue on the loop.
func (c *Conn) ring(s *shard.Shard) {
	if s != nil {
		c.flush(s, s.Push)
	}
}

// flush does what is in the queue.
func (c *Conn) flush(s *shard.Shard, send func(id netpoll.ID, text []byte, blobs [][]byte)) {
	defer func() {
		if value := recover(); value != nil { // in the application's code
			s.Shut(c.ID(), frame.CloseInternalError, "internal error")
			panic(value)
		}
	}()
	for {
		c.mu.Lock()
		queue, id := c.queue, c.id
		if c.queue = nil; queue == nil {
			c.rung = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, e := range *queue {
			if e.do != nil {
				e.do(s, id)
			} else {
				send(id, e.text, e.blobs)
			}
		}
	}
}

// on calls f, which is about the client, on the loop. What f sends it goes out at once.
func (e *Engine) on(s *shard.Shard, c *Conn, f func() bool) (ok bool) {
	c.mu.Lock()
	before := c.rung
	c.rung = true
	c.mu.Unlock()
	if ok = f(); ok || !before {
		c.flush(s, func(id netpoll.ID, text []byte, blobs [][]byte) {
			if text != nil {
				s.Reply(id, frame.OpText, text)
			}
			for _, blob := range blobs {
				s.Reply(id, frame.OpBinary, blob)
			}
		})
	}
	return ok
}

// moveTo follows the session to another connection, of the same loop.
func (c *Conn) moveTo(id netpoll.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id = id
}

// end drops what is in the queue.
func (c *Conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.queue = true, nil
}

// Began returns the connection in which the client began: what lists and callbacks know it
// by. Any goroutine.
func (c *Conn) Began() netpoll.ID { return c.began }

// Shard returns that of the client's loop. Any goroutine.
func (c *Conn) Shard() *shard.Shard { return c.shard }

// ID returns the connection's name, which changes when the client upgrades. Any goroutine.
func (c *Conn) ID() netpoll.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// Echo is an App that sends back what it gets: what the protocol's test suite expects.
type Echo struct{}

// Opened does nothing.
func (Echo) Opened(*Conn, url.Values, *protocol.UpgradeParts) {}

// Message sends p back.
func (Echo) Message(c *Conn, p []byte, binary bool) bool {
	if !binary {
		return c.Send(append([]byte{packetMessage}, p...))
	}
	return c.Send(nil, bytes.Clone(p))
}

// Closed does nothing.
func (Echo) Closed(*Conn, shard.Closed) {}
