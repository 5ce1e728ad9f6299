//go:build linux || darwin || freebsd

// Package loop is the event loop of the engines that differ only in their
// poller: epoll and easygo. It accepts, reads and watches; what a connection is,
// package conns knows.
package loop

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/conns"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// A Loop is one goroutine with its sockets. Its turn is
//
//	wait -> sockets -> OnWake, if it is due -> attached sockets -> OnClose of
//	what was closed meanwhile -> linger deadlines -> OnTick
//
// with only the wait and the order of the sockets left to the poller.
// Except where noted, all state is owned by the loop's goroutine.
type Loop struct {
	conns.Conns

	// Immutable after newLoop.
	engine     *Engine
	poll       Poller
	alwaysRing bool
	// Doorbell interrupts the poller's wait. Any goroutine may ring it, at any
	// time.
	Doorbell *sock.Doorbell

	// Owned by the loop's goroutine.
	buffer    []byte // the one read buffer
	ring      *ring  // of WriteBatch, nil until it is needed or if there is none
	ringTried bool
	nextTick  int64 // by the engine's clock
	// spare is a descriptor for refusing clients when there are no others.
	spare sock.Spares
	// resting are the listeners, by index, that the poller does not watch until
	// the next tick, because nothing can be done for their clients.
	resting []int

	// sleeping is set while only the doorbell interrupts the wait. Atomic: any
	// goroutine.
	sleeping atomic.Bool
}

// readsPerEvent bounds how often one connection is read in a row when it fills
// the buffer each time; the others wait meanwhile.
const readsPerEvent = 4

func newLoop(e *Engine, index int, newPoller func() (Poller, error)) (*Loop, error) {
	l := &Loop{engine: e}
	l.spare.Fill(1)
	err := l.Init(e.Shared, index, l)
	if err == nil {
		l.Doorbell, err = sock.NewDoorbell()
	}
	if err == nil {
		l.poll, err = newPoller()
	}
	if err != nil {
		l.free()
		return nil, err
	}
	l.alwaysRing = l.poll.AlwaysRing()
	return l, nil
}

// run is the loop's life.
func (l *Loop) run() {
	err := conns.ErrGoexit
	defer func() {
		l.End()
		if err != nil {
			l.engine.fail(err)
		}
		l.engine.running.Done()
	}()
	err = l.poll.Run(l)
}

// Start makes the handler. It is the first thing that happens on the loop's
// goroutine.
func (l *Loop) Start() {
	l.buffer = make([]byte, l.Shared.Config.ReadBufferBytes)
	l.nextTick = l.Shared.Now() + int64(l.Shared.Config.TickInterval)
	l.Handler = l.engine.newHandler(l)
	l.engine.handlers.Done()
	l.engine.handlers.Wait() // no event before all have a handler
}

// free gives back what does not belong to the goroutine, after its end or
// before its start.
func (l *Loop) free() {
	if l.Doorbell != nil {
		l.Doorbell.Close()
	}
	if l.poll != nil {
		l.poll.Close()
	}
	l.Unmap()
	l.spare.Close()
}

// Ready reacts to one event of the poller.
func (l *Loop) Ready(token netpoll.ID, what Readiness) {
	if token.Generation() == 0 {
		if token == DoorbellToken {
			l.Doorbell.Silence()
		} else {
			l.accept(int(token.Slot()))
		}
		return
	}
	s := l.Get(token)
	if s == nil || s.Flags&conns.Dead != 0 {
		return // closed by an event before this one
	}
	if s.Flags&conns.Lingering != 0 {
		l.drop(token, s)
		return
	}
	if what&ReadyWrite != 0 && what&ReadyHangup == 0 && s.Flags&conns.WantsWrite != 0 {
		s.Flags &^= conns.WantsWrite | conns.Connecting
		l.CallWritable(token)
	}
	if what&(ReadyRead|ReadyHangup) != 0 && s.Flags&(conns.Dead|conns.Lingering) == 0 {
		if s.Flags&conns.Paused == 0 {
			l.read(token, s)
		} else if what&ReadyHangup != 0 {
			l.pausedHangup(token, s)
		}
	}
	l.watch(token, s)
}

// read gives the handler what has arrived: one read for an event, as the poller
// reports the rest again, but a few if the buffer is too small for the stream.
func (l *Loop) read(id netpoll.ID, s *conns.Socket) {
	for range readsPerEvent {
		n, errno := sock.Recv(s.FD, l.buffer)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return
		case errno != 0:
			l.Lose(id, s, os.NewSyscallError("read", errno))
			return
		case n == 0:
			l.Lose(id, s, io.EOF)
			return
		}
		l.Count.Reads++
		l.Count.BytesRead += uint64(n)
		l.CallData(id, l.buffer[:n])
		if n < len(l.buffer) || s.Flags&(conns.Dead|conns.Lingering|conns.Paused) != 0 {
			return
		}
	}
}

// pausedHangup is called for a paused connection which has an error, or both of
// whose directions have ended. The error ends the connection. An end without
// one (a unix socket whose peer has closed) may have left bytes to be read when
// the pause is over.
func (l *Loop) pausedHangup(id netpoll.ID, s *conns.Socket) {
	if errno := sock.PendingError(int(s.FD)); errno != 0 {
		l.Lose(id, s, os.NewSyscallError("read", errno))
		return
	}
	l.poll.Remove(int(s.FD))
	s.Flags &^= polled | polledRead | polledWrite
	s.Flags |= unwatched
}

// watch tells the poller what the connection waits for, if that has changed.
func (l *Loop) watch(id netpoll.ID, s *conns.Socket) {
	if s.Flags&(conns.Dead|unwatched) != 0 {
		return
	}
	in, was := interest(s.Flags), polledInterest(s.Flags)
	var err error
	switch {
	case s.Flags&polled == 0:
		err = l.poll.Add(int(s.FD), id, in)
	case in != was:
		err = l.poll.Modify(int(s.FD), id, was, in)
	default:
		return
	}
	if err != nil {
		l.Lose(id, s, err)
		return
	}
	setPolled(&s.Flags, in)
}

// watchLater is watch for a connection whose own event may be under way: in
// OnOpen the poller does not know it yet.
func (l *Loop) watchLater(id netpoll.ID, s *conns.Socket) {
	if s.Flags&opening == 0 {
		l.watch(id, s)
	}
}

// PauseRead is part of [netpoll.Loop].
func (l *Loop) PauseRead(id netpoll.ID) {
	if s := l.Live(id); s != nil && s.Flags&conns.Paused == 0 {
		s.Flags |= conns.Paused
		l.watchLater(id, s)
	}
}

// ResumeRead is part of [netpoll.Loop].
func (l *Loop) ResumeRead(id netpoll.ID) {
	if s := l.Live(id); s != nil && s.Flags&conns.Paused != 0 {
		s.Flags &^= conns.Paused | unwatched
		l.watchLater(id, s)
	}
}

// Renew is part of [netpoll.Loop].
func (l *Loop) Renew(id netpoll.ID) netpoll.ID {
	renewed, s := l.Conns.Renew(id)
	if s == nil {
		return 0
	}
	if s.Flags&polled != 0 { // the poller knows it by its ID
		l.poll.Remove(int(s.FD))
		s.Flags &^= polled | polledRead | polledWrite
		l.watch(renewed, s)
	}
	return renewed
}

// AwaitRoom is part of [conns.Owner].
func (l *Loop) AwaitRoom(id netpoll.ID, s *conns.Socket) { l.watchLater(id, s) }

// Linger is part of [conns.Owner].
func (l *Loop) Linger(id netpoll.ID, s *conns.Socket) {
	s.Flags &^= unwatched
	l.watchLater(id, s)
}

// Release is part of [conns.Owner].
func (l *Loop) Release(_ netpoll.ID, s *conns.Socket) {
	if s.Flags&polled != 0 {
		l.poll.Remove(int(s.FD))
	}
	_ = unix.Close(int(s.FD))
}

// drop reads what a lingering connection's peer still sends, a bounded amount
// for each event, until it closes.
func (l *Loop) drop(id netpoll.ID, s *conns.Socket) {
	for range readsPerEvent {
		n, errno := sock.Recv(s.FD, l.buffer)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return
		case errno != 0 || n == 0:
			l.Lose(id, s, netpoll.ErrClosed)
			return
		case n < len(l.buffer):
			return
		}
	}
}

// EndTurn does what follows the sockets.
func (l *Loop) EndTurn() {
	if l.WakeAgain || l.Woken.Load() {
		l.CallWake()
	}
	l.OpenAttached(l.openAttached)
	l.DeliverCloses()
	if now := l.Shared.Now(); now >= l.deadline() {
		l.ExpireLingerers(now)
		if now >= l.nextTick {
			l.tick(now)
		}
		l.DeliverCloses()
	}
	if l.Shared.Stopping() {
		l.End()
	}
	l.Publish()
}

// Settle is the part of EndTurn that no event may be without, for a poller that
// does not know the end of a turn.
func (l *Loop) Settle() {
	l.OpenAttached(l.openAttached)
	l.DeliverCloses()
	l.Publish()
}

// tick calls OnTick. Ticks that are late are left out.
func (l *Loop) tick(now int64) {
	l.nextTick += int64(l.Shared.Config.TickInterval)
	if l.nextTick <= now {
		l.nextTick = now + int64(l.Shared.Config.TickInterval)
	}
	l.resumeListeners()
	l.CallTick()
}

// deadline returns when the loop has something to do without any event.
func (l *Loop) deadline() int64 {
	if at, ok := l.LingerDeadline(); ok && at < l.nextTick {
		return at
	}
	return l.nextTick
}

// HasLeftover reports whether the turn has left work which no event will
// announce.
func (l *Loop) HasLeftover() bool { return l.WakeAgain || l.Unsettled() }

// FallAsleep says that only the doorbell will wake the loop, and returns how
// long it may wait. It returns false if Wake was called meanwhile: then there
// must be no wait. The poller must call Awake after either.
func (l *Loop) FallAsleep() (longest time.Duration, ok bool) {
	l.sleeping.Store(true)
	if l.Woken.Load() || l.Shared.Stopping() {
		return 0, false // set by a goroutine that did not see us sleeping
	}
	return time.Duration(l.deadline() - l.Shared.Now()), true
}

// Awake says that the loop does not wait any more.
func (l *Loop) Awake() { l.sleeping.Store(false) }

// Wake is part of [netpoll.Loop]. A loop that is awake sees the flag at the end
// of its turn; only one that sleeps costs a system call. No wake-up is lost:
// the loop says that it sleeps before it looks at the flag for the last time,
// and Wake sets the flag before it looks whether the loop sleeps.
func (l *Loop) Wake() {
	if l.Woken.Load() || l.Woken.Swap(true) {
		return // OnWake is due already
	}
	if l.alwaysRing || l.sleeping.Load() {
		l.Doorbell.Ring()
	}
}

// End closes everything. The goroutine of the loop ends after it.
func (l *Loop) End() {
	l.EndAll()
	if l.ring != nil {
		l.ring.close()
		l.ring = nil
	}
	l.Unmap()
}
