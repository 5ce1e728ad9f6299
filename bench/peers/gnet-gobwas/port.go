//go:build linux

package main

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// reservedPort holds a port with SO_REUSEPORT until gnet listens on it too: gnet
// does not say which port it got for port 0.
type reservedPort struct {
	fd   int
	addr net.Addr
}

func reservePort(hostport string) (*reservedPort, error) {
	addr, err := net.ResolveTCPAddr("tcp4", hostport)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	p := &reservedPort{fd: fd}
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			p.release()
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	name := &unix.SockaddrInet4{Port: addr.Port}
	copy(name.Addr[:], addr.IP.To4())
	if err := unix.Bind(fd, name); err != nil {
		p.release()
		return nil, os.NewSyscallError("bind", err)
	}
	// Bound and not listening: it reserves the port and gets no connection.
	bound, err := unix.Getsockname(fd)
	if err != nil {
		p.release()
		return nil, os.NewSyscallError("getsockname", err)
	}
	p.addr = &net.TCPAddr{IP: addr.IP, Port: bound.(*unix.SockaddrInet4).Port}
	return p, nil
}

func (p *reservedPort) release() { unix.Close(p.fd) }
