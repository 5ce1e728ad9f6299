package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// What the server's native protocol asks of a shard. All of it on the loop only.

// Native tells whether a connection speaks the native protocol.
func (s *Shard) Native(id netpoll.ID) bool {
	sl := s.slotOf(id)
	return sl != nil && sl.flags&flagNative != 0
}

// Ready lets a native connection in: what is published to all and to its user
// reaches it from now on.
func (s *Shard) Ready(id netpoll.ID) {
	if sl := s.slotOf(id); sl != nil {
		sl.flags &^= flagUnready
	}
}

// IsReady tells whether a connection is open, and let in where it speaks the
// native protocol.
func (s *Shard) IsReady(id netpoll.ID) bool {
	sl := s.slotOf(id)
	return sl != nil && sl.state == stateOpen && sl.flags&flagUnready == 0
}

// unready tells whether a connection is open and not let in.
func (s *Shard) unready(id netpoll.ID) bool {
	sl := s.slotOf(id)
	return sl != nil && sl.state == stateOpen && sl.flags&flagUnready != 0
}

// LetIn tells whether a connection was ever let in, also while it ends.
func (s *Shard) LetIn(id netpoll.ID) bool {
	sl := s.slotOf(id)
	return sl != nil && sl.flags&flagOpened != 0 && sl.flags&flagUnready == 0
}

// IsOpen tells whether a connection is open, let in or not.
func (s *Shard) IsOpen(id netpoll.ID) bool {
	sl := s.slotOf(id)
	return sl != nil && sl.state == stateOpen
}

// Shut closes a connection with a Close frame, ahead of what waits for it in
// jobs: Close goes behind that.
func (s *Shard) Shut(id netpoll.ID, code frame.CloseCode, reason string) {
	if sl := s.slotOf(id); sl != nil {
		s.startClose(id, sl, code, reason)
	}
}

// SetExpiry has Hooks.Expired called for a native connection in d, or a moment
// later; never, if d is 0.
func (s *Shard) SetExpiry(id netpoll.ID, d time.Duration) {
	if s.slotOf(id) == nil {
		return
	}
	s.expiry.rows[id.Slot()] = 0
	if d > 0 {
		at := s.tick + s.toTicks(min(d, maxExpiry))
		s.expiry.rows[id.Slot()] = at
		s.dueBy(id.Slot(), at)
	}
}

// maxExpiry is longer than any process lives, and fits into ticks.
const maxExpiry = 365 * 24 * time.Hour

// Pause stops reading a connection while somebody works for it elsewhere. What it
// has sent already waits.
func (s *Shard) Pause(id netpoll.ID) {
	if sl := s.slotOf(id); sl != nil && sl.state == stateOpen {
		s.pause(id, sl, flagPausedWork)
	}
}

// Unpause undoes Pause.
func (s *Shard) Unpause(id netpoll.ID) {
	if sl := s.slotOf(id); sl != nil {
		s.resume(id, sl, flagPausedWork)
	}
}

// Channels calls f with each channel that a connection is in, until f answers
// false. f must not subscribe or unsubscribe it.
func (s *Shard) Channels(id netpoll.ID, f func(channel string) bool) {
	sl := s.slotOf(id)
	if sl == nil {
		return
	}
	for i := sl.subs; i != 0; i = s.sub(i).next {
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
		if !f(s.idOf(ch.subscribers.at(i).slot)) {
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
		if !f(s.idOf(at - 1)) {
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
	sl := s.slotOf(id)
	if sl == nil {
		return 0
	}
	return time.Duration(s.tick-sl.openedTick) * s.cfg.TickInterval
}

// Lag is how many messages a connection is behind, and the bytes that wait for it
// alone.
func (s *Shard) Lag(id netpoll.ID) (messages uint64, pendingBytes int) {
	sl := s.slotOf(id)
	if sl == nil || sl.ext == 0 {
		return 0, 0
	}
	x := s.exts[sl.ext]
	if sl.flags&flagLagging != 0 {
		messages = s.framesBegun - x.lagFrames
	}
	for _, r := range x.readers {
		r.log.stripe.mu.Lock()
		messages += r.log.tip() + 1 - r.next
		r.log.stripe.mu.Unlock()
	}
	return messages, x.pending.bytes
}
