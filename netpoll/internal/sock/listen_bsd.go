//go:build darwin || freebsd

package sock

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// listenTCP opens one listener for all loops: SO_REUSEPORT does not spread
// connections over several sockets here.
func listenTCP(addr *net.TCPAddr, cfg *netpoll.Config) ([]*Listener, net.Addr, error) {
	before := noOption
	if cfg.ReusePort {
		before = ReusePort
	}
	bound := *addr
	fd, err := bindTCP(&bound, cfg, before, deferAccept(cfg))
	if err != nil {
		return nil, nil, err
	}
	if bound.Port, err = boundPort(fd); err != nil {
		_ = unix.Close(fd)
		return nil, nil, err
	}
	return []*Listener{{fd: fd, Shared: true}}, &bound, nil
}

// deferAccept does nothing: only Linux has TCP_DEFER_ACCEPT.
func deferAccept(*netpoll.Config) func(fd int) error { return noOption }

// newSocket opens a stream socket, non-blocking and closed on exec.
func newSocket(family int) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Accept takes one connection from a listening socket, non-blocking and closed
// on exec. EAGAIN means that none waits.
func Accept(fd int) (int, unix.Errno) {
	syscall.ForkLock.RLock()
	accepted, _, err := unix.Accept(fd)
	if err == nil {
		unix.CloseOnExec(accepted)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, errnoOf(err)
	}
	if err := unix.SetNonblock(accepted, true); err != nil {
		_ = unix.Close(accepted)
		return -1, unix.ECONNABORTED
	}
	return accepted, 0
}

// PrepareAccepted sets the options that an accepted socket may not have
// inherited from its listener. Writing to a connection that the peer has reset
// must be an error, not a signal.
func PrepareAccepted(fd int, cfg *netpoll.Config) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NOSIGPIPE, 1)
	_ = setStreamOptions(fd, cfg)
}

// IsPassingAcceptError reports whether an error of accept(2) belongs to the one
// connection and not to the listener.
func IsPassingAcceptError(errno unix.Errno) bool { return errno == unix.EPROTO }

// setUserTimeout does nothing: TCP_USER_TIMEOUT has no counterpart here, and
// connections keep the system's own limit.
func setUserTimeout(int, int) error { return nil }

// setKeepAliveIdle sets how long a connection is silent before it is probed.
func setKeepAliveIdle(fd int, seconds int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, tcpKeepIdle, seconds)
}
