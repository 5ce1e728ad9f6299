package netpoll

import (
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eventsPerWait is how many events one epoll_wait fetches: enough that its cost
// vanishes among them, few enough that a newcomer or a wake-up does not wait
// for thousands of reads.
const eventsPerWait = 256

// An epollPoller is Roost's own: an epoll descriptor and a thread.
type epollPoller struct {
	fd     int
	events [eventsPerWait]unix.EpollEvent
}

func startEpoll(cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	return startEngine(Epoll, cfg, newEpollPoller, newHandler)
}

func newEpollPoller(*engine) (poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &epollPoller{fd: fd}, nil
}

func (p *epollPoller) alwaysRing() bool { return false }

func (p *epollPoller) close() { _ = unix.Close(p.fd) }

// run is part of poller. It polls without blocking as long as that finds
// something, and sleeps when it does not: only the sleep is worth telling the
// scheduler about.
func (p *epollPoller) run(l *loop) error {
	runtime.LockOSThread() // for ever: the thread ends with the goroutine
	l.start()
	if err := p.add(l.doorbellReader, doorbellToken(), interestRead); err != nil {
		return err
	}
	for !l.ended {
		n, err := p.wait(l)
		if err != nil {
			return err
		}
		for i := range n {
			ev := &p.events[i]
			l.ready(epollToken(ev), epollReadiness(ev.Events))
		}
		l.endTurn()
	}
	return nil
}

// wait fetches events, or sleeps until there is one, a wake-up or a deadline.
func (p *epollPoller) wait(l *loop) (int, error) {
	n, errno := p.pollNow()
	if n > 0 || l.hasLeftover() {
		return n, epollError(errno)
	}
	l.sleeping.Store(true)
	defer l.sleeping.Store(false)
	if l.woken.Load() || l.stopping.Load() {
		return 0, nil // by somebody who did not see us sleeping
	}
	n, errno = p.sleep(time.Duration(l.deadline() - l.engine.now()))
	return n, epollError(errno)
}

// pollNow asks without waiting. It is a raw system call: the scheduler is not
// told, as it cannot block.
func (p *epollPoller) pollNow() (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), eventsPerWait, 0, 0, 0)
	if errno != 0 {
		n = 0
	}
	return int(n), errno
}

// sleep waits for an event.
func (p *epollPoller) sleep(longest time.Duration) (int, unix.Errno) {
	// Rounded up, or the last millisecond would be spent in a spin.
	milliseconds := max(0, (longest+time.Millisecond-1)/time.Millisecond)
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), eventsPerWait, uintptr(milliseconds), 0, 0)
	if errno != 0 {
		n = 0
	}
	return int(n), errno
}

func epollError(errno unix.Errno) error {
	if errno == 0 || errno == unix.EINTR {
		return nil
	}
	return os.NewSyscallError("epoll_wait", errno)
}

func (p *epollPoller) add(fd int, token ID, in interest) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, token, in)
}

func (p *epollPoller) modify(fd int, token ID, _, in interest) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, token, in)
}

// remove is not left to close(2): a descriptor that has been handed to another
// process stays open there, and its events would come here for ever.
func (p *epollPoller) remove(fd int) {
	unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), unix.EPOLL_CTL_DEL, uintptr(fd), 0, 0, 0)
}

func (p *epollPoller) control(op, fd int, token ID, in interest) error {
	ev := unix.EpollEvent{Events: epollInterest(in), Fd: int32(token), Pad: int32(token >> 32)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// epollToken is what control put into an event.
func epollToken(ev *unix.EpollEvent) ID {
	return ID(uint32(ev.Fd)) | ID(uint32(ev.Pad))<<32
}

// epollInterest: EPOLLRDHUP is not among it, because the end of the peer's
// direction sets EPOLLIN too, and a paused connection must not hear of either.
func epollInterest(in interest) (events uint32) {
	if in&interestRead != 0 {
		events |= unix.EPOLLIN
	}
	if in&interestWrite != 0 {
		events |= unix.EPOLLOUT
	}
	if in&interestExclusive != 0 {
		events |= unix.EPOLLEXCLUSIVE
	}
	return events
}

func epollReadiness(events uint32) (what readiness) {
	if events&unix.EPOLLIN != 0 {
		what |= readyRead
	}
	if events&unix.EPOLLOUT != 0 {
		what |= readyWrite
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		what |= readyHangup
	}
	return what
}
