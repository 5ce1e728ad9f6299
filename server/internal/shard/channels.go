package shard

import (
	"errors"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
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
	// at is where the history stood when this shard last looked: see moveTo.
	at hub.Place
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

// members is the channels with their subscribers.
type members struct {
	byName   map[string]*channel
	channels []*channel // by row; row 0 is not used
	free     []uint32   // rows of channels

	subs    chunks[subscription] // by row; row 0 is not used
	subFree uint32               // first free row, linked by next
}

func newMembers() members {
	return members{byName: map[string]*channel{}, channels: make([]*channel, 1)}
}

// sub returns row i.
func (m *members) sub(i uint32) *subscription { return m.subs.at(i) }

// newSub returns a free row.
func (m *members) newSub() uint32 {
	if i := m.subFree; i != 0 {
		m.subFree = m.sub(i).next
		return i
	}
	if m.subs.n == 0 {
		m.subs.push(subscription{})
	}
	m.subs.push(subscription{})
	return m.subs.n - 1
}

// freeSub gives row i back.
func (m *members) freeSub(i uint32) {
	*m.sub(i) = subscription{next: m.subFree}
	m.subFree = i
}

// add gives a channel a row.
func (m *members) add(ch *channel) {
	if n := len(m.free); n > 0 {
		ch.row = m.free[n-1]
		m.free = m.free[:n-1]
		m.channels[ch.row] = ch
	} else {
		ch.row = uint32(len(m.channels))
		m.channels = append(m.channels, ch)
	}
	m.byName[ch.name] = ch
}

// remove ends a channel.
func (m *members) remove(ch *channel) {
	delete(m.byName, ch.name)
	m.channels[ch.row] = nil
	m.free = append(m.free, ch.row)
}

// of returns the subscription of a connection, whose first one is the row subs, to
// a channel; nil if it has none.
func (m *members) of(subs uint32, ch *channel) *subscription {
	for i := subs; i != 0; i = m.sub(i).next {
		if sub := m.sub(i); m.channels[sub.channel] == ch {
			return sub
		}
	}
	return nil
}

// moveTo notes where the history stands. A job that has waited in the inbox may be of an
// epoch that has ended meanwhile: that changes nothing.
func (ch *channel) moveTo(at hub.Place) {
	if ch.at.Epoch == "" || int32(at.Seq()-ch.at.Seq()) >= 0 {
		ch.at = at
	}
}

// join makes id a subscriber of the channel, for messages after the position at where
// it has history, or, if that is the zero Place, for those from now on. Joining twice is
// joining once. It reports whether id was not in it before.
func (s *Shard) join(id netpoll.ID, name string, at hub.Place) (joined bool, err error) {
	_, ch, err := s.enter(id, name)
	switch {
	case err == ErrSubscribed || err == ErrNotOpen:
		return false, nil
	case err == nil && ch.ns != nil:
		if at.Epoch == "" {
			at = s.hub().Place(name) // not before enter: see hub's audience.go
		}
		ch.subscribers.at(ch.subscribers.n - 1).from = at.Seq()
		ch.moveTo(at)
	}
	return err == nil, err
}

// Subscribe makes id a subscriber of the channel. It returns where the channel
// stands, an empty position without history. With resume, recovered reports that
// everything after that position follows when the callback has returned, and
// nothing else before it. The error is ErrNotOpen, ErrSubscribed or
// ErrTooManySubscriptions. Loop only.
func (s *Shard) Subscribe(id netpoll.ID, name string, resume *history.Position) (at history.Position, recovered bool, err error) {
	c, ch, err := s.enter(id, name)
	if err != nil || ch.ns == nil {
		return history.Position{}, false, err
	}
	place, recovered := c.position(name, &ch.subscribers.at(ch.subscribers.n-1).from, resume)
	ch.moveTo(place)
	return place.Position, recovered, nil
}

// enter makes id the last of the channel's subscribers.
func (s *Shard) enter(id netpoll.ID, name string) (c conn, ch *channel, err error) {
	c, ok := s.findOpen(id)
	if !ok {
		return c, nil, ErrNotOpen
	}
	ch = s.members.byName[name]
	count := 0
	for i := c.subs; i != 0; i = s.members.sub(i).next {
		if ch != nil && s.members.sub(i).channel == ch.row {
			return c, nil, ErrSubscribed
		}
		count++
	}
	if count >= s.cfg.SubscriptionsMax || c.oneWay() && s.hub().Namespace(name) != nil && !c.cursorFits(name) {
		return c, nil, ErrTooManySubscriptions
	}
	if ch == nil {
		ch = s.newChannel(name)
	}
	i := s.members.newSub()
	*s.members.sub(i) = subscription{channel: ch.row, next: c.subs, pos: ch.subscribers.n}
	c.subs = i
	ch.subscribers.push(subscriber{id.Slot(), ch.sequence})
	s.count.Inc(counters.Subscriptions)
	return c, ch, nil
}

// position sets from to where the channel stands in history, or has the
// connection read on from resume.
func (c conn) position(name string, from *uint32, resume *history.Position) (at hub.Place, recovered bool) {
	at, r, recovered := c.s.hub().Resume(name, resume)
	*from = at.Seq()
	if r.History != nil {
		c.startReading(r)
	}
	return at, recovered
}

func (s *Shard) newChannel(name string) *channel {
	ch := &channel{name: name, ns: s.hub().Namespace(name)}
	s.members.add(ch)
	s.count.Inc(counters.Channels)
	s.occupy(name, 1)
	return ch
}

// occupy notes that this shard has begun (change 1) or ended (-1) to have
// subscribers of a channel.
func (s *Shard) occupy(name string, change int) {
	s.hub().Interest(s.index, name, change)
	s.hub().Occupy(name, change, func(occupied bool) { s.hooks.Occupied(s, name, occupied) })
}

// Unsubscribe undoes Subscribe and reports whether there was something to undo.
// Loop only.
func (s *Shard) Unsubscribe(id netpoll.ID, name string) bool {
	c, ok := s.find(id)
	ch := s.members.byName[name]
	if !ok || ch == nil {
		return false
	}
	for link := &c.subs; *link != 0; link = &s.members.sub(*link).next {
		if i := *link; s.members.sub(i).channel == ch.row {
			c.stopReadingOf(name)
			*link = s.members.sub(i).next
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
		next := s.members.sub(i).next
		s.removeSub(s.members.channels[s.members.sub(i).channel], i)
		i = next
	}
	c.subs = 0
}

// removeSub takes row i, already unlinked from its connection, out of its channel.
// The last subscriber fills the gap, but what walks the subscribers must not miss
// one: a gap that it has passed is filled with the last one that it has served, and
// that one's place is the gap for the next walk.
func (s *Shard) removeSub(ch *channel, i uint32) {
	gap, last := s.members.sub(i).pos, ch.subscribers.n-1
	for cursor := s.nextCursor(ch, gap); cursor != nil; cursor = s.nextCursor(ch, gap) {
		*cursor--
		s.moveSubscriber(ch, *cursor, gap)
		gap = *cursor
	}
	s.moveSubscriber(ch, last, gap)
	ch.subscribers.pop()
	s.members.freeSub(i)
	s.count.Add(counters.Subscriptions, -1)
	if last == 0 {
		s.members.remove(ch)
		s.count.Add(counters.Channels, -1)
		s.occupy(ch.name, -1)
	}
}

// nextCursor returns the cursor of the walk of a channel's subscribers that has
// passed pos and is the least far beyond it, nil if none has passed it.
func (s *Shard) nextCursor(ch *channel, pos uint32) (cursor *uint32) {
	if j := s.jobs.active; j != nil && j.channel == ch && j.cursor > pos {
		cursor = &j.cursor
	}
	for _, sp := range s.spreads {
		if sp.channel == ch && sp.next > pos && (cursor == nil || sp.next < *cursor) {
			cursor = &sp.next
		}
	}
	return cursor
}

// moveSubscriber moves the subscriber at from to the place to.
func (s *Shard) moveSubscriber(ch *channel, from, to uint32) {
	if from == to {
		return
	}
	moved := *ch.subscribers.at(from)
	*ch.subscribers.at(to) = moved
	for i := s.slots.Rows[moved.slot].subs; i != 0; i = s.members.sub(i).next {
		if sub := s.members.sub(i); sub.channel == ch.row && sub.pos == from {
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
	self := c.id.Slot() + 1
	if s.users.head(row) == 0 {
		s.hub().InterestUser(s.index, name, 1)
	}
	c.user, c.userNext = row, s.users.head(row)
	if c.userNext != 0 {
		s.slots.Rows[c.userNext-1].userPrev = self
	}
	s.users.setHead(row, self)
	if channel := hub.UserChannel(name); s.hub().Namespace(channel) != nil {
		c.position(channel, &c.userFrom, nil)
	}
}

// SetUser gives a connection that has none its identity, and lets it resume the
// user's channel, as Subscribe does for others. Loop only.
func (s *Shard) SetUser(id netpoll.ID, name string, resume *history.Position) (at history.Position, recovered bool) {
	c, ok := s.findOpen(id)
	if !ok {
		return history.Position{}, false
	}
	if c.user == 0 {
		c.setUser(name)
	}
	if channel := hub.UserChannel(name); s.hub().Namespace(channel) != nil {
		place, recovered := c.position(channel, &c.userFrom, resume)
		return place.Position, recovered
	}
	return history.Position{}, false
}

// dropUser undoes setUser.
func (c conn) dropUser() {
	s := c.s
	if c.user == 0 {
		return
	}
	if c.userNext != 0 {
		s.slots.Rows[c.userNext-1].userPrev = c.userPrev
	}
	if c.userPrev != 0 {
		s.slots.Rows[c.userPrev-1].userNext = c.userNext
	} else {
		s.users.setHead(c.user, c.userNext)
	}
	if j := s.jobs.active; j != nil && j.user == c.user && j.cursor != 0 && &s.slots.Rows[j.cursor-1] == c.slot {
		j.cursor = c.userNext // the fan-out stood here
	}
	if s.users.head(c.user) == 0 {
		s.hub().InterestUser(s.index, string(s.users.name(c.user)), -1)
	}
	s.users.release(c.user)
	c.user, c.userNext, c.userPrev, c.userFrom = 0, 0, 0, 0
}

// User returns the identity of id, empty if it has none. Loop only.
func (s *Shard) User(id netpoll.ID) string {
	if c, ok := s.find(id); ok && c.user != 0 {
		return string(s.users.name(c.user))
	}
	return ""
}
