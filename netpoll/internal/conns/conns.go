//go:build linux || darwin || freebsd

package conns

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// An Owner is the part of a loop that differs between engines. Its methods are
// called on the loop's goroutine, none of them on the path of a message.
type Owner interface {
	// AwaitRoom is called after a short write, with WantsWrite set: the owner
	// must have OnWritable called when the socket has room.
	AwaitRoom(id netpoll.ID, s *Socket)
	// Linger is called after Close has ended the sending direction, with
	// Lingering set: the owner must go on reading, drop what it reads, and call
	// Lose at its end.
	Linger(id netpoll.ID, s *Socket)
	// Release is called when OnClose is over: the owner must stop watching the
	// descriptor and close it. The slot is free afterwards.
	Release(id netpoll.ID, s *Socket)
}

// Conns are the connections of one loop. An engine's loop embeds it, which gives
// it a part of the methods of [netpoll.Loop].
//
// Except where noted, all state is owned by the loop's goroutine.
type Conns struct {
	// Immutable after Init.
	Shared *Shared
	owner  Owner
	index  int

	Table
	// Handler is set once, by the loop, before any callback.
	Handler netpoll.Handler
	// Count are the loop's counters; Publish shows them.
	Count Counts
	// WakeAgain: OnWake asked for another call.
	WakeAgain bool
	// Ended: EndAll was called.
	Ended     bool
	vectors   sock.VectorSender
	attached  []attachment
	closes    []pendingClose
	lingerers lingerQueue

	// Woken is set from Wake until OnWake starts. Atomic: any goroutine.
	Woken     atomic.Bool
	published published
}

// Init makes the table of loop number index. The caller must Unmap it.
func (c *Conns) Init(shared *Shared, index int, owner Owner) error {
	c.Shared, c.index, c.owner = shared, index, owner
	return c.Table.init(shared.Config.MaxConns)
}

// Index is part of [netpoll.Loop].
func (c *Conns) Index() int { return c.index }

// Add gives a descriptor a slot and counts it as a connection. The caller has
// reserved a place for it, and calls OnOpen.
func (c *Conns) Add(fd int, flags Flags) (netpoll.ID, *Socket) {
	slot, s := c.take(fd)
	s.Flags = flags
	c.Count.Conns++
	return netpoll.MakeID(c.index, slot, s.Generation), s
}

// Renew gives a connection that waits for nothing another generation. It returns its
// socket, nil if it must keep its ID.
func (c *Conns) Renew(id netpoll.ID) (renewed netpoll.ID, s *Socket) {
	s = c.Live(id)
	if s == nil || s.Flags&(WantsWrite|Connecting) != 0 {
		return 0, nil
	}
	s.Generation = c.nextGeneration()
	return netpoll.MakeID(c.index, id.Slot(), s.Generation), s
}

// Live returns the socket of a connection that is open, nil for any other.
func (c *Conns) Live(id netpoll.ID) *Socket {
	s := c.Get(id)
	if s == nil || s.Flags&(Dead|Lingering) != 0 || id.Loop() != c.index {
		return nil
	}
	return s
}

// known returns the socket of a connection whose OnClose is not over, nil for
// any other.
func (c *Conns) known(id netpoll.ID) *Socket {
	s := c.Get(id)
	if s == nil || s.Flags&notified != 0 || id.Loop() != c.index {
		return nil
	}
	return s
}

// FD is part of [netpoll.Loop].
func (c *Conns) FD(id netpoll.ID) int {
	if s := c.known(id); s != nil {
		return int(s.FD)
	}
	return -1
}

// RemoteAddr is part of [netpoll.Loop].
func (c *Conns) RemoteAddr(id netpoll.ID) netip.AddrPort {
	if s := c.known(id); s != nil {
		return sock.Peer(int(s.FD))
	}
	return netip.AddrPort{}
}

// An attachment is a socket between Attach and OnOpen.
type attachment struct {
	fd  int
	tag uint64
}

// Attach is part of [netpoll.Loop].
func (c *Conns) Attach(fd int, tag uint64) error {
	if tag < netpoll.AttachTag {
		return fmt.Errorf("netpoll: attach with tag %d, must be at least %d", tag, uint64(netpoll.AttachTag))
	}
	if c.Ended || c.Shared.Stopping() {
		return netpoll.ErrEngineClosed
	}
	if !sock.IsStream(fd) {
		return fmt.Errorf("netpoll: attach descriptor %d: not a stream socket", fd)
	}
	if !c.Shared.Reserve() {
		return netpoll.ErrTooManyConns
	}
	c.attached = append(c.attached, attachment{fd, tag})
	return nil
}

// OpenAttached calls open for each socket that Attach took, with its options
// set. What open attaches waits for the next call.
func (c *Conns) OpenAttached(open func(fd int, tag uint64)) {
	if len(c.attached) == 0 {
		return
	}
	attached := c.attached
	c.attached = nil
	for _, a := range attached {
		c.Count.Attached++
		sock.PrepareAttached(a.fd, &c.Shared.Config)
		open(a.fd, a.tag)
	}
}

// Unsettled reports whether attached sockets wait for OnOpen, or connections for
// OnClose.
func (c *Conns) Unsettled() bool { return len(c.attached)+len(c.closes) > 0 }

// EndAll ends every connection with ErrEngineClosed and calls OnClose for each.
// Later calls do nothing. The table stays mapped.
func (c *Conns) EndAll() {
	if c.Ended {
		return
	}
	c.Ended = true
	for _, a := range c.attached {
		_ = unix.Close(a.fd)
		c.Shared.Unreserve()
	}
	c.attached = nil
	for slot := uint32(0); slot < c.used; slot++ {
		s := &c.rows.Rows[slot]
		if s.Generation != 0 {
			c.Lose(netpoll.MakeID(c.index, slot, s.Generation), s, netpoll.ErrEngineClosed)
		}
	}
	c.DeliverCloses()
	c.Publish()
}
