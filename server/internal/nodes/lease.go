package nodes

import (
	"encoding/json"
	"math/rand/v2"
	"time"
)

const (
	// echoMax is how much the time in which this node hears itself grows between two
	// beats of its own that arrive: what is beyond was an outage, or a process that stood
	// still, and counts against nobody.
	echoMax = Beat + time.Second
	// leftFor is how long what a node says after its goodbye is not taken for a sign of
	// life: it may be on its way in another channel. The ID never comes again.
	leftFor = time.Minute
)

// A peer is another node. Guarded by Nodes.mu.
type peer struct {
	info  Info
	heard time.Duration // at Nodes.heard
	// In channels, of all and of this node.
	parts [2]whole
	// gone is set when it has gone: nothing that it told is handled any more.
	gone bool
}

// beat says every Beat that this node is there, until Close.
func (n *Nodes) beat() {
	defer n.ending.Done()
	// Nodes that start together, or see the broker come back together, spread out.
	next := time.NewTimer(time.Duration(rand.Int64N(int64(Beat))))
	defer next.Stop()
	for {
		select {
		case <-n.done:
			return
		case <-next.C:
			n.here(everyone)
			next.Reset(Beat)
		}
	}
}

// here says that this node is there.
func (n *Nodes) here(channel string) {
	body, err := json.Marshal(n.self())
	if err != nil {
		panic(err) // an Info has JSON
	}
	n.send(channel, header{Op: opHere}, body, func(bool) {})
}

// heardNow is how long this node has heard itself, up to now. With mu held.
func (n *Nodes) heardNow() time.Duration {
	if n.echo.IsZero() {
		return n.heard
	}
	return n.heard + min(time.Since(n.echo), echoMax)
}

// heardSelf takes one of this node's own beats: others that were silent for longer than
// Lease, while this one was heard, have gone. With mu held.
func (n *Nodes) heardSelf() {
	n.heard = n.heardNow()
	n.echo = time.Now()
	for id, p := range n.peers {
		if n.heard-p.heard > Lease {
			n.drop(id)
		}
	}
	for id, at := range n.left {
		if time.Since(at) > leftFor {
			delete(n.left, id)
		}
	}
}

// peerOf returns another node from which something has come, a new one if need be: then
// unknown is true, and the caller introduces this node to it. With mu held. It returns nil
// for one that has said goodbye.
func (n *Nodes) peerOf(id string) (p *peer, unknown bool) {
	if _, left := n.left[id]; left {
		return nil, false
	}
	if p = n.peers[id]; p == nil {
		p, unknown = &peer{info: Info{ID: id}}, true
		n.peers[id] = p
	}
	p.heard = n.heardNow()
	return p, unknown
}

// drop forgets a node: what it was asked is missing. With mu held.
func (n *Nodes) drop(id string) {
	p := n.peers[id]
	if p == nil {
		return
	}
	delete(n.peers, id)
	p.gone = true
	for _, a := range n.asks {
		a.take(id, nil, false)
	}
	n.queue.put(event{peer: p, info: p.info, change: true})
}
