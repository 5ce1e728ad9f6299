package shard

import (
	"errors"

	"github.com/roostws/roost/netpoll"
)

// Errors of joining a channel. They reach the application through
// Hooks.OpFailed, because the join itself happened in an inbox.
var (
	// ErrTooManySubscriptions: Config.SubscriptionsMax is reached.
	ErrTooManySubscriptions = errors.New("server: the connection is in SubscriptionsMax channels already")
)

// A channel is this shard's part of a pub/sub channel. It exists while it has
// subscribers.
type channel struct {
	name string
	row  uint32 // in Shard.channels
	// subscribers is dense and in no order: leaving moves another one into the
	// gap.
	subscribers chunks[subscriber]
	// sequence numbers the messages that this shard saw while the channel
	// existed. It wraps; only differences count.
	sequence uint32
	// waiting is the channel's job that has not begun, so that what is published
	// meanwhile can still be added to it.
	waiting *job
}

// subscriber is 8 bytes, read in order by a fan-out.
type subscriber struct {
	slot uint32
	// from is the channel's sequence at the join: only later messages are for
	// this subscriber.
	from uint32
}

// subscription is the same, seen from the connection: 12 bytes.
type subscription struct {
	channel uint32 // row in Shard.channels; 0 in free rows
	next    uint32 // next subscription of the connection; next free row
	pos     uint32 // index in channel.subscribers
}

func (s *Shard) sub(i uint32) *subscription { return s.subs.at(i) }

// newSub answers a free row.
func (s *Shard) newSub() uint32 {
	if i := s.subFree; i != 0 {
		s.subFree = s.sub(i).next
		return i
	}
	if s.subs.n == 0 {
		s.subs.push(subscription{}) // row 0 means none
	}
	s.subs.push(subscription{})
	return s.subs.n - 1
}

// join makes id a subscriber of the channel; joining twice is joining once.
func (s *Shard) join(id netpoll.ID, name string) error {
	sl := s.slotOf(id)
	if sl == nil || sl.state != stateOpen {
		return nil // it has left meanwhile
	}
	ch := s.channelByName[name]
	count := 0
	for i := sl.subs; i != 0; i = s.sub(i).next {
		if ch != nil && s.sub(i).channel == ch.row {
			return nil
		}
		count++
	}
	if count >= s.cfg.SubscriptionsMax {
		return ErrTooManySubscriptions
	}
	if ch == nil {
		ch = s.newChannel(name)
	}
	i := s.newSub()
	*s.sub(i) = subscription{channel: ch.row, next: sl.subs, pos: ch.subscribers.n}
	sl.subs = i
	ch.subscribers.push(subscriber{id.Slot(), ch.sequence})
	s.count.Subscriptions.Add(1)
	return nil
}

func (s *Shard) newChannel(name string) *channel {
	ch := &channel{name: name}
	if n := len(s.channelFree); n > 0 {
		ch.row = s.channelFree[n-1]
		s.channelFree = s.channelFree[:n-1]
		s.channels[ch.row] = ch
	} else {
		ch.row = uint32(len(s.channels))
		s.channels = append(s.channels, ch)
	}
	s.channelByName[name] = ch
	s.count.Channels.Add(1)
	return ch
}

// leave undoes join.
func (s *Shard) leave(id netpoll.ID, name string) {
	sl, ch := s.slotOf(id), s.channelByName[name]
	if sl == nil || ch == nil {
		return
	}
	for link := &sl.subs; *link != 0; link = &s.sub(*link).next {
		if i := *link; s.sub(i).channel == ch.row {
			*link = s.sub(i).next
			s.removeSub(ch, i)
			return
		}
	}
}

// leaveAll ends every subscription of a connection that closes.
func (s *Shard) leaveAll(sl *slot) {
	for i := sl.subs; i != 0; {
		next := s.sub(i).next
		s.removeSub(s.channels[s.sub(i).channel], i)
		i = next
	}
	sl.subs = 0
}

// removeSub takes row i, already unlinked from its connection, out of its
// channel.
func (s *Shard) removeSub(ch *channel, i uint32) {
	gap, last := s.sub(i).pos, ch.subscribers.n-1
	if j := s.active; j != nil && j.channel == ch && gap < j.cursor {
		// A fan-out has served [0, cursor). Moving the last subscriber, who is
		// still to be served, among those would skip him: close the gap with one who
		// was served, and that one's place with the last.
		j.cursor--
		s.moveSubscriber(ch, j.cursor, gap)
		gap = j.cursor
	}
	s.moveSubscriber(ch, last, gap)
	ch.subscribers.pop()
	*s.sub(i) = subscription{next: s.subFree}
	s.subFree = i
	s.count.Subscriptions.Add(-1)
	if last == 0 {
		delete(s.channelByName, ch.name)
		s.channels[ch.row] = nil
		s.channelFree = append(s.channelFree, ch.row)
		s.count.Channels.Add(-1)
	}
}

// moveSubscriber moves the subscriber at from to the place to.
func (s *Shard) moveSubscriber(ch *channel, from, to uint32) {
	if from == to {
		return
	}
	moved := *ch.subscribers.at(from)
	*ch.subscribers.at(to) = moved
	for i := s.slots.rows[moved.slot].subs; i != 0; i = s.sub(i).next {
		if sub := s.sub(i); sub.channel == ch.row && sub.pos == from {
			sub.pos = to
			return
		}
	}
	// The one that is just leaving was unlinked from its connection already: it
	// is only ever overwritten, never looked for.
}

// setUser gives a connection its identity.
func (s *Shard) setUser(id netpoll.ID, sl *slot, name string) {
	if name == "" {
		return
	}
	row := s.users.intern(name)
	entry := s.users.entry(row)
	self := id.Slot() + 1
	sl.user, sl.userNext = row, entry.head
	if entry.head != 0 {
		s.slots.rows[entry.head-1].userPrev = self
	}
	entry.head = self
}

// dropUser undoes setUser.
func (s *Shard) dropUser(sl *slot) {
	if sl.user == 0 {
		return
	}
	entry := s.users.entry(sl.user)
	if sl.userNext != 0 {
		s.slots.rows[sl.userNext-1].userPrev = sl.userPrev
	}
	if sl.userPrev != 0 {
		s.slots.rows[sl.userPrev-1].userNext = sl.userNext
	} else {
		entry.head = sl.userNext
	}
	if j := s.active; j != nil && j.user == sl.user && j.cursor != 0 && &s.slots.rows[j.cursor-1] == sl {
		j.cursor = sl.userNext // the fan-out stood here
	}
	if entry.head == 0 && entry.pins == 0 {
		s.users.remove(sl.user)
	}
	sl.user, sl.userNext, sl.userPrev = 0, 0, 0
}

// User answers the identity of id, empty if it has none. Loop only.
func (s *Shard) User(id netpoll.ID) string {
	if sl := s.slotOf(id); sl != nil && sl.user != 0 {
		return string(s.users.name(sl.user))
	}
	return ""
}
