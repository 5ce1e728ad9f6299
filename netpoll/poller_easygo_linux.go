package netpoll

import (
	"os"
	"reflect"

	easygo "github.com/mailru/easygo/netpoll"
	"golang.org/x/sys/unix"
)

type easygoBackend struct{ epoll *easygo.Epoll }

func newEasygoBackend(onError func(error)) (easygoBackend, error) {
	epoll, err := easygo.EpollCreate(&easygo.EpollConfig{OnWaitError: onError})
	if err != nil {
		return easygoBackend{}, os.NewSyscallError("epoll_create1", err)
	}
	// easygo leaves its descriptors open in programs that we start, and has no
	// method that tells them.
	for _, name := range []string{"fd", "eventFd"} {
		if field := reflect.ValueOf(epoll).Elem().FieldByName(name); field.CanInt() {
			unix.CloseOnExec(int(field.Int()))
		}
	}
	return easygoBackend{epoll}, nil
}

func (b easygoBackend) close() { _ = b.epoll.Close() }

func (p *easygoPoller) add(fd int, token ID, in interest) error {
	err := p.backend.epoll.Add(fd, easygo.EpollEvent(epollInterest(in)), func(ev easygo.EpollEvent) {
		p.event(token, epollReadiness(uint32(ev)))
	})
	if err != nil {
		p.remove(fd) // the map has an entry all the same
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

func (p *easygoPoller) modify(fd int, _ ID, _, in interest) error {
	return os.NewSyscallError("epoll_ctl", p.backend.epoll.Mod(fd, easygo.EpollEvent(epollInterest(in))))
}

func (p *easygoPoller) remove(fd int) { _ = p.backend.epoll.Del(fd) }
