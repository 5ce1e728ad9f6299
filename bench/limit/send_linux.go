package main

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (l *loop) sendRaw(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// send reports whether all of p fitted.
func (l *loop) send(fd int32, p []byte) bool {
	n, errno := l.sendRaw(fd, p)
	return errno == 0 && n == len(p)
}

// publish hands a frame to the other loops and sends it to this one's
// connections.
func (l *loop) publish(frame []byte) {
	for _, o := range l.others {
		o.post(frame)
	}
	l.fanOut(frame)
}

// fanOut is the bare send loop: one system call per receiver.
func (l *loop) fanOut(frame []byte) {
	delivered, dropped := 0, 0
	for _, fd := range l.open {
		n, errno := l.sendRaw(fd, frame)
		switch {
		case errno == 0 && n == len(frame):
			delivered++
		case errno == unix.EAGAIN:
			dropped++
		case errno == 0:
			l.cut = append(l.cut, fd)
		default: // the poller will report it
		}
	}
	l.counters.deliveries.Add(uint64(delivered))
	l.counters.dropped.Add(uint64(dropped))
	for _, fd := range l.cut {
		l.counters.cut.Add(1)
		l.drop(fd)
	}
	l.cut = l.cut[:0]
}

// post appends a copy of frame to the loop's inbox. Any loop's thread.
func (l *loop) post(frame []byte) {
	l.mu.Lock()
	first := len(l.inboxFrames) == 0
	l.inbox = append(l.inbox, frame...)
	l.inboxFrames = append(l.inboxFrames, len(frame))
	l.mu.Unlock()
	if first {
		one := [8]byte{}
		binary.NativeEndian.PutUint64(one[:], 1)
		unix.RawSyscall(unix.SYS_WRITE, uintptr(l.wakeFD), uintptr(unsafe.Pointer(&one[0])), 8)
	}
}

func (l *loop) drainInbox() {
	var count [8]byte
	unix.RawSyscall(unix.SYS_READ, uintptr(l.wakeFD), uintptr(unsafe.Pointer(&count[0])), 8)
	l.mu.Lock()
	l.inbox, l.inboxTaken = l.inboxTaken[:0], l.inbox
	l.inboxFrames, l.inboxTakenFrames = l.inboxTakenFrames[:0], l.inboxFrames
	l.mu.Unlock()
	rest := l.inboxTaken
	for _, n := range l.inboxTakenFrames {
		l.fanOut(rest[:n])
		rest = rest[n:]
	}
}

// drop forgets a connection and closes its descriptor.
func (l *loop) drop(fd int32) {
	if l.state[fd] == stateOpen {
		last := l.open[len(l.open)-1]
		l.open[l.place[fd]] = last
		l.place[last] = l.place[fd]
		l.open = l.open[:len(l.open)-1]
	}
	l.state[fd] = stateNone
	delete(l.partial, fd)
	l.counters.closed.Add(1)
	l.closeFD(fd)
}

func (l *loop) closeFD(fd int32) {
	unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// addrPortOf is what the system answered, or fallback where it is no IPv4
// address.
func addrPortOf(name unix.Sockaddr, fallback netip.AddrPort) netip.AddrPort {
	in4, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return fallback
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
}
