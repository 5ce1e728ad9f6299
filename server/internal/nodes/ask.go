package nodes

import (
	"context"
	"maps"
	"slices"
)

// An ask is a question that waits for answers. Guarded by Nodes.mu.
type ask struct {
	all     bool // asked of all
	waiting map[string]bool
	refused []string // those that will not answer, or are silent
	answers map[string][]byte
	done    chan struct{} // closed when nothing more is to come
	ended   bool
}

// Ask sends a question to nodes, or to all others if to is nil, and returns their answers by
// the nodes' IDs, and the IDs of those that have not answered: until ctx or AskTimeout is
// over, or because they, or the broker, went away meanwhile, or do not know the kind. One that
// was silent for SilentMax is not waited for. This node is not asked. question must not be
// changed any more.
func (n *Nodes) Ask(ctx context.Context, to []string, kind Kind, question []byte) (answers map[string][]byte, missing []string) {
	if n.broker == nil {
		return nil, slices.DeleteFunc(slices.Clone(to), func(id string) bool { return id == n.id })
	}
	a := &ask{all: to == nil, waiting: map[string]bool{}, answers: map[string][]byte{}, done: make(chan struct{})}
	n.mu.Lock()
	if a.all {
		to = slices.Collect(maps.Keys(n.peers))
	}
	for _, id := range to {
		if p := n.peers[id]; p != nil && n.heardNow()-p.heard <= SilentMax {
			a.waiting[id] = true
		} else if id != n.id {
			a.refused = append(a.refused, id)
		}
	}
	asked := slices.Sorted(maps.Keys(a.waiting))
	if len(asked) == 0 || n.closed {
		n.mu.Unlock()
		return nil, slices.Sorted(slices.Values(append(a.refused, asked...)))
	}
	n.questions++
	number := n.questions
	n.asks[number] = a
	n.mu.Unlock()
	n.counts.asked.Add(1)

	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	h := header{Op: opAsk, Kind: kind, Question: number}
	if a.all {
		n.send(everyone, h, question, func(ok bool) {
			if !ok {
				n.endAsk(number)
			}
		})
	} else {
		for _, id := range asked {
			n.send(nodeChannel(id), h, question, func(ok bool) {
				if !ok {
					n.answered(number, id, nil, false)
				}
			})
		}
	}
	select {
	case <-a.done:
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.asks, number)
	missing = slices.Sorted(slices.Values(slices.AppendSeq(a.refused, maps.Keys(a.waiting))))
	if len(missing) > 0 {
		n.counts.undecided.Add(1)
	}
	return a.answers, missing
}

// answered notes an answer to a question, or that there will be none.
func (n *Nodes) answered(number uint64, from string, body []byte, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.asks[number]; a != nil {
		a.take(from, body, ok)
	}
}

// take is answered, with the lock held.
func (a *ask) take(from string, body []byte, ok bool) {
	switch {
	case a.ended || !a.waiting[from] && !(ok && a.all): // one that this node did not know yet may answer, too
		return
	case ok:
		a.answers[from] = body
		a.refused = slices.DeleteFunc(a.refused, func(id string) bool { return id == from }) // it was silent
	default:
		a.refused = append(a.refused, from)
	}
	delete(a.waiting, from)
	if len(a.waiting) == 0 {
		a.end()
	}
}

// end ends the wait: what is not here is missing. With the lock held.
func (a *ask) end() {
	if !a.ended {
		a.ended = true
		close(a.done)
	}
}

// endAsk ends one question, and endAsks all: answers may have been lost.
func (n *Nodes) endAsk(number uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.asks[number]; a != nil {
		a.end()
	}
}

func (n *Nodes) endAsks() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.asks {
		a.end()
	}
}
