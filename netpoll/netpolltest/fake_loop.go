package netpolltest

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/roostws/roost/netpoll"
)

// Index implements netpoll.Loop. Any goroutine.
func (l *FakeLoop) Index() int { return l.opts.Index }

// Wake implements netpoll.Loop: OnWake runs in the next turn. Any goroutine.
func (l *FakeLoop) Wake() { l.awake.Store(true) }

// Write implements netpoll.Loop.
func (l *FakeLoop) Write(id netpoll.ID, p []byte) (int, error) {
	return l.Writev(id, [][]byte{p})
}

// WriteBatch implements netpoll.Loop: one write after the other.
func (l *FakeLoop) WriteBatch(batch []netpoll.Outgoing) {
	for i := range batch {
		o := &batch[i]
		o.N, o.Err = l.Write(o.ID, o.P)
	}
}

// Writev implements netpoll.Loop.
func (l *FakeLoop) Writev(id netpoll.ID, bufs [][]byte) (int, error) {
	c := l.lookup(id, "Write")
	if c == nil || c.state != fakeOpen {
		return 0, netpoll.ErrClosed
	}
	if err := c.takeWriteError(); err != nil {
		l.lose(c, err)
		return 0, err
	}
	given := 0
	for _, p := range bufs {
		given += len(p)
	}
	if given == 0 {
		return 0, nil
	}
	if c.full {
		l.violate(WriteWhileFull, id, fmt.Sprintf("%d bytes", given))
	}
	taken := l.taken(c, given)
	l.deliver(c, bufs, taken)
	if taken < given {
		c.full = true
		l.stats.ShortWrites++
	}
	if taken > 0 {
		l.stats.Writes++
		l.stats.BytesWritten += uint64(taken)
	}
	return taken, nil
}

// takeWriteError is the error that the kernel has for the next write.
func (c *fakeConn) takeWriteError() error {
	if c.reset != nil {
		return c.reset
	}
	err := c.writeError
	c.writeError = nil
	return err
}

// taken is how many of the given bytes the kernel takes.
func (l *FakeLoop) taken(c *fakeConn, given int) int {
	taken := given
	if c.room != noLimit {
		taken = min(taken, c.room)
	}
	if taken > 0 && l.chance(l.opts.Faults.ShortWrite) {
		taken = l.rng.IntN(taken)
	}
	return taken
}

// deliver moves the first n bytes of bufs towards the peer.
func (l *FakeLoop) deliver(c *fakeConn, bufs [][]byte, n int) {
	to := &c.received
	if c.room != noLimit {
		to = &c.unread
		c.room -= n
	}
	for _, p := range bufs {
		p = p[:min(len(p), n)]
		n -= len(p)
		*to = append(*to, p...)
	}
}

// PauseRead implements netpoll.Loop.
func (l *FakeLoop) PauseRead(id netpoll.ID) {
	if c := l.lookup(id, "PauseRead"); c != nil {
		c.paused = true
	}
}

// ResumeRead implements netpoll.Loop.
func (l *FakeLoop) ResumeRead(id netpoll.ID) {
	if c := l.lookup(id, "ResumeRead"); c != nil {
		c.paused = false
	}
}

// Close implements netpoll.Loop. The peer sees the end after all bytes; the
// fake does not wait for the peer's own end.
func (l *FakeLoop) Close(id netpoll.ID) {
	if c := l.lookup(id, "Close"); c != nil && c.state == fakeOpen {
		l.lose(c, netpoll.ErrClosed)
		c.ended = PeerSeesEOF
	}
}

// Abort implements netpoll.Loop. What the peer has not read is lost.
func (l *FakeLoop) Abort(id netpoll.ID) {
	if c := l.lookup(id, "Abort"); c != nil {
		l.abort(c)
	}
}

// Renew implements netpoll.Loop. The methods of the peer take the old ID as well.
func (l *FakeLoop) Renew(id netpoll.ID) netpoll.ID {
	c := l.lookup(id, "Renew")
	if c == nil || c.state != fakeOpen || c.full {
		return 0
	}
	l.lastGeneration++
	l.generations[id.Slot()] = l.lastGeneration
	c.id = netpoll.MakeID(l.opts.Index, id.Slot(), l.generations[id.Slot()])
	l.conns[c.id] = c
	return c.id
}

// RemoteAddr implements netpoll.Loop with a made-up address.
func (l *FakeLoop) RemoteAddr(id netpoll.ID) netip.AddrPort {
	if c := l.lookup(id, "RemoteAddr"); c != nil {
		return c.addr
	}
	return netip.AddrPort{}
}

// FD implements netpoll.Loop with a number that is no descriptor.
func (l *FakeLoop) FD(id netpoll.ID) int {
	if c := l.lookup(id, "FD"); c != nil {
		return c.fd
	}
	return -1
}

// Attach implements netpoll.Loop: OnOpen follows in the next turn. fd may be any
// number, for the fake uses no descriptor.
func (l *FakeLoop) Attach(fd int, tag uint64) error {
	if tag < netpoll.AttachTag {
		l.violate(BadTag, 0, fmt.Sprintf("tag %d", tag))
		return errors.New("netpolltest: tag below AttachTag")
	}
	if l.stopped {
		return netpoll.ErrEngineClosed
	}
	if l.refused() {
		return netpoll.ErrTooManyConns
	}
	l.attached = append(l.attached, l.newConn(tag, fd))
	return nil
}

// lookup is the connection that a handler named, nil if the ID is stale.
func (l *FakeLoop) lookup(id netpoll.ID, method string) *fakeConn {
	if slot := int(id.Slot()); slot < len(l.slots) && id.Loop() == l.opts.Index {
		if c := l.slots[slot]; c != nil && c.id == id {
			return c
		}
		if g := id.Generation(); g > 0 && g <= l.generations[slot] {
			l.violate(StaleID, id, method)
			return nil
		}
	}
	l.violate(UnknownID, id, method)
	return nil
}
