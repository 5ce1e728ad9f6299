package shard

import (
	"errors"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// Errors of joining a channel. They reach the application through
// Hooks.OpFailed, because the join itself happened in an inbox.
var (
	// ErrTooManySubscriptions: Config.SubscriptionsMax is reached.
	ErrTooManySubscriptions = errors.New("server: the connection is in SubscriptionsMax channels already")
	// ErrSubscribed: the connection is in that channel already.
	ErrSubscribed = errors.New("server: the connection is in that channel already")
	// ErrNotOpen: the connection has left meanwhile.
	ErrNotOpen = errors.New("server: the connection is not open")
)

// A channel is this shard's part of a pub/sub channel. It exists while it has
// subscribers.
type channel struct {
	name string
	row  uint32 // in Shard.channels
	// ns is set if the channel has history.
	ns *hub.Namespace
	// subscribers is dense and in no order: leaving moves another one into the
	// gap.
	subscribers chunks[subscriber]
	// sequence numbers the messages that this shard saw while the channel
	// existed. It wraps; only differences count. With history, offsets serve instead.
	sequence uint32
	// waiting is the channel's job that has not begun, so that what is published
	// meanwhile can still be added to it.
	waiting *job
}

// subscriber is 8 bytes, read in order by a fan-out.
type subscriber struct {
	slot uint32
	// from is the channel's sequence, or offset, at the join: only later messages
	// are for this subscriber.
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

// join makes id a subscriber of the channel, for messages after offset from where
// it has history; joining twice is joining once. It reports whether id was not in
// it before.
func (s *Shard) join(id netpoll.ID, name string, from uint64) (joined bool, err error) {
	_, ch, err := s.enter(id, name)
	switch {
	case err == ErrSubscribed || err == ErrNotOpen:
		return false, nil
	case err == nil && ch.ns != nil:
		ch.subscribers.at(ch.subscribers.n - 1).from = uint32(from)
	}
	return err == nil, err
}

// Subscribe makes id a subscriber of the channel. It returns where the channel
// stands, an empty position without history. With resume, recovered reports that
// everything after that position follows when the callback has returned, and
// nothing else before it. The error is ErrNotOpen, ErrSubscribed or
// ErrTooManySubscriptions. Loop only.
func (s *Shard) Subscribe(id netpoll.ID, name string, resume *hub.Position) (at hub.Position, recovered bool, err error) {
	c, ch, err := s.enter(id, name)
	if err != nil || ch.ns == nil {
		return hub.Position{}, false, err
	}
	at, recovered = c.position(name, &ch.subscribers.at(ch.subscribers.n-1).from, resume)
	return at, recovered, nil
}

// enter makes id the last of the channel's subscribers.
func (s *Shard) enter(id netpoll.ID, name string) (c conn, ch *channel, err error) {
	c, ok := s.findOpen(id)
	if !ok {
		return c, nil, ErrNotOpen
	}
	ch = s.channelByName[name]
	count := 0
	for i := c.subs; i != 0; i = s.sub(i).next {
		if ch != nil && s.sub(i).channel == ch.row {
			return c, nil, ErrSubscribed
		}
		count++
	}
	if count >= s.cfg.SubscriptionsMax {
		return c, nil, ErrTooManySubscriptions
	}
	if ch == nil {
		ch = s.newChannel(name)
	}
	i := s.newSub()
	*s.sub(i) = subscription{channel: ch.row, next: c.subs, pos: ch.subscribers.n}
	c.subs = i
	ch.subscribers.push(subscriber{id.Slot(), ch.sequence})
	s.count.Inc(counters.Subscriptions)
	return c, ch, nil
}

// position sets from to where the channel stands in history, or has the
// connection read on from resume.
func (c conn) position(name string, from *uint32, resume *hub.Position) (at hub.Position, recovered bool) {
	at, r, recovered := c.s.hub().Resume(name, resume)
	*from = uint32(at.Offset)
	if r.History != nil {
		c.startReading(r)
	}
	return at, recovered
}

func (s *Shard) newChannel(name string) *channel {
	ch := &channel{name: name, ns: s.hub().Namespace(name)}
	if n := len(s.channelFree); n > 0 {
		ch.row = s.channelFree[n-1]
		s.channelFree = s.channelFree[:n-1]
		s.channels[ch.row] = ch
	} else {
		ch.row = uint32(len(s.channels))
		s.channels = append(s.channels, ch)
	}
	s.channelByName[name] = ch
	s.count.Inc(counters.Channels)
	s.occupy(name, 1)
	return ch
}

// occupy notes that this shard has begun (change 1) or ended (-1) to have
// subscribers of a channel.
func (s *Shard) occupy(name string, change int) {
	s.hub().Occupy(name, change, func(occupied bool) { s.hooks.Occupied(s, name, occupied) })
}

// Unsubscribe undoes Subscribe and tells whether there was something to undo.
// Loop only.
func (s *Shard) Unsubscribe(id netpoll.ID, name string) bool {
	c, ok := s.find(id)
	ch := s.channelByName[name]
	if !ok || ch == nil {
		return false
	}
	for link := &c.subs; *link != 0; link = &s.sub(*link).next {
		if i := *link; s.sub(i).channel == ch.row {
			c.stopReadingOf(name)
			*link = s.sub(i).next
			s.removeSub(ch, i)
			return true
		}
	}
	return false
}

// leaveAll ends every subscription of a connection that closes.
func (c conn) leaveAll() {
	s := c.s
	for i := c.subs; i != 0; {
		next := s.sub(i).next
		s.removeSub(s.channels[s.sub(i).channel], i)
		i = next
	}
	c.subs = 0
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
	s.count.Add(counters.Subscriptions, -1)
	if last == 0 {
		delete(s.channelByName, ch.name)
		s.channels[ch.row] = nil
		s.channelFree = append(s.channelFree, ch.row)
		s.count.Add(counters.Channels, -1)
		s.occupy(ch.name, -1)
	}
}

// moveSubscriber moves the subscriber at from to the place to.
func (s *Shard) moveSubscriber(ch *channel, from, to uint32) {
	if from == to {
		return
	}
	moved := *ch.subscribers.at(from)
	*ch.subscribers.at(to) = moved
	for i := s.slots.Rows[moved.slot].subs; i != 0; i = s.sub(i).next {
		if sub := s.sub(i); sub.channel == ch.row && sub.pos == from {
			sub.pos = to
			return
		}
	}
	// The one that is just leaving was unlinked from its connection already: it
	// is only ever overwritten, never looked for.
}

// setUser gives a connection its identity.
func (c conn) setUser(name string) {
	s := c.s
	if name == "" {
		return
	}
	row := s.users.intern(name)
	entry := s.users.entry(row)
	self := c.id.Slot() + 1
	c.user, c.userNext = row, entry.head
	if entry.head != 0 {
		s.slots.Rows[entry.head-1].userPrev = self
	}
	entry.head = self
	if channel := hub.UserChannel(name); s.hub().Namespace(channel) != nil {
		c.position(channel, &c.userFrom, nil)
	}
}

// SetUser gives a connection that has none its identity, and lets it resume the
// user's channel, as Subscribe does for others. Loop only.
func (s *Shard) SetUser(id netpoll.ID, name string, resume *hub.Position) (at hub.Position, recovered bool) {
	c, ok := s.findOpen(id)
	if !ok {
		return hub.Position{}, false
	}
	if c.user == 0 {
		c.setUser(name)
	}
	if channel := hub.UserChannel(name); s.hub().Namespace(channel) != nil {
		return c.position(channel, &c.userFrom, resume)
	}
	return hub.Position{}, false
}

// dropUser undoes setUser.
func (c conn) dropUser() {
	s := c.s
	if c.user == 0 {
		return
	}
	entry := s.users.entry(c.user)
	if c.userNext != 0 {
		s.slots.Rows[c.userNext-1].userPrev = c.userPrev
	}
	if c.userPrev != 0 {
		s.slots.Rows[c.userPrev-1].userNext = c.userNext
	} else {
		entry.head = c.userNext
	}
	if j := s.active; j != nil && j.user == c.user && j.cursor != 0 && &s.slots.Rows[j.cursor-1] == c.slot {
		j.cursor = c.userNext // the fan-out stood here
	}
	if entry.head == 0 && entry.pins == 0 {
		s.users.remove(c.user)
	}
	c.user, c.userNext, c.userPrev, c.userFrom = 0, 0, 0, 0
}

// User answers the identity of id, empty if it has none. Loop only.
func (s *Shard) User(id netpoll.ID) string {
	if c, ok := s.find(id); ok && c.user != 0 {
		return string(s.users.name(c.user))
	}
	return ""
}
