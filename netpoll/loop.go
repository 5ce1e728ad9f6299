//go:build linux || darwin || freebsd

package netpoll

import (
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A loop is one goroutine with its sockets. Its turn is
//
//	wait -> sockets -> OnWake, if rung for -> attached sockets -> OnClose of
//	what was closed meanwhile -> linger deadlines -> OnTick
//
// with only the wait and the order of the sockets left to the poller.
// Except where noted, all state is owned by the loop's goroutine.
type loop struct {
	// Immutable after newLoop.
	engine     *engine
	index      int
	poll       poller
	alwaysRing bool
	newHandler func(l Loop) Handler

	// Owned by the loop's goroutine.
	handler   Handler
	table     *socketTable
	buffer    []byte // the one read buffer
	vectors   vectorSender
	uring     *ring // of WriteBatch, nil until it is needed or if there is none
	ringTried bool
	attached  []attachment
	closes    []pendingClose
	lingerers lingerQueue
	nextTick  int64 // by the engine's clock
	wakeAgain bool  // OnWake asked for another call
	ended     bool
	accepting acceptState
	counts    counts

	// Atomic: any goroutine.
	woken     atomic.Bool // Wake was called, OnWake did not start yet
	sleeping  atomic.Bool // only the doorbell interrupts the wait
	stopping  atomic.Bool // the engine closes
	published publishedCounts

	// Guarded by doorbellMu: Wake may be called after the end, when the
	// descriptors may have been reused for anything.
	doorbellMu     sync.Mutex
	doorbellReader int // the loop reads it without mu; -1 after the end
	doorbellWriter int
}

// readsPerEvent bounds how often one connection is read in a row when it fills
// the buffer each time; the others wait meanwhile.
const readsPerEvent = 4

func newLoop(e *engine, index int, newPoller func(e *engine) (poller, error)) (*loop, error) {
	l := &loop{engine: e, index: index, doorbellReader: -1, doorbellWriter: -1}
	l.accepting.spare = openSpare()
	var err error
	if l.table, err = newSocketTable(e.cfg.MaxConns); err != nil {
		l.free()
		return nil, err
	}
	if l.doorbellReader, l.doorbellWriter, err = newDoorbell(); err != nil {
		l.free()
		return nil, err
	}
	if l.poll, err = newPoller(e); err != nil {
		l.free()
		return nil, err
	}
	l.alwaysRing = l.poll.alwaysRing()
	return l, nil
}

// run is the loop's life.
func (l *loop) run() {
	err := errLoopEnded
	defer func() {
		l.end()
		if err != nil {
			l.engine.fail(err)
		}
		l.engine.running.Done()
	}()
	err = l.poll.run(l)
}

// start is the first thing that happens on the loop's goroutine.
func (l *loop) start() {
	l.buffer = make([]byte, l.engine.cfg.ReadBufferBytes)
	l.nextTick = l.engine.now() + int64(l.engine.cfg.TickInterval)
	l.handler = l.newHandler(l)
	l.engine.handlers.Done()
	l.engine.handlers.Wait() // no event before all have a handler
}

// free gives back what does not belong to the goroutine, after its end or
// before its start.
func (l *loop) free() {
	l.closeDoorbell()
	if l.poll != nil {
		l.poll.close()
	}
	if l.table != nil && l.table.memory != nil {
		l.table.unmap()
	}
	if l.accepting.spare >= 0 {
		_ = unix.Close(l.accepting.spare)
		l.accepting.spare = -1
	}
}

// Index is part of [Loop].
func (l *loop) Index() int { return l.index }

// ready reacts to one event of the poller.
func (l *loop) ready(token ID, what readiness) {
	if token.Generation() == 0 {
		if token == doorbellToken() {
			silenceDoorbell(l.doorbellReader)
		} else {
			l.accept(int(token.Slot()))
		}
		return
	}
	s := l.table.get(token)
	if s == nil || s.flags&dead != 0 {
		return // closed by an event before this one
	}
	if s.flags&lingering != 0 {
		l.drop(token, s)
		return
	}
	if what&readyWrite != 0 && what&readyHangup == 0 && s.flags&wantsWrite != 0 {
		s.flags &^= wantsWrite
		l.onWritable(token)
	}
	if what&(readyRead|readyHangup) != 0 && s.flags&(dead|lingering) == 0 {
		if s.flags&paused == 0 {
			l.read(token, s)
		} else if what&readyHangup != 0 {
			l.pausedHangup(token, s)
		}
	}
	l.watch(token, s)
}

// read gives the handler what has arrived: one read for an event, as the poller
// reports the rest again, but a few if the buffer is too small for the stream.
func (l *loop) read(id ID, s *socket) {
	for range readsPerEvent {
		n, errno := recvSocket(s.fd, l.buffer)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return
		case errno != 0:
			l.lose(id, s, os.NewSyscallError("read", errno))
			return
		case n == 0:
			l.lose(id, s, io.EOF)
			return
		}
		l.counts.reads++
		l.counts.bytesRead += uint64(n)
		l.onData(id, l.buffer[:n])
		if n < len(l.buffer) || s.flags&(dead|lingering|paused) != 0 {
			return
		}
	}
}

// pausedHangup is called for a paused connection which has an error, or both of
// whose directions have ended. The error ends the connection. An end without
// one (a unix socket whose peer has closed) may have left bytes to be read when
// the pause is over.
func (l *loop) pausedHangup(id ID, s *socket) {
	if errno := socketError(int(s.fd)); errno != 0 {
		l.lose(id, s, os.NewSyscallError("read", errno))
		return
	}
	l.poll.remove(int(s.fd))
	s.flags &^= polled | polledRead | polledWrite
	s.flags |= unwatched
}

// watch tells the poller what the connection waits for, if that has changed.
func (l *loop) watch(id ID, s *socket) {
	if s.flags&(dead|unwatched) != 0 {
		return
	}
	in, was := s.flags.interest(), s.flags.polledInterest()
	var err error
	switch {
	case s.flags&polled == 0:
		err = l.poll.add(int(s.fd), id, in)
	case in != was:
		err = l.poll.modify(int(s.fd), id, was, in)
	default:
		return
	}
	if err != nil {
		l.lose(id, s, err)
		return
	}
	s.flags.setPolled(in)
}

// PauseRead is part of [Loop].
func (l *loop) PauseRead(id ID) {
	if s := l.live(id); s != nil && s.flags&paused == 0 {
		s.flags |= paused
		l.watchLater(id, s)
	}
}

// ResumeRead is part of [Loop].
func (l *loop) ResumeRead(id ID) {
	if s := l.live(id); s != nil && s.flags&paused != 0 {
		s.flags &^= paused | unwatched
		l.watchLater(id, s)
	}
}

// watchLater is watch for a connection whose own event may be under way. A
// connection that the poller does not know yet is in OnOpen, or was unwatched.
func (l *loop) watchLater(id ID, s *socket) {
	if s.flags&opening == 0 {
		l.watch(id, s)
	}
}

// live finds the socket of a connection that is open, nil for any other.
func (l *loop) live(id ID) *socket {
	s := l.table.get(id)
	if s == nil || s.flags&(dead|lingering) != 0 || id.Loop() != l.index {
		return nil
	}
	return s
}

// known finds the socket of a connection whose OnClose is not over, nil for any
// other.
func (l *loop) known(id ID) *socket {
	s := l.table.get(id)
	if s == nil || s.flags&notified != 0 || id.Loop() != l.index {
		return nil
	}
	return s
}

// FD is part of [Loop].
func (l *loop) FD(id ID) int {
	if s := l.known(id); s != nil {
		return int(s.fd)
	}
	return -1
}

// RemoteAddr is part of [Loop].
func (l *loop) RemoteAddr(id ID) netip.AddrPort {
	s := l.known(id)
	if s == nil {
		return netip.AddrPort{}
	}
	sa, err := unix.Getpeername(int(s.fd))
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// endTurn does what follows the sockets.
func (l *loop) endTurn() {
	if l.wakeAgain || l.woken.Load() {
		l.onWake()
	}
	l.openAttached()
	l.deliverCloses()
	if now := l.engine.now(); now >= l.deadline() {
		l.expireLingerers(now)
		if now >= l.nextTick {
			l.tick(now)
		}
		l.deliverCloses()
	}
	if l.stopping.Load() {
		l.end()
	}
	l.publish()
}

// settle is the part of endTurn that no event may be without, for a poller that
// does not know the end of a turn.
func (l *loop) settle() {
	l.openAttached()
	l.deliverCloses()
	l.publish()
}

// tick calls OnTick. Late ticks are left out.
func (l *loop) tick(now int64) {
	l.nextTick += int64(l.engine.cfg.TickInterval)
	if l.nextTick <= now {
		l.nextTick = now + int64(l.engine.cfg.TickInterval)
	}
	l.resumeListeners()
	l.onTick()
}

// deadline is when the loop has something to do without any event.
func (l *loop) deadline() int64 {
	if at, ok := l.lingerers.first(); ok && at < l.nextTick {
		return at
	}
	return l.nextTick
}

// hasLeftover tells that the turn has left work which no event will announce.
func (l *loop) hasLeftover() bool {
	return l.wakeAgain || len(l.attached) > 0 || len(l.closes) > 0
}

// end closes everything. The goroutine of the loop ends after it.
func (l *loop) end() {
	if l.ended {
		return
	}
	l.ended = true
	for _, a := range l.attached {
		_ = unix.Close(a.fd)
		l.engine.slots.Add(-1)
	}
	l.attached = nil
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
	if l.uring != nil {
		l.uring.close()
		l.uring = nil
	}
	l.table.unmap()
	l.publish()
}

// The callbacks: each recovers its own panic.

func (l *loop) onOpen(id ID, tag uint64) {
	defer l.recovered(id)
	l.handler.OnOpen(id, tag)
}

func (l *loop) onData(id ID, p []byte) {
	defer l.recovered(id)
	l.handler.OnData(id, p)
}

func (l *loop) onWritable(id ID) {
	defer l.recovered(id)
	l.handler.OnWritable(id)
}

func (l *loop) onClose(id ID, err error) {
	defer l.recovered(id)
	l.handler.OnClose(id, err)
}

func (l *loop) onTick() {
	defer l.recovered(0)
	l.handler.OnTick()
}

func (l *loop) onWake() {
	l.wakeAgain = false
	l.woken.Store(false)
	l.counts.wakes++
	defer l.recovered(0)
	l.wakeAgain = l.handler.OnWake()
}

// recovered must be deferred. The connection whose callback panicked is
// aborted: what its handler knows of it cannot be trusted any more.
func (l *loop) recovered(id ID) {
	value := recover()
	if value == nil {
		return
	}
	l.counts.handlerPanics++
	if s := l.table.get(id); s != nil && s.flags&(dead|notified) == 0 {
		l.Abort(id)
	}
	if l.engine.onPanic != nil {
		l.engine.onPanic(l.index, id, value, debug.Stack())
	}
}
