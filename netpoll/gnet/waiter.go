//go:build linux || darwin || freebsd

package gnet

import (
	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// A waiter reports when there is room in a socket that was full. It watches only
// such sockets, each for one event, on a goroutine of its own.
type waiter struct {
	waitPoller // per system; any goroutine may call await and forget
	doorbell   *sock.Doorbell
	donec      chan struct{}
	running    bool
}

func newWaiter() (*waiter, error) {
	w := &waiter{donec: make(chan struct{})}
	if err := w.open(); err != nil {
		return nil, err
	}
	var err error
	if w.doorbell, err = sock.NewDoorbell(); err != nil {
		_ = unix.Close(w.fd)
		return nil, err
	}
	if err := w.watchDoorbell(w.doorbell.FD()); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// run hands each event to room, until close.
func (w *waiter) run(room func(id netpoll.ID, hangup bool)) {
	defer close(w.donec)
	for rung := false; !rung; {
		var err error
		if rung, err = w.wait(w.doorbell.FD(), room); err != nil && err != unix.EINTR {
			panic("netpoll: wait for room: " + err.Error()) // the descriptor is ours
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
	_ = unix.Close(w.fd)
	w.doorbell.Close()
}
