//go:build linux || darwin || freebsd

package gnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/conns"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// events are gnet's callbacks. The context of a connection says what it is:
//
//	*bell      the bell of a loop
//	*newcomer  from an acceptor, before its OnOpen
//	*joiner    from Attach, before gnet's OnOpen
//	*Socket    a connection, by its place in the loop's table
//	nil        freed by us, on its way out of gnet
type events struct {
	gnet.BuiltinEventEngine
	engine *engine
}

// A bell is the connection that wakes a loop.
type bell struct{ loop *loop }

// loopOf finds the loop of a connection.
func (h *events) loopOf(c gnet.Conn) *loop {
	for _, l := range h.engine.loops {
		if l.eventLoop == c.EventLoop() {
			return l
		}
	}
	return nil
}

// OnOpen is part of gnet.EventHandler.
func (h *events) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	switch context := c.Context().(type) {
	case *bell:
		context.loop.begin(c)
	case *newcomer:
		context.opened.Store(true)
		l := h.loopOf(c)
		return nil, l.handle(c, func() { l.openAccepted(c, context.tag) })
	case *joiner:
		l := context.loop
		return nil, l.handle(c, func() { l.joined(c, context) })
	}
	return nil, gnet.None
}

// OnTraffic is part of gnet.EventHandler.
func (h *events) OnTraffic(c gnet.Conn) gnet.Action {
	// All of it: gnet would keep a copy of the rest.
	p, _ := c.Next(-1)
	switch context := c.Context().(type) {
	case *bell:
		return context.loop.handle(c, context.loop.turn)
	case *conns.Socket:
		l := h.engine.loops[context.Flags>>loopShift]
		return l.handle(c, func() { l.read(context, p) })
	}
	return gnet.None
}

// OnClose is part of gnet.EventHandler: gnet closes a connection, by itself or
// because we have let it go.
func (h *events) OnClose(c gnet.Conn, err error) gnet.Action {
	switch context := c.Context().(type) {
	case *bell:
		l := context.loop
		if !l.Ended {
			// All of a loop's connections are closed when gnet ends it.
			l.end()
			h.engine.fail(errLoopEnded)
		}
	case *conns.Socket:
		l := h.engine.loops[context.Flags>>loopShift]
		l.handle(nil, func() { l.gone(context, c, endOf(err)) })
	}
	return gnet.None
}

// handle runs f, which may call the handler's callbacks, and then what they have
// left to do. It returns whether gnet must close c, the connection of its event.
// If a callback ends the goroutine, the engine ends: gnet would not notice.
func (l *loop) handle(c gnet.Conn, f func()) gnet.Action {
	returned := false
	defer func() {
		if !returned {
			l.end()
			_ = l.eventLoop.Close(l.bell)
			l.engine.fail(conns.ErrGoexit)
		}
	}()
	l.current = c
	f()
	action := l.settle()
	returned = true
	return action
}

// endOf converts the error of gnet's OnClose to the contract's.
func endOf(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil: // gnet has ended the loop
		return netpoll.ErrEngineClosed
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &errno):
		return os.NewSyscallError("read", errno)
	}
	return err
}

// installBell gives the loop its bell, and with it its handler. gnet hands a
// connection to the loop that has the fewest, so each bell gets a loop of its
// own.
func (l *loop) installBell() error {
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
	if l.Handler == nil {
		return errors.New("the handler was not made")
	}
	return nil
}

// begin is the first thing that happens on the loop's goroutine.
func (l *loop) begin(c gnet.Conn) {
	l.engine.ending.Add(1)
	l.eventLoop, l.bell = c.EventLoop(), c
	l.Handler = l.newHandler(l)
}

// turn does what the bell was rung for.
func (l *loop) turn() {
	l.rung.Store(false)
	if !l.engine.ready.Load() && !l.engine.Stopping() {
		return // no event before all have a handler
	}
	l.mu.Lock()
	posts := l.posts
	l.posts = nil
	l.mu.Unlock()
	for _, p := range posts {
		l.receive(p)
	}
	l.ExpireLingerers(l.Shared.Now())
	if l.tickDue.Swap(false) {
		l.CallTick()
	}
	if l.WakeAgain || l.Woken.Load() {
		l.CallWake()
		if l.WakeAgain {
			l.ring() // behind the sockets that are ready by now
		}
	}
	if l.engine.Stopping() {
		l.end()
	}
}

// receive reacts to a post.
func (l *loop) receive(p post) {
	s := l.Live(p.id)
	switch {
	case s == nil:
	case p.err != nil:
		l.Lose(p.id, s, p.err)
	case s.Flags&conns.Connecting != 0:
		l.connected(p.id, s)
	case p.hangup && s.Flags&departed != 0:
		if errno := sock.PendingError(int(s.FD)); errno != 0 {
			l.Lose(p.id, s, os.NewSyscallError("read", errno))
		}
	case p.hangup:
		// gnet reports that, too, with the reason.
	case s.Flags&conns.WantsWrite != 0:
		s.Flags &^= conns.WantsWrite
		l.CallWritable(p.id)
	}
}

// openAccepted makes an accepted socket a connection.
func (l *loop) openAccepted(c gnet.Conn, tag uint64) {
	id, s := l.Add(c.Fd(), l.flags())
	l.setConn(id.Slot(), s, c)
	sock.PrepareAccepted(c.Fd(), &l.Shared.Config)
	l.Count.Accepted++
	l.CallOpen(id, tag)
}

// read handles what gnet has read.
func (l *loop) read(s *conns.Socket, p []byte) {
	if s.Flags&(conns.Dead|conns.Lingering) != 0 || len(p) == 0 {
		return // dropped
	}
	l.Count.Reads++
	l.Count.BytesRead += uint64(len(p))
	id := l.idOf(s)
	if s.Flags&conns.Paused != 0 || len(l.held[id.Slot()]) > 0 {
		l.hold(id, s, p)
		return
	}
	l.CallData(id, p)
}

// gone is called when gnet closes a connection, before it closes the descriptor.
// A paused connection whose peer has closed ends after the pause: until then it
// keeps a duplicate of the descriptor, which gnet does not know.
func (l *loop) gone(s *conns.Socket, c gnet.Conn, err error) {
	id := l.idOf(s)
	l.gnetConns[id.Slot()] = nil
	if err == io.EOF && s.Flags&(conns.Paused|conns.Lingering|conns.Dead) == conns.Paused {
		if fd, errDup := unix.FcntlInt(uintptr(c.Fd()), unix.F_DUPFD_CLOEXEC, 0); errDup == nil {
			if s.Flags&conns.WantsWrite != 0 {
				l.engine.waiter.forget(c.Fd())
			}
			s.FD = int32(fd)
			s.Flags |= departed
			if s.Flags&conns.WantsWrite != 0 {
				l.AwaitRoom(id, s)
			}
			return
		}
	}
	l.Lose(id, s, err)
}

// settle does what callbacks have left to do, until nothing is left, and returns
// whether gnet must close the current connection.
func (l *loop) settle() gnet.Action {
	for !l.Ended && (len(l.resumed) > 0 || l.Unsettled()) {
		l.OpenAttached(l.openAttached)
		resumed := l.resumed
		l.resumed = nil
		for _, id := range resumed {
			l.unhold(id)
		}
		l.DeliverCloses()
	}
	l.Publish()
	l.current = nil
	if l.closeCurrent {
		l.closeCurrent = false
		return gnet.Close
	}
	return gnet.None
}

// end closes everything but the bell.
func (l *loop) end() {
	if !l.Ended {
		l.current = nil
		l.EndAll()
		l.engine.ending.Done()
	}
}

// A joiner is an attached socket on its way into gnet; it travels as the
// context of gnet's connection.
type joiner struct {
	loop    *loop
	id      netpoll.ID
	file    *os.File // the descriptor that was attached
	started bool
}

// connected is called when a connect is over, well or not.
func (l *loop) connected(id netpoll.ID, s *conns.Socket) {
	if errno := sock.PendingError(int(s.FD)); errno != 0 {
		l.Lose(id, s, os.NewSyscallError("connect", errno))
		return
	}
	l.join(l.joining[id.Slot()])
	if s.Flags&conns.WantsWrite != 0 {
		s.Flags &^= conns.WantsWrite
		l.CallWritable(id)
	}
}

// join sends a connected socket into gnet, which takes a net.Conn and
// duplicates it in a goroutine. (A net.Conn of a socket that is connecting has
// no remote address; gnet cannot take it.)
func (l *loop) join(j *joiner) {
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
func (l *loop) joined(c gnet.Conn, j *joiner) {
	s := l.Get(j.id)
	if s == nil || s.Flags&conns.Dead != 0 {
		c.SetContext(nil) // closed meanwhile
		l.closeCurrent = true
		return
	}
	if s.Flags&conns.WantsWrite != 0 {
		l.engine.waiter.forget(int(s.FD))
	}
	l.setConn(j.id.Slot(), s, c)
	s.Flags &^= conns.Connecting
	delete(l.joining, j.id.Slot())
	_ = j.file.Close()
	if s.Flags&conns.WantsWrite != 0 {
		l.AwaitRoom(j.id, s)
	}
}
