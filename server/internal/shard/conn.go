package shard

import "github.com/roostws/roost/netpoll"

// A conn is a cursor: one connection of this shard, its ID and its row in
// Shard.slots. It is three words, passed by value, and valid only during one
// callback of the loop: nothing may keep one.
//
// The row is reused after the connection has ended. Code that calls a hook must
// check alive before it goes on.
type conn struct {
	s  *Shard
	id netpoll.ID
	*slot
}

// find returns the cursor of the connection with this ID. It returns false if
// the ID is stale, that is, if the connection has ended.
func (s *Shard) find(id netpoll.ID) (c conn, ok bool) {
	i := id.Slot()
	if int(i) >= len(s.slots.Rows) {
		return conn{}, false
	}
	c = conn{s, id, &s.slots.Rows[i]}
	return c, c.current()
}

// findOpen is find for connections in stateOpen only.
func (s *Shard) findOpen(id netpoll.ID) (c conn, ok bool) {
	c, ok = s.find(id)
	return c, ok && c.state == stateOpen
}

// in returns the cursor of slot i. In a free one its state is stateFree.
func (s *Shard) in(i uint32) conn {
	sl := &s.slots.Rows[i]
	return conn{s, netpoll.MakeID(s.index, i, sl.generation), sl}
}

// current reports whether the row still belongs to this connection: OnClose has
// not been called.
func (c conn) current() bool { return c.generation == c.id.Generation() }

// alive reports whether the connection may be used: OnClose has not been called
// and the engine has not been told to close it.
func (c conn) alive() bool { return c.current() && c.state != stateGone }

// isOpen reports whether the connection is in stateOpen.
func (c conn) isOpen() bool { return c.current() && c.state == stateOpen }

// setDeadline sets the tick at which expire looks at the connection next; 0
// means never.
func (c conn) setDeadline(tick uint32) { c.s.deadlines.Rows[c.id.Slot()] = tick }

// dueBy makes sure that expire looks at the connection by the given tick.
func (c conn) dueBy(tick uint32) { c.s.deadlines.dueBy(c.id.Slot(), tick) }
