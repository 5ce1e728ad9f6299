//go:build linux || darwin || freebsd

package netpoll

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A listener is one listening socket. Any goroutine.
type listener struct {
	shared bool // by all loops

	// mu keeps the descriptor from being closed, and its number reused, while a
	// loop accepts.
	mu sync.RWMutex
	fd int // -1 after close
	// unlink removes a unix socket's file; nil for others.
	unlink func()
}

// accept takes one newcomer.
func (ln *listener) accept() (int, unix.Errno) {
	ln.mu.RLock()
	defer ln.mu.RUnlock()
	if ln.fd < 0 {
		return -1, unix.EBADF
	}
	return acceptSocket(ln.fd)
}

// close takes the listener, number index of e, from the loops' pollers and
// closes it.
func (ln *listener) close(e *engine, index int) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.fd < 0 {
		return
	}
	for _, l := range e.loops {
		if e.listeners[l.index][index] == ln {
			l.poll.remove(ln.fd)
		}
	}
	if ln.unlink != nil {
		ln.unlink()
	}
	_ = unix.Close(ln.fd)
	ln.fd = -1
}

// listen opens what Config.Listen names.
func (e *engine) listen() error {
	e.listeners = make([][]*listener, e.cfg.Loops)
	for _, address := range e.cfg.Listen {
		sockets, addr, err := listenOn(address, &e.cfg)
		if err != nil {
			e.discard()
			return fmt.Errorf("netpoll: listen on %q: %w", address, err)
		}
		for i := range e.listeners {
			e.listeners[i] = append(e.listeners[i], sockets[i%len(sockets)])
		}
		e.addrs = append(e.addrs, addr)
	}
	return nil
}

// listenOn answers one listener, or one for each loop.
func listenOn(address string, cfg *Config) ([]*listener, net.Addr, error) {
	if name, ok := strings.CutPrefix(address, "fd:"); ok {
		ln, addr, err := listenInherited(name, cfg)
		return []*listener{ln}, addr, err
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		ln, err := listenUnix(path, cfg)
		return []*listener{ln}, &net.UnixAddr{Net: "unix", Name: path}, err
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
	// All addresses: one socket for both families, or IPv4's alone where the
	// system has no IPv6.
	tcp.IP = net.IPv6unspecified
	listeners, addr, err := listenTCP(tcp, cfg)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		tcp.IP = net.IPv4zero
		return listenTCP(tcp, cfg)
	}
	return listeners, addr, err
}

// bindTCP opens a listening socket. before and after set options at the time
// their names tell.
func bindTCP(addr *net.TCPAddr, cfg *Config, before, after func(fd int) error) (int, error) {
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

func bindSocket(fd int, sa unix.Sockaddr, cfg *Config, before, after func(fd int) error) error {
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

// setStreamOptions sets what connections should have.
func setStreamOptions(fd int, cfg *Config) error {
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

// prepareAttached gives an attached socket a connection's options, as far as
// they fit: it need not be TCP.
func prepareAttached(fd int, cfg *Config) { _ = setStreamOptions(fd, cfg) }

// sockaddr is addr as the system wants it.
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

// boundPort asks which port the system chose.
func boundPort(fd int) (int, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return int(addrPort(sa).Port()), nil
}

// addrPort is the zero AddrPort for what is not IP.
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

// socketError takes the error that a socket has pending.
func socketError(fd int) unix.Errno {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EBADF
	}
	return unix.Errno(n)
}

// listenUnix listens on a unix socket. The file of a server that died is in the
// way and is removed; that of a living one is an error.
func listenUnix(path string, cfg *Config) (*listener, error) {
	fd, err := newSocket(unix.AF_UNIX)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	sa := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, sa)
	if errors.Is(err, unix.EADDRINUSE) && removeStale(path) {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	if err = unix.Listen(fd, cfg.Backlog); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("listen", err)
	}
	return &listener{fd: fd, shared: true, unlink: unlinker(path)}, nil
}

// removeStale removes a socket file that nobody listens on.
func removeStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	fd, err := newSocket(unix.AF_UNIX)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if !errors.Is(unix.Connect(fd, &unix.SockaddrUnix{Name: path}), unix.ECONNREFUSED) {
		return false
	}
	return os.Remove(path) == nil
}

// unlinker removes the file that is at path now, and not one that a successor
// has put there since.
func unlinker(path string) func() {
	ours, err := os.Lstat(path)
	if err != nil {
		return nil // an abstract address of Linux
	}
	return func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(ours, now) {
			_ = os.Remove(path)
		}
	}
}
