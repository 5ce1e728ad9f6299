package easygo

import (
	"os"
	"reflect"

	easygo "github.com/mailru/easygo/netpoll"
	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/loop"
)

type backend struct{ epoll *easygo.Epoll }

func newBackend(onError func(error)) (backend, error) {
	epoll, err := easygo.EpollCreate(&easygo.EpollConfig{OnWaitError: onError})
	if err != nil {
		return backend{}, os.NewSyscallError("epoll_create1", err)
	}
	// easygo leaves its descriptors open in programs that we start, and has no
	// method that returns them.
	for _, name := range []string{"fd", "eventFd"} {
		if field := reflect.ValueOf(epoll).Elem().FieldByName(name); field.CanInt() {
			unix.CloseOnExec(int(field.Int()))
		}
	}
	return backend{epoll}, nil
}

func (b backend) close() { _ = b.epoll.Close() }

// Add is part of [loop.Poller].
func (p *poller) Add(fd int, token netpoll.ID, in loop.Interest) error {
	err := p.backend.epoll.Add(fd, easygo.EpollEvent(loop.EpollEvents(in)), func(ev easygo.EpollEvent) {
		p.event(token, loop.EpollReadiness(uint32(ev)))
	})
	if err != nil {
		p.Remove(fd) // the map has an entry all the same
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// Modify is part of [loop.Poller].
func (p *poller) Modify(fd int, _ netpoll.ID, _, in loop.Interest) error {
	return os.NewSyscallError("epoll_ctl", p.backend.epoll.Mod(fd, easygo.EpollEvent(loop.EpollEvents(in))))
}

// Remove is part of [loop.Poller].
func (p *poller) Remove(fd int) { _ = p.backend.epoll.Del(fd) }
