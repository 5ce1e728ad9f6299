//go:build linux || darwin || freebsd

package sock

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// A Listener is one listening socket. Any goroutine may use it.
type Listener struct {
	// Shared is set if all loops accept from this listener, and not one only.
	// Immutable.
	Shared bool

	// mu keeps the descriptor from being closed, and its number from being
	// reused, while a loop uses it.
	mu sync.RWMutex
	fd int // -1 after Close
	// unlink removes a unix socket's file; nil for others.
	unlink func()
}

// Listen opens the listeners of one address of netpoll.Config.Listen: one for
// each of cfg.Loops, or a single one that all loops share. The net.Addr is the
// address with the port that the system chose.
func Listen(address string, cfg *netpoll.Config) ([]*Listener, net.Addr, error) {
	if name, ok := strings.CutPrefix(address, "fd:"); ok {
		ln, addr, err := listenInherited(name, cfg)
		return []*Listener{ln}, addr, err
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		ln, err := listenUnix(path, cfg)
		return []*Listener{ln}, &net.UnixAddr{Net: "unix", Name: path}, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	if host != "" {
		return listenTCP(tcp, cfg)
	}
	// All addresses: one socket for both families, or IPv4 alone where the
	// system has no IPv6.
	tcp.IP = net.IPv6unspecified
	listeners, addr, err := listenTCP(tcp, cfg)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		tcp.IP = net.IPv4zero
		return listenTCP(tcp, cfg)
	}
	return listeners, addr, err
}

// Use calls f with the descriptor, which stays open meanwhile. After Close it
// returns EBADF and does not call f.
func (ln *Listener) Use(f func(fd int) error) error {
	ln.mu.RLock()
	defer ln.mu.RUnlock()
	if ln.fd < 0 {
		return unix.EBADF
	}
	return f(ln.fd)
}

// Accept takes one connection; see [Accept]. After Close it returns EBADF.
func (ln *Listener) Accept() (int, unix.Errno) {
	ln.mu.RLock()
	defer ln.mu.RUnlock()
	if ln.fd < 0 {
		return -1, unix.EBADF
	}
	return Accept(ln.fd)
}

// Close calls unwatch with the descriptor and then closes it; unwatch may be
// nil. Later calls do nothing.
func (ln *Listener) Close(unwatch func(fd int)) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd < 0 {
		return
	}
	if unwatch != nil {
		unwatch(ln.fd)
	}
	if ln.unlink != nil {
		ln.unlink()
	}
	_ = unix.Close(ln.fd)
	ln.fd = -1
}

// Release gives the descriptor away, with the function that removes a unix
// socket's file, nil for others. The listener is closed from then on.
func (ln *Listener) Release() (fd int, unlink func()) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	fd, ln.fd = ln.fd, -1
	return fd, ln.unlink
}

// bindTCP opens a listening socket. It calls before and after to set further
// options before and after bind(2).
func bindTCP(addr *net.TCPAddr, cfg *netpoll.Config, before, after func(fd int) error) (int, error) {
	family, sa, err := sockaddr(addr)
	if err != nil {
		return -1, err
	}
	fd, err := newSocket(family)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := bindSocket(fd, sa, cfg, before, after); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bindSocket(fd int, sa unix.Sockaddr, cfg *netpoll.Config, before, after func(fd int) error) error {
	if inet6, ok := sa.(*unix.SockaddrInet6); ok {
		v6only := 1
		if inet6.Addr == [16]byte{} {
			v6only = 0 // all addresses of both families
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only); err != nil {
			return os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
	}
	// Connections of the last run in TIME_WAIT must not keep us out.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_REUSEADDR", err)
	}
	if err := before(fd); err != nil {
		return err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := after(fd); err != nil {
		return err
	}
	if err := setStreamOptions(fd, cfg); err != nil {
		return err
	}
	return os.NewSyscallError("listen", unix.Listen(fd, cfg.Backlog))
}

func noOption(int) error { return nil }

// ReusePort sets SO_REUSEPORT.
func ReusePort(fd int) error {
	return os.NewSyscallError("setsockopt SO_REUSEPORT",
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// sockaddr converts addr for the system.
func sockaddr(addr *net.TCPAddr) (family int, sa unix.Sockaddr, err error) {
	if ip4 := addr.IP.To4(); ip4 != nil {
		return unix.AF_INET, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip4)}, nil
	}
	zone := uint32(0)
	if addr.Zone != "" {
		if zone, err = zoneIndex(addr.Zone); err != nil {
			return 0, nil, err
		}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: addr.Port, ZoneId: zone, Addr: [16]byte(addr.IP.To16())}, nil
}

func zoneIndex(zone string) (uint32, error) {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(ifi.Index), nil
}

// boundPort returns the port that the system chose for fd.
func boundPort(fd int) (int, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return int(addrPort(sa).Port()), nil
}
