//go:build linux || darwin || freebsd

package netpoll

import "golang.org/x/sys/unix"

// someoneWaits tells whether a listening socket has a newcomer. accept(2) says
// EMFILE before it looks, and the spare descriptor must not be given up for
// nobody: somebody else might take it in that moment.
func someoneWaits(listening int) bool {
	fds := []unix.PollFd{{Fd: int32(listening), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// turnIntoSpare closes a newcomer and keeps its descriptor as the spare one, in
// one step, so that nobody else can take it in between. It answers -1 if that
// fails; fd is closed either way.
func turnIntoSpare(fd int) int {
	// Any file that is open anyway will do as what the descriptor means now.
	if duplicateOnto(unix.Stderr, fd) == nil {
		return fd
	}
	_ = unix.Close(fd)
	return openSpare()
}
