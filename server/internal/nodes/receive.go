package nodes

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/broker"
)

// Broker returns the broker for the rest of this server, which starts and closes it: it
// hands over everything but what nodes say to each other. It returns nil if there is none.
func (n *Nodes) Broker() broker.Broker {
	if n.broker == nil {
		return nil
	}
	return shared{n.broker, n}
}

// shared is a broker that this server and its Nodes share.
type shared struct {
	broker.Broker
	nodes *Nodes
}

func (s shared) Start(in broker.Inbound) error {
	n := s.nodes
	if err := s.Broker.Start(inbound{in, n}); err != nil {
		return err
	}
	s.Attach(everyone)
	s.Attach(nodeChannel(n.id))
	n.ending.Add(2)
	go n.beat()
	go n.dispatch()
	return nil
}

func (s shared) Close() error {
	s.nodes.close()
	return s.Broker.Close()
}

// close says goodbye and ends what Start began. Questions that wait are given up.
func (n *Nodes) close() {
	n.mu.Lock()
	again := n.closed
	n.closed = true
	n.mu.Unlock()
	if again {
		return
	}
	n.endAsks()
	n.sending.Lock()
	close(n.done) // nothing is sent any more, but this
	said := make(chan struct{})
	p := &broker.Publication{Message: broker.Message{Channel: everyone, Type: frame.OpBinary, Payload: split(header{From: n.id, Op: opBye}, nil)[0]}}
	n.broker.Publish(p, func(broker.Placed, error) { close(said) })
	n.sending.Unlock()
	limit := time.NewTimer(byeWait)
	defer limit.Stop()
	select {
	case <-said:
	case <-limit.C: // the lease ends it
	}
	n.queue.close()
	n.ending.Wait()
	n.work.Close()
}

// inbound parts what nodes say to each other from everything else.
type inbound struct {
	rest broker.Inbound
	n    *Nodes
}

func (in inbound) Deliver(m *broker.Message) {
	if strings.HasPrefix(m.Channel, prefix) {
		in.n.receive(m)
	} else {
		in.rest.Deliver(m)
	}
}

func (in inbound) Attached(channel string) {
	if strings.HasPrefix(channel, prefix) {
		in.n.attachedTo()
	} else {
		in.rest.Attached(channel)
	}
}

func (in inbound) Interrupted(affected func(channel string) bool, why error) {
	if affected == nil || affected(nodeChannel(in.n.id)) {
		in.n.endAsks() // answers may be lost
	}
	in.rest.Interrupted(affected, why)
}

// attachedTo counts until this node hears everything, and introduces it to the others then.
func (n *Nodes) attachedTo() {
	n.mu.Lock()
	n.attached++
	first := n.attached == 2
	n.mu.Unlock()
	if first {
		n.here(everyone)
	}
}

// receive takes a message. It does not wait for handlers.
func (n *Nodes) receive(m *broker.Message) {
	h, part, err := parse(m.Payload)
	if err != nil {
		n.counts.dropped.Add(1)
		return
	}
	toAll := m.Channel == everyone
	n.mu.Lock()
	if h.From == n.id {
		if h.Op == opHere && toAll {
			n.heardSelf()
		}
		n.mu.Unlock()
		return
	}
	introduce, refuse := n.take(&h, part, toAll)
	n.mu.Unlock()
	if introduce {
		n.here(nodeChannel(h.From))
	}
	if refuse {
		n.refuse(h.From, h.Question)
	}
}

// take takes a message of another node, with mu held. It returns whether that has to be
// told who this is, and whether its question is refused.
func (n *Nodes) take(h *header, part []byte, toAll bool) (introduce, refuse bool) {
	n.counts.received.Add(1)
	if h.Op == opBye {
		n.left[h.From] = time.Now()
		n.drop(h.From)
		return false, false
	}
	p, unknown := n.peerOf(h.From)
	if p == nil {
		return false, false
	}
	parts := &p.parts[0]
	if !toAll {
		parts = &p.parts[1]
	}
	body, complete, lost := parts.add(h, part)
	if lost {
		n.counts.dropped.Add(1)
	}
	if complete && h.Op == opHere {
		n.describe(p, body)
	}
	if unknown {
		n.queue.put(event{peer: p, info: p.info, up: true, change: true})
	}
	if complete {
		switch h.Op {
		case opTell, opAsk:
			if !n.queue.put(event{peer: p, header: *h, body: body}) {
				n.counts.dropped.Add(1)
				refuse = h.Op == opAsk
			}
		case opAnswer, opRefuse:
			if a := n.asks[h.Question]; a != nil {
				a.take(h.From, body, h.Op == opAnswer)
			}
		}
	}
	// Who says here to this node alone knows it.
	return unknown && (toAll || h.Op != opHere), refuse
}

// describe takes what a node says of itself. With mu held.
func (n *Nodes) describe(p *peer, body []byte) {
	var i Info
	if err := json.Unmarshal(body, &i); err != nil {
		n.counts.dropped.Add(1)
		return
	}
	i.ID = p.info.ID
	p.info = i
}

func (n *Nodes) refuse(to string, question uint64) {
	n.send(nodeChannel(to), header{Op: opRefuse, Question: question}, nil, func(bool) {})
}

// An event is what the dispatching goroutine has to do: to tell of a change, or to handle
// what was told or asked.
type event struct {
	peer       *peer
	change, up bool
	info       Info
	header     header
	body       []byte
}

// dispatch calls the handlers.
func (n *Nodes) dispatch() {
	defer n.ending.Done()
	for events := n.queue.take(); events != nil; events = n.queue.take() {
		for _, e := range events {
			n.handle(&e)
			n.queue.handled(&e)
		}
	}
}

func (n *Nodes) handle(e *event) {
	if e.change {
		for _, f := range n.onChange {
			f(e.info, e.up)
		}
		return
	}
	n.mu.Lock()
	skip := e.peer.gone || n.closed
	n.mu.Unlock()
	handler := n.handlers[e.header.Kind]
	switch {
	case skip:
	case e.header.Op == opTell && handler != nil:
		handler(e.header.From, e.body)
	case e.header.Op == opTell: // of another release
	case handler == nil || !n.work.Do(func() { n.reply(&e.header, handler, e.body) }):
		n.refuse(e.header.From, e.header.Question)
	}
}

// reply answers a question.
func (n *Nodes) reply(h *header, handler Handler, question []byte) {
	body := handler(h.From, question)
	if len(body) > BodyMaxBytes {
		n.counts.dropped.Add(1)
		n.refuse(h.From, h.Question)
		return
	}
	n.send(nodeChannel(h.From), header{Op: opAnswer, Question: h.Question}, body, func(bool) {})
}

// A queue holds what is to be dispatched.
type queue struct {
	mu   sync.Mutex
	wake sync.Cond
	// Guarded by mu.
	events []event
	bytes  int
	closed bool
}

// put adds an event, unless there is no room for what it tells.
func (q *queue) put(e event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if size := len(e.body) + messageBytes; !e.change {
		if q.bytes+size > queueMaxBytes {
			return false
		}
		q.bytes += size
	}
	q.events = append(q.events, e)
	q.wake.Signal()
	return true
}

// take waits for events and returns them, nil after close.
func (q *queue) take() []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.events) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return nil
	}
	events := q.events
	q.events = nil
	return events
}

// handled makes room.
func (q *queue) handled(e *event) {
	if !e.change {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.bytes -= len(e.body) + messageBytes
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Signal()
}
