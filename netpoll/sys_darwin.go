package netpoll

import "golang.org/x/sys/unix"

// setKeepAliveIdle sets how long a connection is silent before it is probed.
func setKeepAliveIdle(fd int, seconds int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPALIVE, seconds)
}
