package netpoll

import (
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// listenTCP opens one listener for each loop: the kernel spreads newcomers over
// them and no lock is shared.
//
// SO_REUSEPORT makes that possible, but it would also let us join another
// server of the same user without a word. Therefore the first socket is bound
// without it, which fails if the address is taken, and gets it afterwards, for
// the sake of the others.
func listenTCP(addr *net.TCPAddr, cfg *Config) ([]*listener, net.Addr, error) {
	bound := *addr
	var listeners []*listener
	for i := range cfg.Loops {
		before, after := reusePort, deferAccept(cfg)
		if i == 0 && !cfg.ReusePort {
			before = noOption
			if cfg.Loops > 1 {
				after = both(reusePort, after)
			}
		}
		fd, err := bindTCP(&bound, cfg, before, after)
		if err == nil {
			listeners = append(listeners, &listener{fd: fd})
			bound.Port, err = boundPort(fd) // the others get what the first got
		}
		if err != nil {
			for _, ln := range listeners {
				_ = unix.Close(ln.fd)
			}
			return nil, nil, err
		}
	}
	return listeners, &bound, nil
}

func reusePort(fd int) error {
	return os.NewSyscallError("setsockopt SO_REUSEPORT",
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// deferAccept sets TCP_DEFER_ACCEPT, in whole seconds, rounded up.
func deferAccept(cfg *Config) func(fd int) error {
	if cfg.DeferAccept == 0 {
		return noOption
	}
	seconds := int((cfg.DeferAccept + time.Second - 1) / time.Second)
	return func(fd int) error {
		return os.NewSyscallError("setsockopt TCP_DEFER_ACCEPT",
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds))
	}
}

func both(f, g func(fd int) error) func(fd int) error {
	return func(fd int) error {
		if err := f(fd); err != nil {
			return err
		}
		return g(fd)
	}
}

func newSocket(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

// passingAcceptError tells the errors of one newcomer, which accept(2) on Linux
// reports in its place, from those of the listener.
func passingAcceptError(errno unix.Errno) bool {
	switch errno {
	case unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET,
		unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH, unix.EPERM, unix.ETIMEDOUT:
		return true
	}
	return false
}
