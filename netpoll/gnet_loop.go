//go:build linux || darwin || freebsd

package netpoll

import (
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// A gnetLoop is one of gnet's event loops. Its sockets lie in the same table as
// those of the other engines; gnet's connection of a socket carries a pointer
// into that table as its context, which costs no allocation, and the table's
// flags carry the number of the loop.
//
// Except where noted, all state is owned by the loop's goroutine.
type gnetLoop struct {
	// Immutable after installBell.
	engine     *gnetEngine
	index      int
	newHandler func(l Loop) Handler
	eventLoop  gnet.EventLoop

	// Owned by the loop's goroutine.
	handler   Handler
	table     *socketTable
	conns     []gnet.Conn        // by slot; nil while gnet does not have the socket
	joining   map[uint32]*joiner // by slot: attached sockets on their way into gnet
	held      map[uint32][]byte  // by slot: input of paused connections
	vectors   vectorSender
	attached  []attachment
	resumed   []ID
	closes    []pendingClose
	lingerers lingerQueue
	wakeAgain bool
	ended     bool
	counts    counts
	// current is the connection whose event is being handled; closeCurrent asks
	// for its end afterwards, for gnet still uses it.
	current      gnet.Conn
	closeCurrent bool

	// Atomic: any goroutine.
	woken     atomic.Bool // Wake was called, OnWake did not start yet
	tickDue   atomic.Bool
	rung      atomic.Bool // the bell was rung, its event did not come yet
	published publishedCounts

	// Guarded by mu.
	mu         sync.Mutex
	bellWriter int // -1 after the end: its number may be somebody else's
	posts      []post
}

// A post is what other goroutines have to tell the loop about a connection.
type post struct {
	id     ID
	hangup bool
	err    error // why a join failed; nil: there is room to write
}

const (
	// joiningFlag: gnet does not have the socket yet.
	joiningFlag socketFlags = 1 << 16
	// gnetLoopShift is where the number of the loop begins.
	gnetLoopShift = 24
)

func newGnetLoop(e *gnetEngine, index int) (*gnetLoop, error) {
	table, err := newSocketTable(e.cfg.MaxConns)
	if err != nil {
		return nil, err
	}
	return &gnetLoop{
		engine: e, index: index, table: table, bellWriter: -1,
		joining: make(map[uint32]*joiner), held: make(map[uint32][]byte),
	}, nil
}

// free gives back what does not belong to the goroutine, after its end.
func (l *gnetLoop) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bellWriter >= 0 {
		_ = unix.Close(l.bellWriter)
		l.bellWriter = -1
	}
	l.table.unmap()
}

// Index is part of [Loop].
func (l *gnetLoop) Index() int { return l.index }

// Wake is part of [Loop].
func (l *gnetLoop) Wake() {
	if l.woken.Load() || l.woken.Swap(true) {
		return // OnWake is due already
	}
	l.ring()
}

// ring makes an event of the bell come. Any goroutine, at any time. Whoever
// rings has said before what for; the loop clears the flag before it looks.
func (l *gnetLoop) ring() {
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

// post leaves a message for the loop. Any goroutine.
func (l *gnetLoop) post(p post) {
	l.mu.Lock()
	l.posts = append(l.posts, p)
	l.mu.Unlock()
	l.ring()
}

func (l *gnetLoop) postWritable(id ID, hangup bool) { l.post(post{id: id, hangup: hangup}) }

// live finds the socket of a connection that is open, nil for any other.
func (l *gnetLoop) live(id ID) *socket {
	s := l.table.get(id)
	if s == nil || s.flags&(dead|lingering) != 0 || id.Loop() != l.index {
		return nil
	}
	return s
}

// known finds the socket of a connection whose OnClose is not over.
func (l *gnetLoop) known(id ID) *socket {
	s := l.table.get(id)
	if s == nil || s.flags&notified != 0 || id.Loop() != l.index {
		return nil
	}
	return s
}

// Write is part of [Loop].
func (l *gnetLoop) Write(id ID, p []byte) (int, error) {
	s := l.live(id)
	if s == nil {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := sendSocket(s.fd, p)
	for errno == unix.EINTR {
		n, errno = sendSocket(s.fd, p)
	}
	return l.wrote(id, s, n, len(p), errno)
}

// WriteBatch is part of [Loop].
func (l *gnetLoop) WriteBatch(batch []Outgoing) {
	for i := range batch {
		o := &batch[i]
		o.N, o.Err = l.Write(o.ID, o.P)
	}
}

// Writev is part of [Loop].
func (l *gnetLoop) Writev(id ID, bufs [][]byte) (int, error) {
	s := l.live(id)
	if s == nil {
		return 0, ErrClosed
	}
	written := 0
	for len(bufs) > 0 {
		some := bufs[:min(len(bufs), maxVectors)]
		bufs = bufs[len(some):]
		size := 0
		for _, b := range some {
			size += len(b)
		}
		if size == 0 {
			continue
		}
		n, errno := l.vectors.send(s.fd, some)
		for errno == unix.EINTR {
			n, errno = l.vectors.send(s.fd, some)
		}
		n, err := l.wrote(id, s, n, size, errno)
		written += n
		if err != nil || n < size {
			return written, err
		}
	}
	return written, nil
}

// wrote accounts for one system call that was given size bytes.
func (l *gnetLoop) wrote(id ID, s *socket, n, size int, errno unix.Errno) (int, error) {
	if errno != 0 && errno != unix.EAGAIN && !(s.flags&joiningFlag != 0 && errno == unix.ENOTCONN) {
		err := os.NewSyscallError("write", errno)
		l.lose(id, s, err)
		return 0, err
	}
	if errno != 0 {
		n = 0
	} else {
		l.counts.writes++
		l.counts.bytesWritten += uint64(n)
	}
	if n < size {
		l.counts.shortWrites++
		if err := l.awaitRoom(id, s); err != nil {
			l.lose(id, s, err)
			return n, err
		}
	}
	return n, nil
}

// awaitRoom promises an OnWritable.
func (l *gnetLoop) awaitRoom(id ID, s *socket) error {
	if s.flags&wantsWrite != 0 {
		return nil
	}
	s.flags |= wantsWrite
	return l.engine.waiter.await(int(s.fd), id)
}

// PauseRead is part of [Loop].
func (l *gnetLoop) PauseRead(id ID) {
	if s := l.live(id); s != nil {
		s.flags |= paused
	}
}

// ResumeRead is part of [Loop].
func (l *gnetLoop) ResumeRead(id ID) {
	if s := l.live(id); s != nil && s.flags&paused != 0 {
		s.flags &^= paused
		if len(l.held[id.Slot()]) > 0 {
			l.resumed = append(l.resumed, id)
		}
	}
}

// hold keeps what a paused connection has received.
func (l *gnetLoop) hold(id ID, s *socket, p []byte) {
	held := l.held[id.Slot()]
	if len(held)+len(p) > l.engine.cfg.PausedReadMaxBytes {
		l.lose(id, s, ErrPausedReadFull)
		return
	}
	l.held[id.Slot()] = append(held, p...)
}

// release gives the handler what was held, as long as it wants it.
func (l *gnetLoop) release(id ID) {
	for {
		s, held := l.live(id), l.held[id.Slot()]
		if s == nil || s.flags&paused != 0 || len(held) == 0 {
			return
		}
		n := min(len(held), l.engine.cfg.ReadBufferBytes)
		if n == len(held) {
			delete(l.held, id.Slot())
		} else {
			l.held[id.Slot()] = held[n:]
		}
		l.onData(id, held[:n:n])
	}
}

// Close is part of [Loop].
func (l *gnetLoop) Close(id ID) {
	s := l.live(id)
	if s == nil {
		return
	}
	if err := unix.Shutdown(int(s.fd), unix.SHUT_WR); err != nil {
		l.lose(id, s, ErrClosed) // nobody is there any more, or not yet
		return
	}
	s.flags |= lingering
	delete(l.held, id.Slot())
	l.closes = append(l.closes, pendingClose{id, ErrClosed})
}

// Abort is part of [Loop].
func (l *gnetLoop) Abort(id ID) {
	if s := l.known(id); s != nil {
		l.lose(id, s, ErrClosed)
	}
}

// lose ends a connection that has no more to give or take.
func (l *gnetLoop) lose(id ID, s *socket, err error) {
	switch {
	case s.flags&dead != 0:
	case s.flags&notified != 0:
		l.letGo(id, s)
	case s.flags&lingering != 0: // its OnClose is due already
		s.flags |= dead
	default:
		s.flags |= dead
		l.closes = append(l.closes, pendingClose{id, err})
	}
}

// deliverCloses calls OnClose where it is due, also for what ends meanwhile.
func (l *gnetLoop) deliverCloses() {
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
func (l *gnetLoop) letGo(id ID, s *socket) {
	slot := id.Slot()
	if s.flags&waited != 0 {
		l.counts.lingering--
	}
	if j := l.joining[slot]; j != nil {
		delete(l.joining, slot)
		l.engine.waiter.forget(int(s.fd))
		_ = j.file.Close()
	}
	delete(l.held, slot)
	if c := l.connOf(slot); c != nil {
		l.conns[slot] = nil
		c.SetContext(nil) // gnet's OnClose has nothing to tell any more
		if s.flags&wantsWrite != 0 {
			l.engine.waiter.forget(int(s.fd))
		}
		if c == l.current {
			l.closeCurrent = true
		} else {
			_ = l.eventLoop.Close(c)
		}
	}
	l.table.release(slot)
	l.engine.slots.Add(-1)
}

// connOf is gnet's connection in a slot, nil if there is none.
func (l *gnetLoop) connOf(slot uint32) gnet.Conn {
	if int(slot) < len(l.conns) {
		return l.conns[slot]
	}
	return nil
}

// setConn notes that gnet has a socket.
func (l *gnetLoop) setConn(slot uint32, s *socket, c gnet.Conn) {
	for int(slot) >= len(l.conns) {
		l.conns = append(l.conns, nil)
	}
	l.conns[slot] = c
	s.fd = int32(c.Fd())
	c.SetContext(s)
}

// expireLingerers gives up on peers that did not close in time.
func (l *gnetLoop) expireLingerers() {
	now := l.engine.now()
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

// RemoteAddr is part of [Loop].
func (l *gnetLoop) RemoteAddr(id ID) netip.AddrPort {
	s := l.known(id)
	if s == nil || s.fd < 0 {
		return netip.AddrPort{}
	}
	sa, err := unix.Getpeername(int(s.fd))
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// FD is part of [Loop].
func (l *gnetLoop) FD(id ID) int {
	if s := l.known(id); s != nil {
		return int(s.fd)
	}
	return -1
}

// Attach is part of [Loop].
func (l *gnetLoop) Attach(fd int, tag uint64) error {
	if tag < AttachTag {
		return fmt.Errorf("netpoll: attach with tag %d, must be at least %d", tag, uint64(AttachTag))
	}
	if l.ended || l.engine.stopping.Load() {
		return ErrEngineClosed
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return fmt.Errorf("netpoll: attach descriptor %d: not a stream socket", fd)
	}
	if !l.engine.reserve() {
		return ErrTooManyConns
	}
	l.attached = append(l.attached, attachment{fd, tag})
	return nil
}

// The callbacks: each recovers its own panic, for gnet would let the process die.

func (l *gnetLoop) onOpen(id ID, tag uint64) {
	defer l.recovered(id)
	l.handler.OnOpen(id, tag)
}

func (l *gnetLoop) onData(id ID, p []byte) {
	defer l.recovered(id)
	l.handler.OnData(id, p)
}

func (l *gnetLoop) onWritable(id ID) {
	defer l.recovered(id)
	l.handler.OnWritable(id)
}

func (l *gnetLoop) onClose(id ID, err error) {
	defer l.recovered(id)
	l.handler.OnClose(id, err)
}

func (l *gnetLoop) onTick() {
	defer l.recovered(0)
	l.handler.OnTick()
}

func (l *gnetLoop) onWake() {
	l.wakeAgain = false
	l.woken.Store(false)
	l.counts.wakes++
	defer l.recovered(0)
	l.wakeAgain = l.handler.OnWake()
}

// recovered must be deferred. It aborts the connection whose callback panicked.
func (l *gnetLoop) recovered(id ID) {
	value := recover()
	if value == nil {
		return
	}
	l.counts.handlerPanics++
	if s := l.table.get(id); s != nil && s.flags&(dead|notified) == 0 {
		l.Abort(id)
	}
	if l.engine.cfg.OnPanic != nil {
		l.engine.cfg.OnPanic(l.index, id, value, debug.Stack())
	}
}
