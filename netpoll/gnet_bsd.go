//go:build darwin || freebsd

package netpoll

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A gnetWaiter tells when there is room in a socket that was full. It watches
// only such sockets, each for one event, on a goroutine of its own.
type gnetWaiter struct {
	kqueue                         int
	doorbellReader, doorbellWriter int
	donec                          chan struct{}
	running                        bool

	// Guarded by mu.
	mu  sync.Mutex
	ids map[int]ID // by descriptor
}

func newGnetWaiter() (*gnetWaiter, error) {
	kqueue, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(kqueue)
	w := &gnetWaiter{kqueue: kqueue, donec: make(chan struct{}), ids: make(map[int]ID)}
	if w.doorbellReader, w.doorbellWriter, err = newDoorbell(); err != nil {
		_ = unix.Close(kqueue)
		return nil, err
	}
	if err := w.change(w.doorbellReader, unix.EVFILT_READ, unix.EV_ADD); err != nil {
		_ = unix.Close(kqueue)
		_ = unix.Close(w.doorbellReader)
		_ = unix.Close(w.doorbellWriter)
		return nil, os.NewSyscallError("kevent", err)
	}
	return w, nil
}

func (w *gnetWaiter) change(fd, filter, flags int) error {
	var event unix.Kevent_t
	unix.SetKevent(&event, fd, filter, flags)
	_, err := unix.Kevent(w.kqueue, []unix.Kevent_t{event}, nil, nil)
	return err
}

// await asks for one event of fd. Any goroutine.
func (w *gnetWaiter) await(fd int, id ID) error {
	w.mu.Lock()
	w.ids[fd] = id
	w.mu.Unlock()
	return os.NewSyscallError("kevent", w.change(fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_ONESHOT))
}

// forget takes fd out again, before it is closed.
func (w *gnetWaiter) forget(fd int) {
	w.mu.Lock()
	delete(w.ids, fd)
	w.mu.Unlock()
	_ = w.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE)
}

// run hands each event to room, until close.
func (w *gnetWaiter) run(room func(id ID, hangup bool)) {
	defer close(w.donec)
	var events [64]unix.Kevent_t
	for {
		n, err := unix.Kevent(w.kqueue, nil, events[:], nil)
		if err != nil && err != unix.EINTR {
			panic("netpoll: kevent: " + err.Error()) // the descriptor is ours
		}
		for _, event := range events[:max(n, 0)] {
			fd := int(event.Ident)
			if fd == w.doorbellReader {
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
func (w *gnetWaiter) close() {
	if w == nil {
		return
	}
	if w.running {
		ringDoorbell(w.doorbellWriter)
		<-w.donec
	}
	_ = unix.Close(w.kqueue)
	_ = unix.Close(w.doorbellReader)
	_ = unix.Close(w.doorbellWriter)
}

// deferAccept exists on Linux only.
func deferAccept(*Config) func(fd int) error { return noOption }
