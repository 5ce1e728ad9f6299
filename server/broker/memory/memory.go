// Package memory is a broker within one process: for several servers in one program, and
// for tests, which can interrupt it and let it lose its memory. A single server needs
// none: without a broker it orders its messages itself.
package memory

import (
	"crypto/rand"
	"encoding/base32"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// A Hub is what the nodes have in common. All methods may be called by any goroutine.
type Hub struct {
	mu sync.Mutex
	// Guarded by mu.
	nodes    map[*node]bool
	channels map[string]*channel
	keys     map[string]repetition
	keysMax  int    // from so many on, those that are over are looked for
	life     string // the random part of epochs
	epochs   int    // given out
	down     bool
}

// A channel is what is kept of one.
type channel struct {
	at       history.Position
	messages []*broker.Message
}

// A repetition is what is known of an idempotency key.
type repetition struct {
	placed broker.Placed
	digest uint64
	until  time.Time
}

// New makes a Hub without nodes.
func New() *Hub {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	return &Hub{
		nodes: map[*node]bool{}, channels: map[string]*channel{}, keys: map[string]repetition{},
		life: strings.ToLower(base32.StdEncoding.EncodeToString(random[:])),
	}
}

// Node returns the broker of one more server.
func (h *Hub) Node() broker.Broker {
	n := &node{hub: h, attached: map[string]bool{}, donec: make(chan struct{})}
	n.wake.L = &n.mu
	return n
}

// Interrupt takes the broker away: publications and reads fail, and nothing is handed
// over.
func (h *Hub) Interrupt() { h.set(true) }

// Restore brings it back, with all that it had.
func (h *Hub) Restore() { h.set(false) }

func (h *Hub) set(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down == down {
		return
	}
	h.down = down
	for n := range h.nodes {
		if down {
			n.interrupt()
		} else {
			n.attachAll()
		}
	}
}

// Cut interrupts what the nodes receive for a moment: what is on its way is lost to them.
func (h *Hub) Cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := range h.nodes {
		n.interrupt()
		if !h.down {
			n.attachAll()
		}
	}
}

// Forget loses everything that was kept, as a process does that starts again.
func (h *Hub) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.channels)
	clear(h.keys)
}

// channel returns one, made if need be. With mu held.
func (h *Hub) channel(name string) *channel {
	c := h.channels[name]
	if c == nil {
		h.epochs++
		c = &channel{at: history.Position{Epoch: h.life + "-" + strconv.Itoa(h.epochs)}}
		h.channels[name] = c
	}
	return c
}

// trim drops what is not to be kept any more.
func (c *channel) trim(keep broker.Keep) {
	oldest := time.Now().Add(-keep.Age).UnixMilli()
	for len(c.messages) > keep.Messages || len(c.messages) > 0 && c.messages[0].Time < oldest {
		c.messages = c.messages[1:]
	}
}

// publish is a node's Publish.
func (h *Hub) publish(p *broker.Publication) (placed broker.Placed, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return placed, broker.ErrUnavailable
	}
	key := p.Channel + "\x00" + p.IdempotencyKey
	if known, ok := h.keys[key]; ok && p.IdempotencyKey != "" && time.Now().Before(known.until) {
		if known.digest != p.Digest {
			return placed, broker.ErrKeyReused
		}
		known.placed.Duplicate = true
		return known.placed, nil
	}
	m := p.Message
	if p.Keep.Messages > 0 {
		c := h.channel(p.Channel)
		c.at.Offset++
		m.Position, m.Time = c.at, time.Now().UnixMilli()
		c.messages = append(c.messages, &m)
		c.trim(p.Keep)
		placed.Position = c.at
	}
	for n := range h.nodes {
		if n.attached[p.Channel] {
			placed.Nodes++
			own := m
			n.put(event{message: &own})
		}
	}
	if p.IdempotencyKey != "" {
		h.dropKeys()
		h.keys[key] = repetition{placed, p.Digest, time.Now().Add(p.IdempotencyAge)}
	}
	return placed, nil
}

// dropKeys drops the keys that are over, when there are many. With mu held.
func (h *Hub) dropKeys() {
	if len(h.keys) < h.keysMax {
		return
	}
	now := time.Now()
	maps.DeleteFunc(h.keys, func(_ string, r repetition) bool { return now.After(r.until) })
	h.keysMax = max(2*len(h.keys), 1000)
}

// pageMax is how many messages a page has: few, so that nodes have to read on.
const pageMax = 100

// read is a node's Read.
func (h *Hub) read(name string, keep broker.Keep, since *history.Position) (broker.Page, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return broker.Page{}, broker.ErrUnavailable
	}
	c := h.channel(name)
	c.trim(keep)
	page := broker.Page{Position: c.at}
	for _, m := range c.messages {
		if len(page.Messages) < pageMax && (since == nil || since.Epoch != c.at.Epoch || m.Position.Offset > since.Offset) {
			own := *m
			page.Messages = append(page.Messages, &own)
		}
	}
	return page, nil
}

// A node is the broker of one server.
type node struct {
	hub      *Hub
	in       broker.Inbound
	attached map[string]bool // guarded by hub.mu
	donec    chan struct{}   // closed when run has ended

	mu   sync.Mutex
	wake sync.Cond
	// Guarded by mu, which may be taken with hub.mu held.
	events []event
	closed bool
	err    error // why nothing is received
	since  time.Time
}

// An event is a call of run: of done, if it is set, else of the node's Inbound.
type event struct {
	done     func()
	message  *broker.Message
	attached *string
}

// Start joins the hub.
func (n *node) Start(in broker.Inbound) error {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.in, n.since = in, time.Now()
	n.hub.nodes[n] = true
	if n.hub.down {
		n.err = broker.ErrUnavailable
	}
	go n.run()
	return nil
}

// run makes the calls, in order.
func (n *node) run() {
	defer close(n.donec)
	for {
		n.mu.Lock()
		for len(n.events) == 0 && !n.closed {
			n.wake.Wait()
		}
		events, closed := n.events, n.closed
		n.events = nil
		n.mu.Unlock()
		if closed && len(events) == 0 {
			return
		}
		for _, e := range events {
			switch {
			case e.done != nil:
				e.done()
			case closed:
			case e.message != nil:
				n.in.Deliver(e.message)
			case e.attached != nil:
				n.in.Attached(*e.attached)
			default:
				n.in.Interrupted(nil, broker.ErrUnavailable)
			}
		}
	}
}

// put adds an event.
func (n *node) put(e event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
	n.wake.Signal()
}

// interrupt loses what the node has not got yet. With hub.mu held.
func (n *node) interrupt() {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := n.events[:0]
	for _, e := range n.events {
		if e.done != nil {
			kept = append(kept, e)
		}
	}
	n.events = append(kept, event{})
	n.err, n.since = broker.ErrUnavailable, time.Now()
	n.wake.Signal()
}

// attachAll is what follows an interruption. With hub.mu held.
func (n *node) attachAll() {
	for channel := range n.attached {
		n.put(event{attached: &channel})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err, n.since = nil, time.Now()
}

// Publish publishes at once; done is called later.
func (n *node) Publish(p *broker.Publication, done func(broker.Placed, error)) {
	placed, err := n.hub.publish(p)
	n.put(event{done: func() { done(placed, err) }})
}

// Attach attaches at once; Inbound is told later.
func (n *node) Attach(channel string) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.attached[channel] = true
	if !n.hub.down {
		n.put(event{attached: &channel})
	}
}

// Detach undoes Attach. What waits for the node still comes.
func (n *node) Detach(channel string) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	delete(n.attached, channel)
}

// Read reads at once; done is called later.
func (n *node) Read(channel string, keep broker.Keep, since *history.Position, done func(broker.Page, error)) {
	page, err := n.hub.read(channel, keep, since)
	n.put(event{done: func() { done(page, err) }})
}

// Health returns whether the hub is interrupted.
func (n *node) Health() broker.Health {
	n.mu.Lock()
	defer n.mu.Unlock()
	return broker.Health{Publishing: n.err, Receiving: n.err, Since: n.since}
}

// Close leaves the hub.
func (n *node) Close() error {
	n.hub.mu.Lock()
	delete(n.hub.nodes, n)
	n.hub.mu.Unlock()
	n.mu.Lock()
	n.closed = true
	n.wake.Signal()
	n.mu.Unlock()
	<-n.donec
	return nil
}
