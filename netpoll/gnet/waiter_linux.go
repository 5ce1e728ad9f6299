package gnet

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// A waitPoller is the epoll descriptor of a waiter.
type waitPoller struct{ fd int }

// doorbellID marks the event of the doorbell; no connection has generation 0.
const doorbellID netpoll.ID = 0

func (p *waitPoller) open() (err error) {
	p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return os.NewSyscallError("epoll_create1", err)
}

// control is epoll_ctl(2) with the ID in the event's data.
func (p *waitPoller) control(op, fd int, events uint32, id netpoll.ID) error {
	event := unix.EpollEvent{Events: events}
	*(*netpoll.ID)(unsafe.Pointer(&event.Fd)) = id // Fd and Pad together are the data
	return unix.EpollCtl(p.fd, op, fd, &event)
}

func (p *waitPoller) watchDoorbell(fd int) error {
	return os.NewSyscallError("epoll_ctl", p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, doorbellID))
}

// await asks for one event of fd.
func (p *waitPoller) await(fd int, id netpoll.ID) error {
	const events = unix.EPOLLOUT | unix.EPOLLONESHOT
	err := p.control(unix.EPOLL_CTL_MOD, fd, events, id)
	if err == unix.ENOENT {
		err = p.control(unix.EPOLL_CTL_ADD, fd, events, id)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// forget takes fd out again, before it is closed: it may have a duplicate.
func (p *waitPoller) forget(fd int) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// wait waits for events and hands them to room. It reports whether the doorbell
// was rung.
func (p *waitPoller) wait(_ int, room func(id netpoll.ID, hangup bool)) (rung bool, err error) {
	var events [64]unix.EpollEvent
	n, err := unix.EpollWait(p.fd, events[:], -1)
	for _, event := range events[:max(n, 0)] {
		id := *(*netpoll.ID)(unsafe.Pointer(&event.Fd))
		if id == doorbellID {
			return true, nil
		}
		room(id, event.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0)
	}
	return false, err
}
