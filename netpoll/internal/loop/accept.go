//go:build linux || darwin || freebsd

package loop

import (
	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/conns"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// acceptsPerEvent bounds how many connections a listener hands over in one turn:
// a storm of them must not starve those that are open. The poller reports the
// rest again.
const acceptsPerEvent = 256

// accept takes new connections from one listener.
func (l *Loop) accept(index int) {
	ln := l.engine.listeners[l.Index()][index]
	for range acceptsPerEvent {
		fd, errno := ln.Accept()
		switch errno {
		case 0:
			l.admit(fd, uint64(index))
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED:
			// This client is gone; take the next one.
		case unix.EMFILE, unix.ENFILE:
			switch l.refuseWithSpare(ln) {
			case 0:
			case unix.EAGAIN:
				return // Linux returns EMFILE before it looks for a client
			default:
				l.rest(ln, index)
				return
			}
		case unix.ENOBUFS, unix.ENOMEM:
			l.Count.RefusedNoMemory++
			l.rest(ln, index)
			return
		case unix.EBADF:
			return // closed by StopAccepting
		default:
			// Linux reports errors of the client's own route here.
			l.Count.AcceptErrors++
			if !sock.IsPassingAcceptError(errno) {
				l.rest(ln, index)
				return
			}
		}
	}
}

// admit makes an accepted socket a connection, or closes it if there are too
// many.
func (l *Loop) admit(fd int, tag uint64) {
	if !l.Shared.Reserve() {
		l.Count.RefusedMaxConns++
		_ = unix.Close(fd)
		return
	}
	l.Count.Accepted++
	sock.PrepareAccepted(fd, &l.Shared.Config)
	// With deferred accept there is something to read already.
	l.open(fd, tag, 0, l.Shared.Config.DeferAccept > 0)
}

// open gives a descriptor its slot and calls OnOpen.
func (l *Loop) open(fd int, tag uint64, flags conns.Flags, readNow bool) {
	id, s := l.Add(fd, flags|opening)
	l.CallOpen(id, tag)
	if readNow && s.Flags&(conns.Dead|conns.Lingering|conns.Paused) == 0 {
		l.read(id, s)
	}
	s.Flags &^= opening
	l.watch(id, s)
}

// openAttached opens a socket that Attach took.
func (l *Loop) openAttached(fd int, tag uint64) { l.open(fd, tag, conns.Connecting, false) }

// refuseWithSpare accepts and closes one client for which there is no
// descriptor. It returns what sock.Spares.Refuse does.
func (l *Loop) refuseWithSpare(ln *sock.Listener) unix.Errno {
	errno := unix.EBADF
	_ = ln.Use(func(fd int) error {
		errno = l.spare.Refuse(fd)
		return nil
	})
	if errno == 0 || errno == unix.EMFILE {
		l.Count.RefusedNoDescriptor++
	}
	return errno
}

// rest stops watching a listener until the next tick.
func (l *Loop) rest(ln *sock.Listener, index int) {
	_ = ln.Use(func(fd int) error {
		l.poll.Remove(fd)
		l.resting = append(l.resting, index)
		return nil
	})
}

// resumeListeners watches the resting listeners again.
func (l *Loop) resumeListeners() {
	if l.spare.Len() == 0 {
		l.spare.Fill(1)
	}
	resting := l.resting
	l.resting = resting[:0]
	for _, index := range resting {
		if l.watchListener(index) != nil {
			l.resting = append(l.resting, index)
		}
	}
}

// watchListeners makes the poller report new connections.
func (l *Loop) watchListeners() error {
	for index := range l.engine.addrs {
		if err := l.watchListener(index); err != nil {
			return err
		}
	}
	return nil
}

// watchListener makes the poller report the connections of one listener, unless
// it is closed.
func (l *Loop) watchListener(index int) error {
	ln := l.engine.listeners[l.Index()][index]
	in := InterestRead
	if ln.Shared {
		in |= InterestExclusive
	}
	err := ln.Use(func(fd int) error { return l.poll.Add(fd, listenerToken(index), in) })
	if err == unix.EBADF {
		return nil
	}
	return err
}

var _ netpoll.Loop = (*Loop)(nil)
