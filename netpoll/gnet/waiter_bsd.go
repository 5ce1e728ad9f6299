//go:build darwin || freebsd

package gnet

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// A waitPoller is the kqueue of a waiter.
type waitPoller struct {
	fd int

	// Guarded by mu.
	mu  sync.Mutex
	ids map[int]netpoll.ID // by descriptor
}

func (p *waitPoller) open() (err error) {
	p.ids = make(map[int]netpoll.ID)
	if p.fd, err = unix.Kqueue(); err == nil {
		unix.CloseOnExec(p.fd)
	}
	return os.NewSyscallError("kqueue", err)
}

func (p *waitPoller) change(fd, filter, flags int) error {
	var event unix.Kevent_t
	unix.SetKevent(&event, fd, filter, flags)
	_, err := unix.Kevent(p.fd, []unix.Kevent_t{event}, nil, nil)
	return os.NewSyscallError("kevent", err)
}

func (p *waitPoller) watchDoorbell(fd int) error {
	return p.change(fd, unix.EVFILT_READ, unix.EV_ADD)
}

// await asks for one event of fd.
func (p *waitPoller) await(fd int, id netpoll.ID) error {
	p.mu.Lock()
	p.ids[fd] = id
	p.mu.Unlock()
	return p.change(fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_ONESHOT)
}

// forget takes fd out again, before it is closed.
func (p *waitPoller) forget(fd int) {
	p.mu.Lock()
	delete(p.ids, fd)
	p.mu.Unlock()
	_ = p.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE)
}

// wait waits for events and hands them to room. It reports whether the doorbell
// was rung.
func (p *waitPoller) wait(doorbell int, room func(id netpoll.ID, hangup bool)) (rung bool, err error) {
	var events [64]unix.Kevent_t
	n, err := unix.Kevent(p.fd, nil, events[:], nil)
	for _, event := range events[:max(n, 0)] {
		fd := int(event.Ident)
		if fd == doorbell {
			return true, nil
		}
		p.mu.Lock()
		id, ok := p.ids[fd]
		delete(p.ids, fd)
		p.mu.Unlock()
		if ok {
			room(id, event.Flags&unix.EV_EOF != 0)
		}
	}
	return false, err
}
