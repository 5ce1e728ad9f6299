package gnet

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// A waiter reports when there is room in a socket that was full. It watches only
// such sockets, each for one event, on a goroutine of its own.
type waiter struct {
	epoll    int
	doorbell *sock.Doorbell
	donec    chan struct{}
	running  bool
}

// doorbellID marks the event of the doorbell; no connection has generation 0.
const doorbellID netpoll.ID = 0

func newWaiter() (*waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	w := &waiter{epoll: epoll, donec: make(chan struct{})}
	if w.doorbell, err = sock.NewDoorbell(); err != nil {
		_ = unix.Close(epoll)
		return nil, err
	}
	if err := w.control(unix.EPOLL_CTL_ADD, w.doorbell.FD(), unix.EPOLLIN, doorbellID); err != nil {
		w.close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return w, nil
}

// control is epoll_ctl(2) with the ID in the event's data.
func (w *waiter) control(op, fd int, events uint32, id netpoll.ID) error {
	event := unix.EpollEvent{Events: events}
	*(*netpoll.ID)(unsafe.Pointer(&event.Fd)) = id // Fd and Pad together are the data
	return unix.EpollCtl(w.epoll, op, fd, &event)
}

// await asks for one event of fd. Any goroutine.
func (w *waiter) await(fd int, id netpoll.ID) error {
	const events = unix.EPOLLOUT | unix.EPOLLONESHOT
	err := w.control(unix.EPOLL_CTL_MOD, fd, events, id)
	if err == unix.ENOENT {
		err = w.control(unix.EPOLL_CTL_ADD, fd, events, id)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// forget takes fd out again, before it is closed: it may have a duplicate.
func (w *waiter) forget(fd int) { _ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

// run hands each event to room, until close.
func (w *waiter) run(room func(id netpoll.ID, hangup bool)) {
	defer close(w.donec)
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(w.epoll, events[:], -1)
		if err != nil && err != unix.EINTR {
			panic("netpoll: epoll_wait: " + err.Error()) // the descriptor is ours
		}
		for _, event := range events[:max(n, 0)] {
			id := *(*netpoll.ID)(unsafe.Pointer(&event.Fd))
			if id == doorbellID {
				return
			}
			room(id, event.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0)
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
	_ = unix.Close(w.epoll)
	w.doorbell.Close()
}
