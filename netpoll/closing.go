//go:build linux || darwin || freebsd

package netpoll

import (
	"golang.org/x/sys/unix"
)

// How a connection ends.
//
//	open --Close--> lingering --OnClose--> notified --end of peer, or deadline--> free
//	open --Abort, end of peer, error-----> dead -----------------OnClose--------> free
//
// OnClose is never called where the connection ends but by deliverCloses, at
// the end of the turn: no Loop method calls back.

// A pendingClose is an OnClose that is due.
type pendingClose struct {
	id  ID
	err error
}

// keptCloses is how many pending closes' memory a loop keeps.
const keptCloses = 1024

// Close is part of [Loop].
func (l *loop) Close(id ID) {
	s := l.live(id)
	if s == nil {
		return
	}
	// Closing the descriptor now would reset the connection if the peer has sent
	// something that nobody has read, and a reset takes back what was written
	// last. So only our direction ends, and what comes is dropped.
	if err := unix.Shutdown(int(s.fd), unix.SHUT_WR); err != nil {
		l.lose(id, s, ErrClosed) // nobody is there any more
		return
	}
	s.flags |= lingering
	s.flags &^= unwatched
	l.closes = append(l.closes, pendingClose{id, ErrClosed})
	l.watchLater(id, s)
}

// Abort is part of [Loop]. It is a plain close(2): bytes that the kernel has are
// still sent unless the peer's own are unread.
func (l *loop) Abort(id ID) {
	s := l.table.get(id)
	if s == nil || id.Loop() != l.index || s.flags&(dead|notified) != 0 {
		return
	}
	l.lose(id, s, ErrClosed)
}

// lose ends a connection that has no more to give or take, whatever state it is
// in. err is for OnClose, unless Close has settled that already.
func (l *loop) lose(id ID, s *socket, err error) {
	switch {
	case s.flags&dead != 0:
	case s.flags&notified != 0:
		l.letGo(id, s)
	case s.flags&lingering != 0:
		s.flags |= dead
	default:
		s.flags |= dead
		l.closes = append(l.closes, pendingClose{id, err})
	}
}

// deliverCloses calls OnClose where it is due, also for what ends meanwhile.
func (l *loop) deliverCloses() {
	if len(l.closes) == 0 {
		return
	}
	for i := 0; i < len(l.closes); i++ {
		id, err := l.closes[i].id, l.closes[i].err
		l.onClose(id, err)
		l.counts.conns--
		s := l.table.get(id)
		s.flags |= notified
		if s.flags&dead != 0 || l.ended {
			l.letGo(id, s)
			continue
		}
		l.counts.lingering++
		l.lingerers.push(id, l.engine.now()+int64(l.engine.cfg.LingerTimeout))
		s.flags |= waited
	}
	clear(l.closes)
	l.closes = l.closes[:0]
	if cap(l.closes) > keptCloses {
		l.closes = nil
	}
}

// letGo frees a connection whose OnClose is over.
func (l *loop) letGo(id ID, s *socket) {
	if s.flags&waited != 0 {
		l.counts.lingering--
	}
	if s.flags&polled != 0 {
		l.poll.remove(int(s.fd))
	}
	_ = unix.Close(int(s.fd))
	l.table.release(id.Slot())
	l.engine.slots.Add(-1)
}

// drop reads what a lingering connection's peer still sends, a bounded amount
// for each event, until it closes.
func (l *loop) drop(id ID, s *socket) {
	for range readsPerEvent {
		n, errno := recvSocket(s.fd, l.buffer)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return
		case errno != 0 || n == 0:
			l.lose(id, s, ErrClosed)
			return
		case n < len(l.buffer):
			return
		}
	}
}

// expireLingerers gives up on peers that did not close in time.
func (l *loop) expireLingerers(now int64) {
	for {
		at, ok := l.lingerers.first()
		if !ok || at > now {
			return
		}
		id := l.lingerers.pop()
		if s := l.table.get(id); s != nil {
			l.counts.lingerTimeouts++
			l.letGo(id, s)
		}
	}
}

// A lingerQueue holds deadlines, the earliest first. They all are equally far
// away when they are set, so a queue needs no sorting. Who is let go earlier
// stays in it, as a stale ID.
type lingerQueue struct {
	entries []lingerer
	head    int
}

type lingerer struct {
	id       ID
	deadline int64
}

func (q *lingerQueue) push(id ID, deadline int64) {
	q.entries = append(q.entries, lingerer{id, deadline})
}

func (q *lingerQueue) first() (deadline int64, ok bool) {
	if q.head == len(q.entries) {
		return 0, false
	}
	return q.entries[q.head].deadline, true
}

func (q *lingerQueue) pop() ID {
	id := q.entries[q.head].id
	q.head++
	switch {
	case q.head == len(q.entries):
		q.entries, q.head = q.entries[:0], 0
		if cap(q.entries) > keptCloses {
			q.entries = nil
		}
	case q.head >= keptCloses && q.head*2 >= len(q.entries):
		// Half of the memory is of the past.
		q.entries = append([]lingerer(nil), q.entries[q.head:]...)
		q.head = 0
	}
	return id
}
