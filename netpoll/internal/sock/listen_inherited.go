//go:build linux || darwin || freebsd

package sock

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// listenInherited takes over a listening socket that another process has opened:
// the descriptor whose number is name. All loops share it.
func listenInherited(name string, cfg *netpoll.Config) (*Listener, net.Addr, error) {
	fd, err := strconv.Atoi(name)
	if err != nil || fd < 0 {
		return nil, nil, fmt.Errorf("%q is no descriptor: want fd:N", name)
	}
	if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening == 0 {
		return nil, nil, fmt.Errorf("descriptor %d is no listening socket", fd)
	}
	if !IsStream(fd) {
		return nil, nil, fmt.Errorf("descriptor %d is no stream socket", fd)
	}
	addr, err := inheritedAddr(fd)
	if err == nil {
		err = prepareInherited(fd, addr, cfg)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, nil, err
	}
	return &Listener{fd: fd, Shared: true}, addr, nil
}

// prepareInherited sets the options that connections inherit. The length of the
// queue stays as the opener chose it.
func prepareInherited(fd int, addr net.Addr, cfg *netpoll.Config) error {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl O_NONBLOCK", err)
	}
	if addr.Network() == "unix" {
		return nil
	}
	return PrepareListener(fd, cfg)
}

func inheritedAddr(fd int) (net.Addr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	if path, ok := sa.(*unix.SockaddrUnix); ok {
		return &net.UnixAddr{Net: "unix", Name: path.Name}, nil
	}
	if at := addrPort(sa); at.IsValid() {
		return net.TCPAddrFromAddrPort(at), nil
	}
	return nil, fmt.Errorf("descriptor %d is neither TCP nor a unix socket", fd)
}
