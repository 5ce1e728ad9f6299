package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// Questions about connections and channels. All of them on the loop only. Members,
// UserMembers and All leave out connections that are closing, or are to be closed when
// they have what was published before.

// stays reports whether the connection is open and is not to be closed.
func (c conn) stays() bool { return c.state == stateOpen && c.flags&flagLeaving == 0 }

// Ends reports whether a connection is about to end, and why: as closed by the application, if
// that is not settled yet. Loop only.
func (s *Shard) Ends(id netpoll.ID) (why Closed, ends bool) {
	c, ok := s.find(id)
	if !ok || c.stays() {
		return Closed{}, false
	}
	if x := c.ext(); x != nil && x.decided {
		return x.verdict, true
	}
	return Closed{Code: frame.CloseNormal}, true
}

// Stays reports whether a connection is open and is not to be closed.
func (s *Shard) Stays(id netpoll.ID) bool {
	c, ok := s.find(id)
	return ok && c.stays()
}

// Channels calls f with each channel that a connection is in, until f returns
// false. f must not subscribe or unsubscribe it.
func (s *Shard) Channels(id netpoll.ID, f func(channel string) bool) {
	c, ok := s.find(id)
	if !ok {
		return
	}
	for i := c.subs; i != 0; i = s.members.sub(i).next {
		if !f(s.members.channels[s.members.sub(i).channel].name) {
			return
		}
	}
}

// Subscribed reports whether a connection is in a channel.
func (s *Shard) Subscribed(id netpoll.ID, channel string) (found bool) {
	s.Channels(id, func(name string) bool {
		found = name == channel
		return !found
	})
	return found
}

// Subscribers is how many connections of this shard are in a channel.
func (s *Shard) Subscribers(channel string) int {
	if ch := s.members.byName[channel]; ch != nil {
		return int(ch.subscribers.n)
	}
	return 0
}

// Members calls f with each connection of this shard in a channel, until f returns
// false. f must not subscribe or unsubscribe any of them.
func (s *Shard) Members(channel string, f func(netpoll.ID) bool) {
	ch := s.members.byName[channel]
	if ch == nil {
		return
	}
	for i := range ch.subscribers.n {
		if c := s.in(ch.subscribers.at(i).slot); c.stays() && !f(c.id) {
			return
		}
	}
}

// UserMembers calls f with each connection of a user, until f returns false. f
// must not change their identities.
func (s *Shard) UserMembers(user string, f func(netpoll.ID) bool) {
	row := s.users.find(user)
	if row == 0 {
		return
	}
	for at := s.users.head(row); at != 0; at = s.slots.Rows[at-1].userNext {
		if c := s.in(at - 1); c.stays() && !f(c.id) {
			return
		}
	}
}

// All calls f with each open connection of this shard, those left out that have not
// connected in their protocol, until f returns false. f must not change them.
func (s *Shard) All(f func(netpoll.ID) bool) {
	for slot := range s.slots.high {
		if c := s.in(slot); c.stays() && c.flags&flagUnready == 0 && !f(c.id) {
			return
		}
	}
}

// AllChannels calls f with each channel of this shard and how many connections are
// in it.
func (s *Shard) AllChannels(f func(channel string, subscribers int)) {
	for name, ch := range s.members.byName {
		f(name, int(ch.subscribers.n))
	}
}

// Age is how long a connection is open, in whole ticks.
func (s *Shard) Age(id netpoll.ID) time.Duration {
	c, ok := s.find(id)
	if !ok {
		return 0
	}
	return time.Duration(s.deadlines.tick-c.openedTick) * s.cfg.TickInterval
}

// Lag is how many messages a connection is behind, and the bytes that wait for it
// alone.
func (s *Shard) Lag(id netpoll.ID) (messages uint64, pendingBytes int) {
	c, ok := s.find(id)
	if !ok {
		return 0, 0
	}
	x := c.ext()
	if x == nil {
		return 0, 0
	}
	if c.flags&flagLagging != 0 {
		messages = s.journal.frames - x.lagFrames
	}
	for _, r := range x.readers {
		messages += r.Behind()
	}
	return messages, x.pending.bytes
}
