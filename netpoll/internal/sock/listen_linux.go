package sock

import (
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// listenTCP opens one listener for each loop: the kernel spreads connections
// over them and the loops share no lock.
//
// This needs SO_REUSEPORT, which would also let us join another server of the
// same user unnoticed. Therefore the first socket is bound without it, which
// fails if the address is taken, and gets it afterwards so that the others can
// be bound.
func listenTCP(addr *net.TCPAddr, cfg *netpoll.Config) ([]*Listener, net.Addr, error) {
	bound := *addr
	var listeners []*Listener
	for i := range cfg.Loops {
		before, after := ReusePort, deferAccept(cfg)
		if i == 0 && !cfg.ReusePort {
			before = noOption
			if cfg.Loops > 1 {
				after = both(ReusePort, after)
			}
		}
		fd, err := bindTCP(&bound, cfg, before, after)
		if err == nil {
			listeners = append(listeners, &Listener{fd: fd})
			bound.Port, err = boundPort(fd) // the others get the first one's port
		}
		if err != nil {
			for _, ln := range listeners {
				ln.Close(nil)
			}
			return nil, nil, err
		}
	}
	return listeners, &bound, nil
}

func both(f, g func(fd int) error) func(fd int) error {
	return func(fd int) error {
		if err := f(fd); err != nil {
			return err
		}
		return g(fd)
	}
}

// deferAccept returns a function that sets TCP_DEFER_ACCEPT, in whole seconds,
// rounded up.
func deferAccept(cfg *netpoll.Config) func(fd int) error {
	if cfg.DeferAccept == 0 {
		return noOption
	}
	seconds := int((cfg.DeferAccept + time.Second - 1) / time.Second)
	return func(fd int) error {
		return os.NewSyscallError("setsockopt TCP_DEFER_ACCEPT",
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds))
	}
}

// newSocket opens a stream socket, non-blocking and closed on exec.
func newSocket(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

// Accept takes one connection from a listening socket, non-blocking and closed
// on exec. EAGAIN means that none waits.
func Accept(fd int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0,
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

// PrepareAccepted sets the options that an accepted socket did not inherit from
// its listener: none, on Linux.
func PrepareAccepted(int, *netpoll.Config) {}

// IsPassingAcceptError reports whether an error of accept(2) belongs to the one
// connection, which Linux reports in its place, and not to the listener.
func IsPassingAcceptError(errno unix.Errno) bool {
	switch errno {
	case unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET,
		unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH, unix.EPERM, unix.ETIMEDOUT:
		return true
	}
	return false
}

// setUserTimeout sets TCP_USER_TIMEOUT.
func setUserTimeout(fd int, milliseconds int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, milliseconds)
}

// setKeepAliveIdle sets how long a connection is silent before it is probed.
func setKeepAliveIdle(fd int, seconds int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
}
