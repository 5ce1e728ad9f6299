package hub

import (
	"errors"

	"github.com/roostws/roost/server/broker"
)

// The hub as a client of its broker: it starts it, and hands publications to it. What the
// broker hands back is in mirror.go.

const (
	// publishingMaxBytes bounds what the broker has not answered yet: a broker that is
	// slower than the publishers must not cost memory without end. It is as much as an
	// inbox may hold by default. publishingBytes is what a publication takes beside its
	// payload: itself, its command and its callback, rounded up.
	publishingMaxBytes = 64 << 20
	publishingBytes    = 512
)

// Remote reports whether a broker orders the messages. Any goroutine.
func (h *Hub) Remote() bool { return h.broker != nil }

// StartBroker starts the hub's broker, if it has one, and attaches what was wanted before.
// It is called once.
func (h *Hub) StartBroker() error {
	if h.broker == nil {
		return nil
	}
	if err := h.broker.Start(inbound{h}); err != nil {
		return err
	}
	h.started.Store(true)
	h.concern("", 1) // the channel of everybody
	for i := range h.stripes {
		st := &h.stripes[i]
		st.mu.Lock()
		for channel, m := range st.mirrors {
			h.attach(channel, m)
		}
		st.mu.Unlock()
	}
	return nil
}

// Keep is what the broker is to keep of a channel.
func (h *Hub) Keep(channel string) broker.Keep {
	if ns := h.Namespace(channel); ns != nil {
		return broker.Keep{Messages: ns.Messages, Age: ns.Age}
	}
	return broker.Keep{}
}

// Publish hands a publication to the broker, without waiting for the result, which done
// gets on another goroutine. tally, if it is not nil, gets the counts of all nodes that have
// attached the channel; if that is broker.NodesUnknown, the caller calls Expect. Forgo has to be
// called when the counts are not waited for any more. The error is ErrBusy, at once, while
// the broker has too much to answer. Any goroutine.
func (h *Hub) Publish(p *broker.Publication, tally *Tally, done func(broker.Placed, error)) {
	if !h.started.Load() {
		done(broker.Placed{}, broker.ErrUnavailable)
		return
	}
	if h.full() {
		done(broker.Placed{}, ErrBusy)
		return
	}
	size := int64(len(p.Payload) + publishingBytes)
	if h.publishing.Add(size) > publishingMaxBytes+size {
		h.publishing.Add(-size)
		h.refused.Add(1)
		done(broker.Placed{}, ErrBusy)
		return
	}
	if tally != nil {
		tally.await()
		p.Tag = uint64(h.cfg.Node)<<32 | uint64(uint32(h.tags.Add(1)))
		h.tallies.Store(p.Tag, awaited{tally, p.Channel})
	}
	h.broker.Publish(p, func(placed broker.Placed, err error) {
		h.publishing.Add(-size)
		if err != nil && !errors.Is(err, broker.ErrKeyReused) { // which is the publisher's
			h.kept.publishErrors.Add(1)
		}
		alone := p.Type != broker.TypeNotice && errors.Is(err, broker.ErrUnavailable) && h.goesOnAlone(p.Channel)
		if alone {
			placed, err = broker.Placed{Nodes: broker.NodesUnknown}, h.deliverAlone(&p.Message)
		}
		if tally != nil {
			others, here := placed.Nodes, alone || h.Receives(p.Channel)
			if err != nil || placed.Duplicate || !here {
				h.endTally(p.Tag)
			} else {
				others--
			}
			if placed.Nodes != broker.NodesUnknown {
				tally.Expect(max(others, 0))
			}
		}
		done(placed, err)
	})
}

// goesOnAlone reports whether this node delivers what is published to a channel itself.
func (h *Hub) goesOnAlone(channel string) bool {
	return h.cfg.Local != nil && channel != "" && h.cfg.Local(channel) && h.broker.Health().Publishing != nil
}

// deliverAlone delivers a message to this node's connections, behind the broker's back.
func (h *Hub) deliverAlone(bm *broker.Message) error {
	if h.full() {
		return ErrBusy
	}
	st, _ := h.stripe(bm.Channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	h.pass(bm)
	return nil
}

// Forgo ends the wait for the counts of a publication. Any goroutine.
func (h *Hub) Forgo(p *broker.Publication) { h.tallies.Delete(p.Tag) }

// awaited is a tally that is waited for, of a publication to a channel.
type awaited struct {
	*Tally
	channel string
}

// takeTally returns the tally of one of this node's publications, once, or one whose counts
// go to the node that has published.
func (h *Hub) takeTally(tag uint64) *Tally {
	switch {
	case tag == 0:
		return nil
	case uint32(tag>>32) != h.cfg.Node:
		if h.cfg.Cluster == nil {
			return nil
		}
		return &Tally{tag: tag, counted: h.cfg.Cluster.Counted}
	}
	if t, ok := h.tallies.Load(tag); ok && t.(awaited).taken.CompareAndSwap(false, true) {
		return t.(awaited).Tally
	}
	return nil
}

// endTally ends this node's count of a message that does not arrive by Deliver.
func (h *Hub) endTally(tag uint64) {
	if uint32(tag>>32) == h.cfg.Node {
		if t := h.takeTally(tag); t != nil {
			t.begin(0)
		}
	}
}

// Count adds what another node has counted for one of this node's publications. Any
// goroutine.
func (h *Hub) Count(tag uint64, matched, written int) {
	if t, ok := h.tallies.Load(tag); ok {
		t.(awaited).Add(matched, written)
	}
}

// Notice hands what this node has to tell about a channel to all nodes that have attached it.
// done is called as in Publish. It keeps b. Any goroutine.
func (h *Hub) Notice(channel string, b []byte, done func(error)) {
	p := &broker.Publication{Message: broker.Message{Channel: channel, Type: broker.TypeNotice, Payload: b}}
	h.Publish(p, nil, func(_ broker.Placed, err error) { done(err) })
}

// Receives reports whether messages of a channel arrive at this node. Any goroutine.
func (h *Hub) Receives(channel string) bool {
	st, _ := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	m := st.mirrors[channel]
	return m != nil && m.attached
}
