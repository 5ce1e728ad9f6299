package netpoll

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A gnetWaiter tells when there is room in a socket that was full. It watches
// only such sockets, each for one event, on a goroutine of its own.
type gnetWaiter struct {
	epoll                          int
	doorbellReader, doorbellWriter int
	donec                          chan struct{}
	running                        bool
}

func newGnetWaiter() (*gnetWaiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	w := &gnetWaiter{epoll: epoll, donec: make(chan struct{})}
	if w.doorbellReader, w.doorbellWriter, err = newDoorbell(); err != nil {
		_ = unix.Close(epoll)
		return nil, err
	}
	if err := w.control(unix.EPOLL_CTL_ADD, w.doorbellReader, unix.EPOLLIN, doorbellToken()); err != nil {
		_ = unix.Close(epoll)
		_ = unix.Close(w.doorbellReader)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return w, nil
}

// control is epoll_ctl(2) with the ID in the event's data.
func (w *gnetWaiter) control(op, fd int, events uint32, id ID) error {
	event := unix.EpollEvent{Events: events}
	*(*ID)(unsafe.Pointer(&event.Fd)) = id // Fd and Pad together are the data
	return unix.EpollCtl(w.epoll, op, fd, &event)
}

// await asks for one event of fd. Any goroutine.
func (w *gnetWaiter) await(fd int, id ID) error {
	const events = unix.EPOLLOUT | unix.EPOLLONESHOT
	err := w.control(unix.EPOLL_CTL_MOD, fd, events, id)
	if err == unix.ENOENT {
		err = w.control(unix.EPOLL_CTL_ADD, fd, events, id)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// forget takes fd out again, before it is closed: it may have a duplicate.
func (w *gnetWaiter) forget(fd int) { _ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

// run hands each event to room, until close.
func (w *gnetWaiter) run(room func(id ID, hangup bool)) {
	defer close(w.donec)
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(w.epoll, events[:], -1)
		if err != nil && err != unix.EINTR {
			panic("netpoll: epoll_wait: " + err.Error()) // the descriptor is ours
		}
		for _, event := range events[:max(n, 0)] {
			id := *(*ID)(unsafe.Pointer(&event.Fd))
			if id == doorbellToken() {
				return
			}
			room(id, event.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0)
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
	_ = unix.Close(w.epoll)
	_ = unix.Close(w.doorbellReader)
}
