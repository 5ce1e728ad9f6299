//go:build darwin || freebsd

package netpoll

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// listenTCP opens one listener for all loops: here SO_REUSEPORT would not
// spread newcomers over several.
func listenTCP(addr *net.TCPAddr, cfg *Config) ([]*listener, net.Addr, error) {
	before := noOption
	if cfg.ReusePort {
		before = func(fd int) error {
			return os.NewSyscallError("setsockopt SO_REUSEPORT",
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		}
	}
	fd, err := bindTCP(addr, cfg, before, noOption)
	if err != nil {
		return nil, nil, err
	}
	bound := *addr
	if bound.Port == 0 {
		if bound.Port, err = boundPort(fd); err != nil {
			_ = unix.Close(fd)
			return nil, nil, err
		}
	}
	return []*listener{{fd: fd, shared: true}}, &bound, nil
}
