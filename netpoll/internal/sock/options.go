//go:build linux || darwin || freebsd

package sock

import (
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// setStreamOptions sets on fd the options that connections should have. Linux
// copies a listener's options to the sockets that it accepts.
func setStreamOptions(fd int, cfg *netpoll.Config) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt TCP_NODELAY", err)
	}
	if cfg.SendBufferBytes > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, cfg.SendBufferBytes); err != nil {
			return os.NewSyscallError("setsockopt SO_SNDBUF", err)
		}
	}
	if cfg.UserTimeout > 0 {
		if err := setUserTimeout(fd, int(cfg.UserTimeout.Milliseconds())); err != nil {
			return os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", err)
		}
	}
	if cfg.KeepAlive > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_KEEPALIVE", err)
		}
		if err := setKeepAliveIdle(fd, max(1, int(cfg.KeepAlive.Seconds()))); err != nil {
			return os.NewSyscallError("setsockopt TCP_KEEPIDLE", err)
		}
	}
	return nil
}

// PrepareListener sets on a listening TCP socket the options of its own and those
// that its connections inherit.
func PrepareListener(fd int, cfg *netpoll.Config) error {
	if err := setStreamOptions(fd, cfg); err != nil {
		return err
	}
	return deferAccept(cfg)(fd)
}

// PrepareAttached sets a connection's options on an attached socket. It ignores
// errors, because the socket need not be TCP.
func PrepareAttached(fd int, cfg *netpoll.Config) { _ = setStreamOptions(fd, cfg) }

// PendingError returns and clears the error of a socket (SO_ERROR), 0 if there
// is none.
func PendingError(fd int) unix.Errno {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EBADF
	}
	return unix.Errno(n)
}

// IsStream reports whether fd is a stream socket.
func IsStream(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_STREAM
}

// Peer returns the address of fd's peer, the zero AddrPort if it has none or it
// is not an IP address.
func Peer(fd int) netip.AddrPort {
	sa, err := unix.Getpeername(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// addrPort returns the zero AddrPort for what is not IP.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && addr.Is6() {
			addr = addr.WithZone(strconv.Itoa(int(sa.ZoneId)))
		}
		return netip.AddrPortFrom(addr, uint16(sa.Port))
	}
	return netip.AddrPort{}
}
