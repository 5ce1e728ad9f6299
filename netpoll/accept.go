//go:build linux || darwin || freebsd

package netpoll

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// acceptsPerEvent bounds how many newcomers a listener hands over in one turn:
// a storm of them must not starve those who are connected. The poller reports
// the rest again.
const acceptsPerEvent = 256

// acceptState is what a loop needs for accepting.
type acceptState struct {
	// spare is a descriptor to give up when there are no others, -1 if even
	// that is gone.
	spare int
	// resting are the listeners, by index, that the poller does not watch until
	// the next tick, because nothing can be done for their newcomers.
	resting []int
}

// An attachment is a socket on its way from Attach to OnOpen.
type attachment struct {
	fd  int
	tag uint64
}

// accept takes newcomers from one listener.
func (l *loop) accept(index int) {
	ln := l.engine.listeners[l.index][index]
	for range acceptsPerEvent {
		fd, errno := ln.accept()
		switch errno {
		case 0:
			l.admit(fd, uint64(index))
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED:
			// The newcomer is gone; the next one, please.
		case unix.EMFILE, unix.ENFILE:
			switch l.refuseWithSpare(ln) {
			case 0:
			case unix.EAGAIN:
				return // Linux says EMFILE before it looks if anyone is there
			default:
				l.rest(ln, index)
				return
			}
		case unix.ENOBUFS, unix.ENOMEM:
			l.counts.refusedNoMemory++
			l.rest(ln, index)
			return
		case unix.EBADF:
			return // closed by StopAccepting
		default:
			// Linux reports errors of the newcomer's own route here.
			l.counts.acceptErrors++
			if !passingAcceptError(errno) {
				l.rest(ln, index)
				return
			}
		}
	}
}

// admit makes a newcomer a connection, or sends it away.
func (l *loop) admit(fd int, tag uint64) {
	if !l.engine.reserve() {
		l.counts.refusedMaxConns++
		_ = unix.Close(fd)
		return
	}
	l.counts.accepted++
	prepareAccepted(fd, &l.engine.cfg)
	// With deferred accept there is something to read: no need to be told.
	l.open(fd, tag, l.engine.cfg.DeferAccept > 0)
}

// open gives a descriptor its slot and reports it.
func (l *loop) open(fd int, tag uint64, readNow bool) {
	slot, s := l.table.take(fd)
	id := MakeID(l.index, slot, s.generation)
	l.counts.conns++
	s.flags |= opening
	l.onOpen(id, tag)
	if readNow && s.flags&(dead|lingering|paused) == 0 {
		l.read(id, s)
	}
	s.flags &^= opening
	l.watch(id, s)
}

// refuseWithSpare sends a newcomer away for whom there is no descriptor: with
// the spare one it can be accepted and closed, so that it does not wait for
// ever. It answers what accept said, or EMFILE if there is no spare one either.
func (l *loop) refuseWithSpare(ln *listener) unix.Errno {
	if l.accepting.spare < 0 {
		l.counts.refusedNoDescriptor++
		return unix.EMFILE
	}
	if !someoneWaits(ln.fd) {
		return unix.EAGAIN
	}
	_ = unix.Close(l.accepting.spare)
	fd, errno := ln.accept()
	if errno == 0 {
		l.counts.refusedNoDescriptor++
		l.accepting.spare = turnIntoSpare(fd)
	} else {
		l.accepting.spare = openSpare()
	}
	return errno
}

// rest stops watching a listener until the next tick.
func (l *loop) rest(ln *listener, index int) {
	ln.mu.RLock()
	defer ln.mu.RUnlock()
	if ln.fd >= 0 {
		l.poll.remove(ln.fd)
		l.accepting.resting = append(l.accepting.resting, index)
	}
}

// resumeListeners watches the resting listeners again.
func (l *loop) resumeListeners() {
	if l.accepting.spare < 0 {
		l.accepting.spare = openSpare()
	}
	resting := l.accepting.resting
	l.accepting.resting = resting[:0]
	for _, index := range resting {
		if l.watchListener(index) != nil {
			l.accepting.resting = append(l.accepting.resting, index)
		}
	}
}

// watchListeners makes the poller report newcomers.
func (l *loop) watchListeners() error {
	for index := range l.engine.addrs {
		if err := l.watchListener(index); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) watchListener(index int) error {
	ln := l.engine.listeners[l.index][index]
	ln.mu.RLock()
	defer ln.mu.RUnlock()
	if ln.fd < 0 {
		return nil
	}
	in := interestRead
	if ln.shared {
		in |= interestExclusive
	}
	return l.poll.add(ln.fd, listenerToken(index), in)
}

// Attach is part of [Loop].
func (l *loop) Attach(fd int, tag uint64) error {
	if tag < AttachTag {
		return fmt.Errorf("netpoll: attach with tag %d, must be at least %d", tag, uint64(AttachTag))
	}
	if l.ended || l.stopping.Load() {
		return ErrEngineClosed
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return fmt.Errorf("netpoll: attach descriptor %d: not a stream socket", fd)
	}
	if !l.engine.reserve() {
		return ErrTooManyConns
	}
	l.attached = append(l.attached, attachment{fd, tag})
	return nil
}

// openAttached reports the sockets that Attach took.
func (l *loop) openAttached() {
	if len(l.attached) == 0 {
		return
	}
	// OnOpen may attach more: they wait for the next turn.
	attached := l.attached
	l.attached = nil
	for _, a := range attached {
		l.counts.attached++
		prepareAttached(a.fd, &l.engine.cfg)
		l.open(a.fd, a.tag, false)
	}
}
