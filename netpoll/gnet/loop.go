//go:build linux || darwin || freebsd

package gnet

import (
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/conns"
)

// A loop is one of gnet's event loops. gnet's connection of a socket carries a
// pointer into the table of sockets as its context, which costs no allocation,
// and the flags there carry the number of the loop.
//
// Except where noted, all state is owned by the loop's goroutine.
type loop struct {
	conns.Conns

	// Immutable after installBell.
	engine     *engine
	newHandler func(l netpoll.Loop) netpoll.Handler
	eventLoop  gnet.EventLoop
	bell       gnet.Conn

	// Owned by the loop's goroutine.
	gnetConns []gnet.Conn        // by slot; nil while gnet does not have the socket
	joining   map[uint32]*joiner // by slot: attached sockets on their way into gnet
	held      map[uint32][]byte  // by slot: input of paused connections
	resumed   []netpoll.ID
	// current is the connection whose event is being handled; closeCurrent asks
	// for its end afterwards, for gnet still uses it.
	current      gnet.Conn
	closeCurrent bool

	// Atomic: any goroutine.
	tickDue atomic.Bool
	rung    atomic.Bool // the bell was rung, its event did not come yet

	// Guarded by mu.
	mu         sync.Mutex
	bellWriter int // -1 after the end: another file may have its number
	posts      []post
}

var _ netpoll.Loop = (*loop)(nil)

// A post is what another goroutine reports to the loop about a connection.
type post struct {
	id     netpoll.ID
	hangup bool
	err    error // why a join failed; nil: there is room to write
}

// departed: the peer of a paused connection has closed, and gnet has let it go.
const departed = conns.EngineFlags

// loopShift is where the number of the loop begins in a socket's flags.
const loopShift = 24

func newLoop(e *engine, index int) (*loop, error) {
	l := &loop{
		engine: e, bellWriter: -1,
		joining: make(map[uint32]*joiner), held: make(map[uint32][]byte),
	}
	return l, l.Init(e.Shared, index, l)
}

// free gives back what does not belong to the goroutine, after its end.
func (l *loop) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bellWriter >= 0 {
		_ = unix.Close(l.bellWriter)
		l.bellWriter = -1
	}
	l.Unmap()
}

// flags are the flags of a new socket.
func (l *loop) flags() conns.Flags { return conns.Flags(l.Index()) << loopShift }

// idOf returns the ID of a socket in the table.
func (l *loop) idOf(s *conns.Socket) netpoll.ID {
	return netpoll.MakeID(l.Index(), l.SlotOf(s), s.Generation)
}

// Wake is part of [netpoll.Loop].
func (l *loop) Wake() {
	if l.Woken.Load() || l.Woken.Swap(true) {
		return // OnWake is due already
	}
	l.ring()
}

// ring makes an event of the bell come. Any goroutine, at any time. The caller
// has noted before what it rings for; the loop clears the flag before it looks.
func (l *loop) ring() {
	if l.rung.Load() || l.rung.Swap(true) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bellWriter >= 0 {
		_, _ = unix.Write(l.bellWriter, oneRing) // there is room for one byte
	}
}

// oneRing is what a bell carries; a literal would be allocated for each Wake.
var oneRing = []byte{1}

// post leaves a report for the loop. Any goroutine.
func (l *loop) post(p post) {
	l.mu.Lock()
	l.posts = append(l.posts, p)
	l.mu.Unlock()
	l.ring()
}

// Renew is part of [netpoll.Loop].
func (l *loop) Renew(id netpoll.ID) netpoll.ID {
	if l.joining[id.Slot()] != nil {
		return 0
	}
	renewed, s := l.Conns.Renew(id)
	if s == nil {
		return 0
	}
	for i := range l.resumed {
		if l.resumed[i] == id {
			l.resumed[i] = renewed
		}
	}
	return renewed
}

// AwaitRoom is part of [conns.Owner].
func (l *loop) AwaitRoom(id netpoll.ID, s *conns.Socket) {
	if err := l.engine.waiter.await(int(s.FD), id); err != nil {
		l.Lose(id, s, err)
	}
}

// Linger is part of [conns.Owner]. gnet goes on reading, and read drops it.
func (l *loop) Linger(id netpoll.ID, s *conns.Socket) {
	delete(l.held, id.Slot())
	if s.Flags&departed != 0 {
		l.Lose(id, s, netpoll.ErrClosed)
	}
}

// Release is part of [conns.Owner].
func (l *loop) Release(id netpoll.ID, s *conns.Socket) {
	slot := id.Slot()
	if j := l.joining[slot]; j != nil {
		delete(l.joining, slot)
		l.engine.waiter.forget(int(s.FD))
		_ = j.file.Close()
	}
	delete(l.held, slot)
	c := l.connOf(slot)
	if c == nil && s.Flags&departed == 0 {
		return
	}
	if s.Flags&conns.WantsWrite != 0 {
		l.engine.waiter.forget(int(s.FD))
	}
	if c == nil {
		_ = unix.Close(int(s.FD))
		return
	}
	l.gnetConns[slot] = nil
	c.SetContext(nil) // gnet's OnClose has nothing to report any more
	if c == l.current {
		l.closeCurrent = true
	} else {
		_ = l.eventLoop.Close(c)
	}
}

// connOf returns gnet's connection in a slot, nil if there is none.
func (l *loop) connOf(slot uint32) gnet.Conn {
	if int(slot) < len(l.gnetConns) {
		return l.gnetConns[slot]
	}
	return nil
}

// setConn notes that gnet has a socket.
func (l *loop) setConn(slot uint32, s *conns.Socket, c gnet.Conn) {
	for int(slot) >= len(l.gnetConns) {
		l.gnetConns = append(l.gnetConns, nil)
	}
	l.gnetConns[slot] = c
	s.FD = int32(c.Fd())
	c.SetContext(s)
}

// PauseRead is part of [netpoll.Loop].
func (l *loop) PauseRead(id netpoll.ID) {
	if s := l.Live(id); s != nil {
		s.Flags |= conns.Paused
	}
}

// ResumeRead is part of [netpoll.Loop].
func (l *loop) ResumeRead(id netpoll.ID) {
	if s := l.Live(id); s != nil && s.Flags&conns.Paused != 0 {
		s.Flags &^= conns.Paused
		if s.Flags&departed != 0 || len(l.held[id.Slot()]) > 0 {
			l.resumed = append(l.resumed, id)
		}
	}
}

// hold keeps what a paused connection has received.
func (l *loop) hold(id netpoll.ID, s *conns.Socket, p []byte) {
	held := l.held[id.Slot()]
	if len(held)+len(p) > l.Shared.Config.PausedReadMaxBytes {
		l.Lose(id, s, netpoll.ErrPausedReadFull)
		return
	}
	l.held[id.Slot()] = append(held, p...)
}

// unhold gives the handler what was held, until it pauses again, and then the
// end of a departed connection.
func (l *loop) unhold(id netpoll.ID) {
	for {
		s, held := l.Live(id), l.held[id.Slot()]
		if s == nil || s.Flags&conns.Paused != 0 {
			return
		}
		if len(held) == 0 {
			if s.Flags&departed != 0 {
				l.Lose(id, s, io.EOF)
			}
			return
		}
		n := min(len(held), l.Shared.Config.ReadBufferBytes)
		if n == len(held) {
			delete(l.held, id.Slot())
		} else {
			l.held[id.Slot()] = held[n:]
		}
		l.CallData(id, held[:n:n])
	}
}

// openAttached opens a socket that Attach took, and sends it into gnet if it is
// connected.
func (l *loop) openAttached(fd int, tag uint64) {
	id, s := l.Add(fd, l.flags()|conns.Connecting)
	j := &joiner{loop: l, id: id, file: os.NewFile(uintptr(fd), "attached")}
	l.joining[id.Slot()] = j
	l.CallOpen(id, tag)
	if s.Flags&conns.Dead != 0 {
		return
	}
	if _, err := unix.Getpeername(fd); err == nil {
		l.join(j)
	} else {
		l.AwaitRoom(id, s)
	}
}
