//go:build linux || darwin || freebsd

package netpoll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// gnetEvents are gnet's callbacks. What a connection is, its context tells:
//
//	*bell      the bell of a loop
//	*newcomer  from an acceptor, before its OnOpen
//	*joiner    from Attach, before gnet's OnOpen
//	*socket    a connection, by its place in the loop's table
//	nil        let go by us, on its way out of gnet
//
// Each callback ends with settle: no Loop method calls back.
type gnetEvents struct {
	gnet.BuiltinEventEngine
	engine *gnetEngine
}

// A bell is the connection that wakes a loop.
type bell struct{ loop *gnetLoop }

// loopOf finds the loop of a connection.
func (h *gnetEvents) loopOf(c gnet.Conn) *gnetLoop {
	for _, l := range h.engine.loops {
		if l.eventLoop == c.EventLoop() {
			return l
		}
	}
	return nil
}

// OnOpen is part of gnet.EventHandler.
func (h *gnetEvents) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	switch context := c.Context().(type) {
	case *bell:
		context.loop.begin(c)
	case *newcomer:
		context.opened.Store(true)
		l := h.loopOf(c)
		l.current = c
		l.openAccepted(c, context.tag)
		return nil, l.settle()
	case *joiner:
		l := context.loop
		l.current = c
		l.joined(c, context)
		return nil, l.settle()
	}
	return nil, gnet.None
}

// OnTraffic is part of gnet.EventHandler.
func (h *gnetEvents) OnTraffic(c gnet.Conn) gnet.Action {
	// All of it: gnet would keep a copy of the rest.
	p, _ := c.Next(-1)
	switch context := c.Context().(type) {
	case *bell:
		l := context.loop
		l.current = c
		l.turn()
		return l.settle()
	case *socket:
		l := h.engine.loops[context.flags>>gnetLoopShift]
		l.current = c
		l.read(context, p)
		return l.settle()
	}
	return gnet.None
}

// OnClose is part of gnet.EventHandler: gnet closes a connection, by itself or
// because we have let it go.
func (h *gnetEvents) OnClose(c gnet.Conn, err error) gnet.Action {
	switch context := c.Context().(type) {
	case *bell:
		l := context.loop
		if !l.ended {
			// All of a loop's connections are closed when gnet ends it.
			l.current = nil
			l.end()
			h.engine.fail(errGnetLoopEnded)
		}
	case *socket:
		l := h.engine.loops[context.flags>>gnetLoopShift]
		id := l.idOf(context)
		l.conns[id.Slot()] = nil
		l.lose(id, context, endOf(err))
		l.current = nil
		l.settle()
	}
	return gnet.None
}

// endOf is the reason for OnClose, from what gnet says.
func endOf(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil: // gnet has ended the loop
		return ErrEngineClosed
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &errno):
		return os.NewSyscallError("read", errno)
	}
	return err
}

// idOf is the ID of a socket in the table.
func (l *gnetLoop) idOf(s *socket) ID {
	offset := uintptr(unsafe.Pointer(s)) - uintptr(unsafe.Pointer(unsafe.SliceData(l.table.sockets)))
	return MakeID(l.index, uint32(offset/unsafe.Sizeof(socket{})), s.generation)
}

// installBell gives the loop its bell, and with it its handler. gnet hands a
// connection to the loop that has the fewest, so each bell gets a loop of its
// own.
func (l *gnetLoop) installBell() error {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	l.bellWriter = fds[1]
	if err := unix.SetNonblock(l.bellWriter, true); err != nil {
		_ = unix.Close(fds[0])
		return os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fds[0]), "bell")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return err
	}
	if _, err := l.engine.client.EnrollContext(conn, &bell{l}); err != nil {
		return err
	}
	if l.handler == nil {
		return errors.New("the handler was not made")
	}
	return nil
}

// begin is the first thing that happens on the loop's goroutine.
func (l *gnetLoop) begin(c gnet.Conn) {
	l.engine.ending.Add(1)
	l.eventLoop = c.EventLoop()
	l.handler = l.newHandler(l)
}

// turn does what the bell was rung for.
func (l *gnetLoop) turn() {
	l.rung.Store(false)
	if !l.engine.ready.Load() && !l.engine.stopping.Load() {
		return // no event before all have a handler
	}
	l.mu.Lock()
	posts := l.posts
	l.posts = nil
	l.mu.Unlock()
	for _, p := range posts {
		l.receive(p)
	}
	l.expireLingerers()
	if l.tickDue.Swap(false) {
		l.onTick()
	}
	if l.wakeAgain || l.woken.Load() {
		l.onWake()
		if l.wakeAgain {
			l.ring() // behind the sockets that are ready by now
		}
	}
	if l.engine.stopping.Load() {
		l.end()
	}
}

// receive reacts to a post.
func (l *gnetLoop) receive(p post) {
	s := l.live(p.id)
	switch {
	case s == nil:
	case p.err != nil:
		l.lose(p.id, s, p.err)
	case s.flags&joiningFlag != 0:
		l.connected(p.id, s)
	case p.hangup:
		// gnet reports that, too, with the reason.
	case s.flags&wantsWrite != 0:
		s.flags &^= wantsWrite
		l.onWritable(p.id)
	}
}

// openAccepted makes a newcomer a connection.
func (l *gnetLoop) openAccepted(c gnet.Conn, tag uint64) {
	slot, s := l.table.take(c.Fd())
	s.flags = socketFlags(l.index) << gnetLoopShift
	l.setConn(slot, s, c)
	prepareAccepted(c.Fd(), &l.engine.cfg)
	l.counts.accepted++
	l.counts.conns++
	l.onOpen(MakeID(l.index, slot, s.generation), tag)
}

// read handles what gnet has read.
func (l *gnetLoop) read(s *socket, p []byte) {
	if s.flags&(dead|lingering) != 0 || len(p) == 0 {
		return // dropped
	}
	l.counts.reads++
	l.counts.bytesRead += uint64(len(p))
	id := l.idOf(s)
	if s.flags&paused != 0 || len(l.held[id.Slot()]) > 0 {
		l.hold(id, s, p)
		return
	}
	l.onData(id, p)
}

// settle does what callbacks have left to do, until nothing is left, and tells
// gnet what is to become of the current connection.
func (l *gnetLoop) settle() gnet.Action {
	for !l.ended && len(l.attached)+len(l.resumed)+len(l.closes) > 0 {
		l.openAttached()
		resumed := l.resumed
		l.resumed = nil
		for _, id := range resumed {
			l.release(id)
		}
		l.deliverCloses()
	}
	l.published.show(&l.counts)
	l.current = nil
	if l.closeCurrent {
		l.closeCurrent = false
		return gnet.Close
	}
	return gnet.None
}

// end closes everything but the bell.
func (l *gnetLoop) end() {
	if l.ended {
		return
	}
	l.ended = true
	for _, a := range l.attached {
		_ = unix.Close(a.fd)
		l.engine.slots.Add(-1)
	}
	l.attached, l.resumed = nil, nil
	for slot := uint32(0); slot < l.table.used; slot++ {
		s := &l.table.sockets[slot]
		id := MakeID(l.index, slot, s.generation)
		switch {
		case s.generation == 0 || s.flags&dead != 0:
		case s.flags&notified != 0:
			l.letGo(id, s)
		default:
			l.lose(id, s, ErrEngineClosed)
		}
	}
	l.deliverCloses()
	l.published.show(&l.counts)
	l.engine.ending.Done()
}

// A joiner is an attached socket on its way into gnet; it travels as the
// context of gnet's connection.
type joiner struct {
	loop    *gnetLoop
	id      ID
	file    *os.File // the descriptor that was attached
	started bool
}

// openAttached reports the sockets that Attach took, and sends those that are
// connected on their way.
func (l *gnetLoop) openAttached() {
	attached := l.attached
	l.attached = nil
	for _, a := range attached {
		l.counts.attached++
		prepareAttached(a.fd, &l.engine.cfg)
		slot, s := l.table.take(a.fd)
		s.flags = socketFlags(l.index)<<gnetLoopShift | joiningFlag
		id := MakeID(l.index, slot, s.generation)
		l.joining[slot] = &joiner{loop: l, id: id, file: os.NewFile(uintptr(a.fd), "attached")}
		l.counts.conns++
		l.onOpen(id, a.tag)
		if s.flags&dead != 0 {
			continue
		}
		if _, err := unix.Getpeername(a.fd); err == nil {
			l.join(l.joining[slot])
		} else if err := l.engine.waiter.await(a.fd, id); err != nil {
			l.lose(id, s, err)
		}
	}
}

// connected is called when a connect is over, well or not.
func (l *gnetLoop) connected(id ID, s *socket) {
	if errno := socketError(int(s.fd)); errno != 0 {
		l.lose(id, s, os.NewSyscallError("connect", errno))
		return
	}
	l.join(l.joining[id.Slot()])
	if s.flags&wantsWrite != 0 {
		s.flags &^= wantsWrite
		l.onWritable(id)
	}
}

// join sends a connected socket into gnet, which takes a net.Conn and
// duplicates it in a goroutine. (A net.Conn of a socket that is connecting has
// no remote address; gnet cannot take it.)
func (l *gnetLoop) join(j *joiner) {
	if j.started || !l.engine.beginJoin() {
		return
	}
	j.started = true
	go func() {
		defer l.engine.joins.Done()
		if err := j.enroll(); err != nil {
			l.post(post{id: j.id, err: err})
		}
	}()
}

func (j *joiner) enroll() error {
	conn, err := net.FileConn(j.file)
	if err != nil {
		return fmt.Errorf("netpoll: attach: %w", err)
	}
	resultc, err := j.loop.eventLoop.Enroll(gnet.NewContext(context.Background(), j), conn)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("netpoll: attach: %w", err)
	}
	result := <-resultc
	if result.Err != nil {
		return fmt.Errorf("netpoll: attach: %w", result.Err)
	}
	return nil
}

// joined is called when gnet has an attached socket.
func (l *gnetLoop) joined(c gnet.Conn, j *joiner) {
	s := l.table.get(j.id)
	if s == nil || s.flags&dead != 0 {
		c.SetContext(nil) // closed meanwhile
		l.closeCurrent = true
		return
	}
	if s.flags&wantsWrite != 0 {
		l.engine.waiter.forget(int(s.fd))
	}
	l.setConn(j.id.Slot(), s, c)
	s.flags &^= joiningFlag
	delete(l.joining, j.id.Slot())
	_ = j.file.Close()
	if s.flags&wantsWrite != 0 {
		if err := l.engine.waiter.await(c.Fd(), j.id); err != nil {
			l.lose(j.id, s, err)
		}
	}
}
