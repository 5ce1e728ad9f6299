package netpolltest

import (
	"io"
	"net/netip"

	"github.com/roostws/roost/netpoll"
)

// fakeState is where a connection stands.
type fakeState uint8

const (
	// fakeOpening: attached, its OnOpen is still to come.
	fakeOpening fakeState = iota
	// fakeOpen: between OnOpen and the end.
	fakeOpen
	// fakeClosing: closed, aborted or lost; only OnClose follows.
	fakeClosing
	// fakeGone: OnClose has returned, another connection may have the slot.
	fakeGone
)

// PeerSees is how a connection has ended, as its peer sees it.
type PeerSees int

const (
	// PeerSeesOpen: it has not ended.
	PeerSeesOpen PeerSees = iota
	// PeerSeesEOF: a proper end, after all bytes that were written.
	PeerSeesEOF
	// PeerSeesReset: cut off; bytes on their way were lost.
	PeerSeesReset
)

// noLimit is the room of a connection whose peer reads everything at once.
const noLimit = -1

// fakeConn is one connection: both directions of its socket and what the
// engine knows of it. It outlives its slot, so that a test can look at what
// arrived.
type fakeConn struct {
	id    netpoll.ID
	tag   uint64
	fd    int
	addr  netip.AddrPort
	state fakeState

	// From the peer.
	input    []byte
	inputEOF bool
	reset    error
	paused   bool

	// To the peer.
	room       int    // what the kernel still takes; noLimit
	unread     []byte // in the send buffer
	received   []byte // read by the peer
	full       bool   // cut short: OnWritable is promised
	writeError error

	// The end.
	closeError error
	late       bool // OnClose was put off to the next turn
	ended      PeerSees
}

// ready reports whether the next turn has something to do with c.
func (c *fakeConn) ready() bool {
	if c.state != fakeOpen {
		return false
	}
	readable := !c.paused && (len(c.input) > 0 || c.inputEOF)
	return c.reset != nil || readable || c.full && c.hasRoom()
}

func (c *fakeConn) hasRoom() bool { return c.room == noLimit || c.room > 0 }

// Deliver makes p arrive from the peer. OnData follows in a turn, unless the
// connection is paused or has ended. Deliver copies p.
func (l *FakeLoop) Deliver(id netpoll.ID, p []byte) {
	if c := l.peer(id); c.state <= fakeOpen && !c.inputEOF && c.reset == nil {
		c.input = append(c.input, p...)
	}
}

// PeerClose ends the peer's sending direction: OnClose with io.EOF follows when
// what was delivered has been read.
func (l *FakeLoop) PeerClose(id netpoll.ID) { l.peer(id).inputEOF = true }

// PeerReset breaks the connection: what was delivered and not read is lost,
// the next write fails with err, and OnClose with err follows, also where the
// connection is paused.
func (l *FakeLoop) PeerReset(id netpoll.ID, err error) {
	c := l.peer(id)
	c.reset, c.input, c.unread = err, nil, nil
}

// FailNextWrite makes the next write fail with err, EPIPE for instance.
func (l *FakeLoop) FailNextWrite(id netpoll.ID, err error) { l.peer(id).writeError = err }

// SetRoom sets how many more bytes the kernel takes before the peer reads: 0
// stalls the connection, a negative number lifts the limit and hands the peer
// everything that waits.
func (l *FakeLoop) SetRoom(id netpoll.ID, bytes int) {
	c := l.peer(id)
	c.room = max(bytes, noLimit)
	if c.room == noLimit {
		c.received = append(c.received, c.unread...)
		c.unread = nil
	}
}

// Drain lets the peer read up to n bytes from the send buffer, which makes as
// much room, and returns how many there were. OnWritable follows in a turn,
// where it is promised. It works after the connection has closed, too.
func (l *FakeLoop) Drain(id netpoll.ID, n int) int {
	c := l.peer(id)
	n = min(n, len(c.unread))
	c.received = append(c.received, c.unread[:n]...)
	c.unread = append(c.unread[:0], c.unread[n:]...)
	if c.room != noLimit {
		c.room += n
	}
	return n
}

// Received returns all that the peer has read so far. The loop owns the slice.
func (l *FakeLoop) Received(id netpoll.ID) []byte { return l.peer(id).received }

// TakeReceived is Received, and forgets it, for runs that are long.
func (l *FakeLoop) TakeReceived(id netpoll.ID) []byte {
	c := l.peer(id)
	p := c.received
	c.received = nil
	return p
}

// Unread returns the number of bytes in the send buffer, which the peer has not read.
func (l *FakeLoop) Unread(id netpoll.ID) int { return len(l.peer(id).unread) }

// PeerSees returns how the connection has ended, as the peer sees it. An end
// by Close counts when the peer has read everything.
func (l *FakeLoop) PeerSees(id netpoll.ID) PeerSees {
	c := l.peer(id)
	if c.ended == PeerSeesEOF && len(c.unread) > 0 {
		return PeerSeesOpen
	}
	return c.ended
}

// Paused reports whether the handler has paused the connection.
func (l *FakeLoop) Paused(id netpoll.ID) bool { return l.peer(id).paused }

// Closed reports whether OnClose has returned.
func (l *FakeLoop) Closed(id netpoll.ID) bool { return l.peer(id).state == fakeGone }

// IDs returns the open connections, by slot.
func (l *FakeLoop) IDs() []netpoll.ID {
	var ids []netpoll.ID
	for _, c := range l.slots {
		if c != nil && c.state == fakeOpen {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// peer is the connection as the test names it.
func (l *FakeLoop) peer(id netpoll.ID) *fakeConn {
	c := l.conns[id]
	if c == nil {
		panic("netpolltest: no connection " + id.String())
	}
	return c
}

func (l *FakeLoop) newConn(tag uint64, fd int) *fakeConn {
	c := &fakeConn{state: fakeOpening, tag: tag, fd: fd, addr: fakeAddr(fd), room: l.opts.RoomBytes}
	if c.room == 0 {
		c.room = noLimit
	}
	var slot uint32
	if n := len(l.free); n > 0 {
		slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		slot = uint32(len(l.slots))
		l.slots = append(l.slots, nil)
		l.generations = append(l.generations, 0)
	}
	l.lastGeneration++
	l.generations[slot] = l.lastGeneration
	c.id = netpoll.MakeID(l.opts.Index, slot, l.generations[slot])
	l.slots[slot] = c
	l.conns[c.id] = c
	return c
}

// leave frees c's slot.
func (l *FakeLoop) leave(c *fakeConn) {
	c.state = fakeGone
	l.slots[c.id.Slot()] = nil
	l.free = append(l.free, c.id.Slot())
}

func (l *FakeLoop) open(c *fakeConn) {
	c.state = fakeOpen
	l.stats.Conns++
	l.callback(c, func() { l.handler.OnOpen(c.id, c.tag) })
}

func (l *FakeLoop) openAttached() {
	waiting := l.attached
	l.attached = nil
	for _, c := range waiting {
		l.stats.Attached++
		l.open(c)
	}
}

// visitOrder is the connections of this moment, in the order of this turn.
func (l *FakeLoop) visitOrder() []*fakeConn {
	var order []*fakeConn
	for _, c := range l.slots {
		if c != nil {
			order = append(order, c)
		}
	}
	if l.opts.Faults.Shuffle {
		l.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	return order
}

// visit handles what is ready on one connection, as one event of a poller.
// Callbacks may end the connection at any step.
func (l *FakeLoop) visit(c *fakeConn) {
	faults := &l.opts.Faults
	if c.state == fakeOpen && c.reset != nil {
		l.lose(c, c.reset)
		return
	}
	if c.state == fakeOpen && !c.paused && !l.chance(faults.LateData) {
		l.read(c)
	}
	if c.state != fakeOpen {
		return
	}
	promised := c.full && c.hasRoom() && !l.chance(faults.LateWritable)
	if promised || l.chance(faults.SpuriousWritable) {
		c.full = c.full && !promised
		l.callback(c, func() { l.handler.OnWritable(c.id) })
	}
}

func (l *FakeLoop) read(c *fakeConn) {
	if len(c.input) == 0 {
		if c.inputEOF {
			l.lose(c, io.EOF)
		}
		return
	}
	n := min(len(c.input), len(l.readBuffer))
	if l.chance(l.opts.Faults.SplitData) {
		n = 1 + l.rng.IntN(n)
	}
	p := l.readBuffer[:copy(l.readBuffer, c.input[:n])]
	c.input = append(c.input[:0], c.input[n:]...)
	l.stats.Reads++
	l.stats.BytesRead += uint64(n)
	l.callback(c, func() { l.handler.OnData(c.id, p) })
	for i := range p {
		p[i] = 0xDB // shows a handler that kept it
	}
}

// lose ends c from the engine's side: OnClose with err is owed.
func (l *FakeLoop) lose(c *fakeConn, err error) {
	if c.state != fakeOpen {
		return
	}
	c.state, c.closeError = fakeClosing, err
	c.input, c.full = nil, false
	c.ended = PeerSeesReset
	if err == io.EOF {
		c.ended = PeerSeesEOF
	}
	c.late = l.chance(l.opts.Faults.LateClose)
	l.owed = append(l.owed, c)
}

func (l *FakeLoop) abort(c *fakeConn) {
	switch c.state {
	case fakeOpen:
		l.lose(c, netpoll.ErrClosed)
		c.unread = nil
	case fakeClosing:
		c.ended, c.unread = PeerSeesReset, nil
	}
}

// payClosesOwed runs OnClose for all that are due, also for those that end
// while it does so.
func (l *FakeLoop) payClosesOwed() {
	var late []*fakeConn
	for len(l.owed) > 0 {
		c := l.owed[0]
		l.owed = l.owed[1:]
		if c.late {
			late = append(late, c)
			continue
		}
		l.callback(nil, func() { l.handler.OnClose(c.id, c.closeError) })
		l.leave(c)
		l.stats.Conns--
	}
	l.owed = late
}
