package main

import (
	"bytes"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readBufferBytes = 64 << 10
	maxFrameBytes   = 1 << 20
	// maxRequestBytes bounds what is kept of an upgrade request.
	maxRequestBytes = 8 << 10
)

// The states of a descriptor.
const (
	stateNone = iota
	stateUpgrading
	stateOpen
)

// A loop is one thread with its own listener, poller and connections. Except
// for inbox and the counters, all of it belongs to that thread. What it knows
// of a connection are 9 bytes in tables indexed by descriptor or dense; the
// tables are as long as the descriptor limit, but memory that was never
// touched costs nothing.
type loop struct {
	cfg              *config
	epfd, listenFD   int
	wakeFD           int
	others           []*loop
	buf              []byte
	out              []byte           // upgrade answers
	state            []uint8          // by descriptor
	place            []int32          // by descriptor: index in open
	open             []int32          // upgraded connections, dense
	partial          map[int32][]byte // bytes of incomplete frames or requests, only while incomplete
	cut              []int32          // connections to close after a broadcast
	inboxTaken       []byte
	inboxTakenFrames []int

	counters counters // Atomic: any goroutine.

	mu          sync.Mutex
	inbox       []byte // Guarded by mu: frames to broadcast, end to end.
	inboxFrames []int  // Guarded by mu: their lengths.
}

func newLoop(cfg *config) (*loop, error) {
	fdLimit, err := raiseDescriptorLimit()
	if err != nil {
		return nil, err
	}
	l := &loop{
		cfg:     cfg,
		buf:     make([]byte, readBufferBytes),
		state:   make([]uint8, fdLimit),
		place:   make([]int32, fdLimit),
		open:    make([]int32, 0, fdLimit),
		partial: make(map[int32][]byte),
	}
	if l.listenFD, err = listen(cfg); err != nil {
		return nil, err
	}
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("eventfd2", err)
	}
	for _, fd := range []int{l.listenFD, l.wakeFD} {
		if err := l.watch(fd); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func raiseDescriptorLimit() (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, os.NewSyscallError("setrlimit", err)
	}
	return int(lim.Max), nil
}

// listen opens the listener and, the first time, writes the port that the
// system chose back into cfg.
func listen(cfg *config) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	type option struct {
		name              string
		level, opt, value int
	}
	options := []option{
		{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, // accepted sockets inherit it
	}
	if cfg.reusePort {
		options = append(options, option{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	if cfg.deferSecs > 0 {
		options = append(options, option{"TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, cfg.deferSecs})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return -1, os.NewSyscallError("setsockopt "+o.name, err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(cfg.addr.Port()), Addr: cfg.addr.Addr().As4()}); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 65535); err != nil {
		return -1, os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, os.NewSyscallError("getsockname", err)
	}
	cfg.addr = addrPortOf(name, cfg.addr)
	return fd, nil
}

func (l *loop) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if _, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(l.epfd), unix.EPOLL_CTL_ADD,
		uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0); errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

func (l *loop) run() error {
	runtime.LockOSThread()
	var events [256]unix.EpollEvent
	for {
		// All calls are raw, this one too: a wait that Go's scheduler knows of costs
		// a server in Go what a server in C does not pay.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epfd),
			uintptr(unsafe.Pointer(&events)), uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return os.NewSyscallError("epoll_wait", errno)
		}
		for i := range n {
			switch fd := events[i].Fd; int(fd) {
			case l.listenFD:
				l.accept()
			case l.wakeFD:
				l.drainInbox()
			default:
				l.read(fd)
			}
		}
	}
}

func (l *loop) accept() {
	for {
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(l.listenFD), 0, 0,
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno != 0 {
			return // EAGAIN, or nothing that this program could do about it
		}
		if err := l.watch(int(fd)); err != nil {
			l.closeFD(int32(fd))
			continue
		}
		l.counters.accepted.Add(1)
		l.state[fd] = stateUpgrading
		if l.cfg.deferSecs > 0 {
			l.read(int32(fd))
		}
	}
}

// read takes what one recvfrom gives; level triggering reports the rest.
func (l *loop) read(fd int32) {
	if l.state[fd] == stateNone {
		return
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(&l.buf[0])), uintptr(len(l.buf)), 0, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 || n == 0 {
		l.drop(fd)
		return
	}
	p := l.buf[:n]
	if len(l.partial) > 0 {
		if held, ok := l.partial[fd]; ok {
			delete(l.partial, fd)
			p = append(held, p...)
		}
	}
	if l.state[fd] == stateUpgrading {
		p = l.upgrade(fd, p)
	}
	if l.state[fd] == stateOpen {
		p = l.frames(fd, p)
	}
	if len(p) > 0 && l.state[fd] != stateNone {
		l.partial[fd] = bytes.Clone(p)
	}
}

// upgrade responds to the request when it is whole and returns what follows it, or
// what it has of it.
func (l *loop) upgrade(fd int32, p []byte) []byte {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p) > maxRequestBytes {
			l.drop(fd)
		}
		return p
	}
	var err error
	if l.out, err = appendUpgrade(l.out[:0], p[:end+2]); err != nil || !l.send(fd, l.out) {
		l.drop(fd)
		return nil
	}
	l.state[fd] = stateOpen
	l.place[fd] = int32(len(l.open))
	l.open = append(l.open, fd)
	return p[end+4:]
}

// frames serves the whole frames in p and returns the rest.
func (l *loop) frames(fd int32, p []byte) []byte {
	for l.state[fd] == stateOpen {
		opcode, n, err := unmaskFrame(p)
		if err != nil {
			l.drop(fd)
			return nil
		}
		if n == 0 {
			return p
		}
		l.serve(fd, opcode, p[serverOffset:n])
		p = p[n:]
	}
	return nil
}

// serve does what one client frame asks for; reply is the same frame as the
// server sends it.
func (l *loop) serve(fd int32, opcode byte, reply []byte) {
	switch opcode {
	case opClose:
		l.send(fd, reply)
		l.drop(fd)
	case opPong:
	case opPing:
		reply[0] = 0x80 | opPong
		if !l.send(fd, reply) {
			l.drop(fd)
		}
	default:
		l.counters.messages.Add(1)
		if l.cfg.broadcast {
			l.publish(reply)
		} else if !l.send(fd, reply) {
			l.counters.cut.Add(1)
			l.drop(fd)
		} else {
			l.counters.deliveries.Add(1)
		}
	}
}
