package roster

import (
	"encoding/json"
	"maps"
	"slices"
)

// asking is what another node has to be asked. Guarded by Roster.mu.
type asking struct {
	due     map[string]bool // channels
	waiting bool            // for an answer
}

const (
	// askMaxChannels is how many channels a question has at most.
	askMaxChannels = 500
	// answerMaxMembers is how many members an answer has, or a few channels' more: beyond
	// it, the rest is asked for again.
	answerMaxMembers = 5000
)

// ask asks a node for its members in a channel, in one question with what else is due when
// the answer to the last one has come. With mu held.
func (r *Roster) ask(node, name string) {
	a := r.live[node]
	if a == nil || r.closed {
		return
	}
	a.due[name] = true
	r.askNext(node, a)
}

// askNext asks the next question. With mu held.
func (r *Roster) askNext(node string, a *asking) {
	if a.waiting || len(a.due) == 0 {
		return
	}
	var q question
	names := slices.Sorted(maps.Keys(a.due))
	for _, name := range names[:min(len(names), askMaxChannels)] {
		delete(a.due, name)
		if ch := r.channels[name]; ch != nil {
			q.Channels = append(q.Channels, name)
			p := ch.part(node)
			version := p.version
			if p.unknown {
				version = 0
			}
			q.Versions = append(q.Versions, version)
		}
	}
	if len(q.Channels) == 0 {
		r.askNext(node, a) // these have been forgotten
		return
	}
	a.waiting = true
	r.cfg.Ask(node, encode(q), func(b []byte, ok bool) { r.answered(node, a, &q, b, ok) })
}

// askAll goes on asking what has failed. With mu held.
func (r *Roster) askAll() {
	for _, node := range slices.Sorted(maps.Keys(r.live)) {
		r.askNext(node, r.live[node])
	}
}

// answered takes an answer.
func (r *Roster) answered(node string, asked *asking, q *question, b []byte, ok bool) {
	var a answer
	ok = ok && json.Unmarshal(b, &a) == nil && len(a.Lists) > 0
	r.mu.Lock()
	defer r.mu.Unlock()
	asked.waiting = false
	if r.live[node] != asked {
		return // it has gone meanwhile
	}
	if !ok {
		for _, name := range q.Channels {
			asked.due[name] = true
		}
		r.retry()
		return
	}
	for i, name := range q.Channels {
		switch ch := r.channels[name]; {
		case ch == nil:
		case i >= len(a.Lists) || !r.list(name, ch.part(node), a.Version, a.Lists[i]):
			asked.due[name] = true
		}
	}
	r.askNext(node, asked)
}

// list takes a list, and reports whether it is as new as what is known by other ways.
func (r *Roster) list(name string, p *part, version uint64, l *list) bool {
	var members []member
	if l != nil {
		version, members = l.Version, l.Members
	}
	switch {
	case version < p.version:
		return false
	case l != nil && l.Same && (version != p.version || p.unknown):
		return false
	case l != nil && l.Same:
		r.resolve(name, p)
		if p.retell {
			p.retell = false
			r.tellAll(name, p.users, nil, false)
		}
	default:
		r.replace(name, p, version, members)
		p.unsent = l != nil && l.Unsent
	}
	return len(p.seen) == 0 // else the list is older than what subscribers have seen
}
