//go:build linux || darwin || freebsd

package conns

import (
	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// How a connection ends.
//
//	open --Close--> lingering --OnClose--> notified --end of peer, or deadline--> free
//	open --Abort, end of peer, error-----> dead -----------------OnClose--------> free
//
// No Loop method calls OnClose: only DeliverCloses does, which the loop calls at
// the end of a turn.

// A pendingClose is an OnClose that is due.
type pendingClose struct {
	id  netpoll.ID
	err error
}

// keptCloses is how many pending closes' memory a loop keeps.
const keptCloses = 1024

// Close is part of [netpoll.Loop].
func (c *Conns) Close(id netpoll.ID) {
	s := c.Live(id)
	if s == nil {
		return
	}
	// Closing the descriptor now would reset the connection if the peer has sent
	// something that we have not read, and a reset takes back what was written
	// last. So only our direction ends, and what arrives is dropped.
	if err := unix.Shutdown(int(s.FD), unix.SHUT_WR); err != nil {
		c.Lose(id, s, netpoll.ErrClosed) // the peer is gone, or not there yet
		return
	}
	s.Flags |= Lingering
	c.closes = append(c.closes, pendingClose{id, netpoll.ErrClosed})
	c.owner.Linger(id, s)
}

// Abort is part of [netpoll.Loop]. It is a plain close(2): the kernel still
// sends the bytes that it has, unless the peer has sent something unread.
func (c *Conns) Abort(id netpoll.ID) {
	if s := c.known(id); s != nil {
		c.Lose(id, s, netpoll.ErrClosed)
	}
}

// Lose ends a connection, in whatever state, that can neither be read nor
// written any more. err is for OnClose, unless Close was called before.
func (c *Conns) Lose(id netpoll.ID, s *Socket, err error) {
	switch {
	case s.Flags&Dead != 0:
	case s.Flags&notified != 0:
		c.letGo(id, s)
	case s.Flags&Lingering != 0: // its OnClose is due already
		s.Flags |= Dead
	default:
		s.Flags |= Dead
		c.closes = append(c.closes, pendingClose{id, err})
	}
}

// DeliverCloses calls OnClose for every connection that has ended, also for
// those that end meanwhile.
func (c *Conns) DeliverCloses() {
	if len(c.closes) == 0 {
		return
	}
	for i := 0; i < len(c.closes); i++ {
		id, err := c.closes[i].id, c.closes[i].err
		c.callClose(id, err)
		c.Count.Conns--
		s := c.Get(id)
		s.Flags |= notified
		if s.Flags&Dead != 0 || c.Ended {
			c.letGo(id, s)
			continue
		}
		c.Count.Lingering++
		c.lingerers.push(id, c.Shared.Now()+int64(c.Shared.Config.LingerTimeout))
		s.Flags |= waited
	}
	clear(c.closes)
	c.closes = c.closes[:0]
	if cap(c.closes) > keptCloses {
		c.closes = nil
	}
}

// letGo frees a connection whose OnClose is over.
func (c *Conns) letGo(id netpoll.ID, s *Socket) {
	if s.Flags&waited != 0 {
		c.Count.Lingering--
	}
	c.owner.Release(id, s)
	c.release(id.Slot())
	c.Shared.Unreserve()
}

// ExpireLingerers frees the connections whose peers did not close in time.
func (c *Conns) ExpireLingerers(now int64) {
	for {
		at, ok := c.lingerers.first()
		if !ok || at > now {
			return
		}
		id := c.lingerers.pop()
		if s := c.Get(id); s != nil {
			c.Count.LingerTimeouts++
			c.letGo(id, s)
		}
	}
}

// LingerDeadline returns when ExpireLingerers has something to do, by the
// engine's clock.
func (c *Conns) LingerDeadline() (at int64, ok bool) { return c.lingerers.first() }

// A lingerQueue holds deadlines, the earliest first. Each is set equally far
// ahead, so the queue needs no sorting. A connection that is freed earlier stays
// in it as a stale ID.
type lingerQueue struct {
	entries []lingerer
	head    int
}

type lingerer struct {
	id       netpoll.ID
	deadline int64
}

func (q *lingerQueue) push(id netpoll.ID, deadline int64) {
	q.entries = append(q.entries, lingerer{id, deadline})
}

func (q *lingerQueue) first() (deadline int64, ok bool) {
	if q.head == len(q.entries) {
		return 0, false
	}
	return q.entries[q.head].deadline, true
}

func (q *lingerQueue) pop() netpoll.ID {
	id := q.entries[q.head].id
	q.head++
	switch {
	case q.head == len(q.entries):
		q.entries, q.head = q.entries[:0], 0
		if cap(q.entries) > keptCloses {
			q.entries = nil
		}
	case q.head >= keptCloses && q.head*2 >= len(q.entries):
		// Half of the entries have been popped.
		q.entries = append([]lingerer(nil), q.entries[q.head:]...)
		q.head = 0
	}
	return id
}
