package shard

import (
	"slices"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
)

// Messages for some of a channel's subscribers: hub.Except says for which. Each is a job of
// its own. Where a message is for a small group, the fan-out walks that group and not the
// whole channel.

// excepted reports whether the connection is among those that do not get a message.
func (c conn) excepted(e *hub.Except) bool {
	return c.isOneOf(e.Clients, e.Channels, e.Names) || e.Only != nil && !c.isOneOf(e.Only.Clients, e.Only.Channels, e.Only.Names)
}

func (c conn) isOneOf(clients []netpoll.ID, channels, names []string) bool {
	if len(clients) > 0 && (slices.Contains(clients, c.id) || slices.Contains(clients, c.s.Origin(c.id))) {
		return true
	}
	for _, channel := range channels {
		if ch := c.s.members.byName[channel]; ch != nil && c.s.members.of(c.subs, ch) != nil {
			return true
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return c.s.named(name) == c.id })
}

// named returns the connection of this shard that a protocol knows by a name, 0 for none.
func (s *Shard) named(name string) netpoll.ID {
	if f := s.cfg.Named; f != nil {
		return f(s, name)
	}
	return 0
}

// resolved returns e with the connections of this shard in the place of their names.
func (s *Shard) resolved(e *hub.Except) *hub.Except {
	if e == nil || len(e.Names) == 0 && (e.Only == nil || len(e.Only.Names) == 0) {
		return e
	}
	find := func(clients []netpoll.ID, names []string) []netpoll.ID {
		clients = slices.Clip(clients)
		for _, name := range names {
			if id := s.named(name); id != 0 {
				clients = append(clients, id)
			}
		}
		return clients
	}
	own := &hub.Except{Clients: find(e.Clients, e.Names), Channels: e.Channels}
	if only := e.Only; only != nil {
		own.Only = &hub.Group{Clients: find(only.Clients, only.Names), Channels: only.Channels}
	}
	return own
}

// lookAtAll is how many messages of a channel may be for small groups, one after the other:
// the next one is compared with all subscribers, so that the differences between what they
// have joined at and what is published never overflow.
const lookAtAll = 1 << 24

// choose begins a job that is for some subscribers. It notes which these are if they are few
// enough to be gathered.
func (s *Shard) choose(j *job) {
	j.except = s.resolved(j.except)
	if j.except == nil || j.except.Only == nil || j.channel == nil || j.first%lookAtAll == 0 {
		return
	}
	only := j.except.Only
	n := len(only.Clients)
	for _, name := range only.Channels {
		n += s.Subscribers(name)
	}
	if n > int(j.channel.subscribers.n)/2 {
		return
	}
	j.few, j.chosen = true, append(make([]netpoll.ID, 0, n), only.Clients...)
	for _, name := range only.Channels {
		if ch := s.members.byName[name]; ch != nil {
			for i := range ch.subscribers.n {
				j.chosen = append(j.chosen, s.in(ch.subscribers.at(i).slot).id)
			}
		}
	}
	if len(only.Channels)+len(only.Clients) > 1 {
		slices.Sort(j.chosen)
		j.chosen = slices.Compact(j.chosen)
	}
}

// fanOutFew is fanOutChannel for those that were chosen.
func (s *Shard) fanOutFew(j *job) (done bool) {
	for ; len(j.chosen) > 0; j.chosen = j.chosen[1:] {
		if s.jobs.budget == 0 {
			return false
		}
		c, ok := s.findOpen(j.chosen[0])
		if !ok {
			continue
		}
		sub := s.members.of(c.subs, j.channel)
		if sub == nil {
			continue
		}
		if start := j.startFor(&j.channel.subscribers.at(sub.pos).from); start < len(j.messages) {
			s.jobs.budget--
			c.serve(j, start)
		}
	}
	j.chosen = nil // the journal may keep the job
	return true
}
