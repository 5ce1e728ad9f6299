// Package epoll is Roost's own engine, the default on Linux: accept until
// EAGAIN, read straight after accept, raw system calls, pointer-free tables.
package epoll

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/internal/procs"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/loop"
)

// Driver starts engines of this package.
var Driver netpoll.Driver = driver{}

type driver struct{}

func (driver) Name() string { return "epoll" }

func (driver) Start(cfg netpoll.Config, newHandler func(l netpoll.Loop) netpoll.Handler) (netpoll.Engine, error) {
	e, err := loop.Start(cfg, newPoller, newHandler)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// eventsPerWait is how many events one epoll_wait fetches: enough that its cost
// vanishes among them, few enough that a new connection or a wake-up does not wait
// for thousands of reads.
const eventsPerWait = 256

// holdTime is how long after its last event a loop that waits keeps its P: longer than
// the gaps between the events of a busy loop, or between 20 bursts a second. A process all
// of whose Ps are idle lets the runtime's monitor thread sleep, and each time that it is
// woken it looks around some sixty times, 20 microseconds apart: at 30 publications a
// second that cost a quarter of what a server with a third of the clients did. Meanwhile
// the runtime asks a loop for its P every 10 ms, with a signal that ends the wait.
const holdTime = 50 * time.Millisecond

// A poller is an epoll descriptor.
type poller struct {
	fd int
	// holdUntil is when the loop gives its P away, by the engine's clock.
	holdUntil int64
	events    [eventsPerWait]unix.EpollEvent
}

func newPoller() (loop.Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &poller{fd: fd}, nil
}

// AlwaysRing is part of [loop.Poller].
func (p *poller) AlwaysRing() bool { return false }

// Close is part of [loop.Poller].
func (p *poller) Close() { _ = unix.Close(p.fd) }

// Run is part of [loop.Poller]. The loop is not locked to a thread: it seldom
// changes it, and the runtime pays each pre-emption of a locked goroutine with
// four hand-overs between threads.
func (p *poller) Run(l *loop.Loop) error {
	keep := l.Shared.Config.KeepGOMAXPROCS
	procs.Take(keep)
	defer procs.Give(keep)
	l.Start()
	if err := p.Add(l.Doorbell.FD(), loop.DoorbellToken, loop.InterestRead); err != nil {
		return err
	}
	for !l.Ended {
		n, err := p.wait(l)
		if err != nil {
			return err
		}
		if n > 0 {
			p.holdUntil = l.Shared.Now() + int64(holdTime)
		}
		for i := range n {
			ev := &p.events[i]
			l.Ready(token(ev), loop.EpollReadiness(ev.Events))
		}
		l.EndTurn()
	}
	return nil
}

// wait fetches events, or sleeps until there is one, a wake-up or a deadline.
func (p *poller) wait(l *loop.Loop) (int, error) {
	if l.HasLeftover() {
		n, errno := p.waitHolding(0)
		return n, waitError(errno)
	}
	longest, ok := l.FallAsleep()
	defer l.Awake()
	if !ok {
		return 0, nil
	}
	hold := max(0, min(longest, time.Duration(p.holdUntil-l.Shared.Now())))
	if !procs.Spare() {
		hold = 0 // others want the P now
	}
	n, errno := p.waitHolding(hold)
	if n == 0 && errno == 0 && longest > hold {
		procs.Look()
		n, errno = p.waitParked(longest - hold)
	}
	return n, waitError(errno)
}

// waitHolding waits in a raw system call: the scheduler is not told, and the
// loop keeps its P.
func (p *poller) waitHolding(longest time.Duration) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), eventsPerWait, milliseconds(longest), 0, 0)
	if errno != 0 {
		n = 0
	}
	return int(n), errno
}

// waitParked waits in a system call that the scheduler knows of, which gives the
// P to other goroutines.
func (p *poller) waitParked(longest time.Duration) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), eventsPerWait, milliseconds(longest), 0, 0)
	if errno != 0 {
		n = 0
	}
	return int(n), errno
}

// milliseconds rounds up, or the last millisecond would be spent in a spin.
func milliseconds(d time.Duration) uintptr {
	return uintptr(max(0, (d+time.Millisecond-1)/time.Millisecond))
}

func waitError(errno unix.Errno) error {
	if errno == 0 || errno == unix.EINTR {
		return nil
	}
	return os.NewSyscallError("epoll_wait", errno)
}

// Add is part of [loop.Poller].
func (p *poller) Add(fd int, token netpoll.ID, in loop.Interest) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, token, in)
}

// Modify is part of [loop.Poller].
func (p *poller) Modify(fd int, token netpoll.ID, _, in loop.Interest) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, token, in)
}

// Remove is part of [loop.Poller]. It is not left to close(2): a descriptor that
// has been handed to another process stays open there, and its events would come
// here for ever.
func (p *poller) Remove(fd int) {
	unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), unix.EPOLL_CTL_DEL, uintptr(fd), 0, 0, 0)
}

func (p *poller) control(op, fd int, token netpoll.ID, in loop.Interest) error {
	ev := unix.EpollEvent{Events: loop.EpollEvents(in), Fd: int32(token), Pad: int32(token >> 32)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// token returns what control has put into an event.
func token(ev *unix.EpollEvent) netpoll.ID {
	return netpoll.ID(uint32(ev.Fd)) | netpoll.ID(uint32(ev.Pad))<<32
}
