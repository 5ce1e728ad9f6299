//go:build linux || darwin || freebsd

package sock

import "golang.org/x/sys/unix"

// Spares are descriptors to give up when the process has no others: with one of
// them a waiting client can be accepted and closed, so that it does not wait for
// ever. One goroutine may use them at a time.
type Spares struct{ fds []int }

// Fill opens descriptors until there are n of them. It reports whether the
// process has descriptors left: whether it could open one, if only for a moment.
func (s *Spares) Fill(n int) bool {
	opened := false
	for len(s.fds) <= n {
		fd := openSpare()
		if fd < 0 {
			break
		}
		opened = true
		s.fds = append(s.fds, fd)
	}
	if last := len(s.fds) - 1; last >= n {
		_ = unix.Close(s.fds[last])
		s.fds = s.fds[:last]
	}
	return opened
}

// Refuse accepts and closes one client that waits on a listening socket. It
// returns 0 if it did, EAGAIN if none waits, EMFILE if there is no spare
// descriptor, and otherwise what accept(2) returned.
func (s *Spares) Refuse(listening int) unix.Errno {
	last := len(s.fds) - 1
	if last < 0 {
		return unix.EMFILE
	}
	// accept(2) returns EMFILE before it looks for a client. Without one the
	// spare must not be given up: another thread might take it in that moment.
	if !clientWaits(listening) {
		return unix.EAGAIN
	}
	_ = unix.Close(s.fds[last])
	s.fds = s.fds[:last]
	fd, errno := Accept(listening)
	if errno == 0 {
		fd = turnIntoSpare(fd)
	} else {
		fd = openSpare()
	}
	if fd >= 0 {
		s.fds = append(s.fds, fd)
	}
	return errno
}

// Close closes all of them.
func (s *Spares) Close() {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = nil
}

// Len returns the number of spare descriptors.
func (s *Spares) Len() int { return len(s.fds) }

// openSpare returns -1 if there is no descriptor left.
func openSpare() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// clientWaits reports whether a client waits on a listening socket.
func clientWaits(listening int) bool {
	fds := []unix.PollFd{{Fd: int32(listening), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// turnIntoSpare closes an accepted connection and keeps its descriptor as a
// spare, in one step, so that no other thread can take it in between. It
// returns -1 if that fails; the connection is closed either way.
func turnIntoSpare(fd int) int {
	// Any file that is open anyway will do.
	if duplicateOnto(unix.Stderr, fd) == nil {
		return fd
	}
	_ = unix.Close(fd)
	return openSpare()
}
