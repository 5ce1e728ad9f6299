//go:build darwin || freebsd

package easygo

import (
	"os"

	easygo "github.com/mailru/easygo/netpoll"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/loop"
)

type backend struct{ kqueue *easygo.Kqueue }

func newBackend(onError func(error)) (backend, error) {
	kqueue, err := easygo.KqueueCreate(&easygo.KqueueConfig{OnWaitError: onError})
	if err != nil {
		return backend{}, os.NewSyscallError("kqueue", err)
	}
	return backend{kqueue}, nil
}

// close ends easygo's goroutine, which then closes the kqueue. easygo's own
// Close does nothing, but its goroutine returns at an event whose ident is -1:
// a timer may have any ident, and one of 0 milliseconds is over at once.
func (b backend) close() {
	_ = b.kqueue.Add(-1, easygo.Kevents{{
		Filter: easygo.EVFILT_TIMER,
		Flags:  easygo.EV_ADD | easygo.EV_ONESHOT,
	}}, 1, func(easygo.Kevent) {})
}

// Add is part of [loop.Poller].
func (p *poller) Add(fd int, token netpoll.ID, in loop.Interest) error {
	changes, n := kqueueChanges(0, in)
	err := p.backend.kqueue.Add(fd, changes, n, func(ev easygo.Kevent) {
		p.event(token, kqueueReadiness(ev))
	})
	if err != nil {
		_ = p.backend.kqueue.Del(fd) // the map has an entry all the same
		return os.NewSyscallError("kevent", err)
	}
	return nil
}

// Modify is part of [loop.Poller].
func (p *poller) Modify(fd int, _ netpoll.ID, was, in loop.Interest) error {
	changes, n := kqueueChanges(was, in)
	return os.NewSyscallError("kevent", p.backend.kqueue.Mod(fd, changes, n))
}

// Remove is part of [loop.Poller]. It takes each filter out by itself, for one that is not there is an error
// and stops a list of changes. close(2) would do it too, but not every
// descriptor is closed after it; and easygo's Del only forgets the callback,
// which leaves events without a receiver.
func (p *poller) Remove(fd int) {
	for _, in := range []loop.Interest{loop.InterestRead, loop.InterestWrite} {
		changes, n := kqueueChanges(in, 0)
		_ = p.backend.kqueue.Mod(fd, changes, n)
	}
	_ = p.backend.kqueue.Del(fd)
}

// kqueueChanges leads from one interest to another. There is no hint for
// descriptors that several loops watch: all of them wake up.
func kqueueChanges(was, in loop.Interest) (changes easygo.Kevents, n int) {
	for _, filter := range []struct {
		interest loop.Interest
		filter   easygo.KeventFilter
	}{
		{loop.InterestRead, easygo.EVFILT_READ},
		{loop.InterestWrite, easygo.EVFILT_WRITE},
	} {
		if (was^in)&filter.interest == 0 {
			continue
		}
		changes[n].Filter = filter.filter
		changes[n].Flags = easygo.EV_DELETE
		if in&filter.interest != 0 {
			changes[n].Flags = easygo.EV_ADD
		}
		n++
	}
	return changes, n
}

// kqueueReadiness never returns ReadyHangup: a filter that is not there reports
// nothing, and one that is there finds out by reading or writing.
func kqueueReadiness(ev easygo.Kevent) loop.Readiness {
	if ev.Filter == easygo.EVFILT_WRITE {
		return loop.ReadyWrite
	}
	return loop.ReadyRead
}
