//go:build darwin || freebsd

package gnet

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// A waiter reports when there is room in a socket that was full. It watches only
// such sockets, each for one event, on a goroutine of its own.
type waiter struct {
	kqueue   int
	doorbell *sock.Doorbell
	donec    chan struct{}
	running  bool

	// Guarded by mu.
	mu  sync.Mutex
	ids map[int]netpoll.ID // by descriptor
}

func newWaiter() (*waiter, error) {
	kqueue, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(kqueue)
	w := &waiter{kqueue: kqueue, donec: make(chan struct{}), ids: make(map[int]netpoll.ID)}
	if w.doorbell, err = sock.NewDoorbell(); err != nil {
		_ = unix.Close(kqueue)
		return nil, err
	}
	if err := w.change(w.doorbell.FD(), unix.EVFILT_READ, unix.EV_ADD); err != nil {
		w.close()
		return nil, os.NewSyscallError("kevent", err)
	}
	return w, nil
}

func (w *waiter) change(fd, filter, flags int) error {
	var event unix.Kevent_t
	unix.SetKevent(&event, fd, filter, flags)
	_, err := unix.Kevent(w.kqueue, []unix.Kevent_t{event}, nil, nil)
	return err
}

// await asks for one event of fd. Any goroutine.
func (w *waiter) await(fd int, id netpoll.ID) error {
	w.mu.Lock()
	w.ids[fd] = id
	w.mu.Unlock()
	return os.NewSyscallError("kevent", w.change(fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_ONESHOT))
}

// forget takes fd out again, before it is closed.
func (w *waiter) forget(fd int) {
	w.mu.Lock()
	delete(w.ids, fd)
	w.mu.Unlock()
	_ = w.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE)
}

// run hands each event to room, until close.
func (w *waiter) run(room func(id netpoll.ID, hangup bool)) {
	defer close(w.donec)
	var events [64]unix.Kevent_t
	for {
		n, err := unix.Kevent(w.kqueue, nil, events[:], nil)
		if err != nil && err != unix.EINTR {
			panic("netpoll: kevent: " + err.Error()) // the descriptor is ours
		}
		for _, event := range events[:max(n, 0)] {
			fd := int(event.Ident)
			if fd == w.doorbell.FD() {
				return
			}
			w.mu.Lock()
			id, ok := w.ids[fd]
			delete(w.ids, fd)
			w.mu.Unlock()
			if ok {
				room(id, event.Flags&unix.EV_EOF != 0)
			}
		}
	}
}

// close ends run.
func (w *waiter) close() {
	if w == nil {
		return
	}
	if w.running {
		w.doorbell.Ring()
		<-w.donec
	}
	_ = unix.Close(w.kqueue)
	w.doorbell.Close()
}
