package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// What the server's native protocol asks of a shard. All of it on the loop only.

// Native tells whether a connection speaks the native protocol.
func (s *Shard) Native(id netpoll.ID) bool {
	c, ok := s.find(id)
	return ok && c.flags&flagNative != 0
}

// Ready lets a native connection in: what is published to all and to its user
// reaches it from now on.
func (s *Shard) Ready(id netpoll.ID) {
	if c, ok := s.find(id); ok {
		c.flags &^= flagUnready
	}
}

// IsReady tells whether a connection is open, and let in where it speaks the
// native protocol.
func (s *Shard) IsReady(id netpoll.ID) bool {
	c, ok := s.findOpen(id)
	return ok && c.flags&flagUnready == 0
}

// unready tells whether a connection is open and not let in.
func (s *Shard) unready(id netpoll.ID) bool {
	c, ok := s.findOpen(id)
	return ok && c.flags&flagUnready != 0
}

// LetIn tells whether a connection was ever let in, also while it ends.
func (s *Shard) LetIn(id netpoll.ID) bool {
	c, ok := s.find(id)
	return ok && c.flags&flagOpened != 0 && c.flags&flagUnready == 0
}

// IsOpen tells whether a connection is open, let in or not.
func (s *Shard) IsOpen(id netpoll.ID) bool {
	_, ok := s.findOpen(id)
	return ok
}

// Shut closes a connection with a Close frame, ahead of what waits for it in
// jobs: Close goes behind that.
func (s *Shard) Shut(id netpoll.ID, code frame.CloseCode, reason string) {
	if c, ok := s.find(id); ok {
		c.startClose(code, reason)
	}
}

// SetExpiry has Hooks.Expired called for a native connection in d, or a moment
// later; never, if d is 0.
func (s *Shard) SetExpiry(id netpoll.ID, d time.Duration) {
	c, ok := s.find(id)
	if !ok {
		return
	}
	s.expiry.rows[id.Slot()] = 0
	if d > 0 {
		at := s.tick + s.toTicks(min(d, maxExpiry))
		s.expiry.rows[id.Slot()] = at
		c.dueBy(at)
	}
}

// maxExpiry is longer than any process lives, and fits into ticks.
const maxExpiry = 365 * 24 * time.Hour

// Pause stops reading a connection while somebody works for it elsewhere. What it
// has sent already waits.
func (s *Shard) Pause(id netpoll.ID) {
	if c, ok := s.findOpen(id); ok {
		c.pause(flagPausedWork)
	}
}

// Unpause undoes Pause.
func (s *Shard) Unpause(id netpoll.ID) {
	if c, ok := s.find(id); ok {
		c.resume(flagPausedWork)
	}
}

// Channels calls f with each channel that a connection is in, until f answers
// false. f must not subscribe or unsubscribe it.
func (s *Shard) Channels(id netpoll.ID, f func(channel string) bool) {
	c, ok := s.find(id)
	if !ok {
		return
	}
	for i := c.subs; i != 0; i = s.sub(i).next {
		if !f(s.channels[s.sub(i).channel].name) {
			return
		}
	}
}

// Subscribed tells whether a connection is in a channel.
func (s *Shard) Subscribed(id netpoll.ID, channel string) (found bool) {
	s.Channels(id, func(name string) bool {
		found = name == channel
		return !found
	})
	return found
}

// Subscribers is how many connections of this shard are in a channel.
func (s *Shard) Subscribers(channel string) int {
	if ch := s.channelByName[channel]; ch != nil {
		return int(ch.subscribers.n)
	}
	return 0
}

// Members calls f with each connection of this shard in a channel, until f answers
// false. f must not subscribe or unsubscribe anybody.
func (s *Shard) Members(channel string, f func(netpoll.ID) bool) {
	ch := s.channelByName[channel]
	if ch == nil {
		return
	}
	for i := range ch.subscribers.n {
		if !f(s.in(ch.subscribers.at(i).slot).id) {
			return
		}
	}
}

// UserMembers calls f with each connection of a user, until f answers false. f
// must not change who they are.
func (s *Shard) UserMembers(user string, f func(netpoll.ID) bool) {
	row := s.users.find(user)
	if row == 0 {
		return
	}
	for at := s.users.entry(row).head; at != 0; at = s.slots.rows[at-1].userNext {
		if !f(s.in(at - 1).id) {
			return
		}
	}
}

// AllChannels calls f with each channel of this shard and how many connections are
// in it.
func (s *Shard) AllChannels(f func(channel string, subscribers int)) {
	for name, ch := range s.channelByName {
		f(name, int(ch.subscribers.n))
	}
}

// Age is how long a connection is open, in whole ticks.
func (s *Shard) Age(id netpoll.ID) time.Duration {
	c, ok := s.find(id)
	if !ok {
		return 0
	}
	return time.Duration(s.tick-c.openedTick) * s.cfg.TickInterval
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
		messages = s.framesBegun - x.lagFrames
	}
	for _, r := range x.readers {
		r.log.stripe.mu.Lock()
		messages += r.log.tip() + 1 - r.next
		r.log.stripe.mu.Unlock()
	}
	return messages, x.pending.bytes
}
