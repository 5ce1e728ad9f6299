//go:build linux || darwin || freebsd

package netpoll

import (
	"os"

	"golang.org/x/sys/unix"
)

// maxVectors is how many slices one system call takes: IOV_MAX on all our
// systems.
const maxVectors = 1024

// Write is part of [Loop].
func (l *loop) Write(id ID, p []byte) (int, error) {
	s := l.live(id)
	if s == nil {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := sendSocket(s.fd, p)
	for errno == unix.EINTR {
		n, errno = sendSocket(s.fd, p)
	}
	return l.wrote(id, s, n, len(p), errno)
}

// Writev is part of [Loop].
func (l *loop) Writev(id ID, bufs [][]byte) (int, error) {
	s := l.live(id)
	if s == nil {
		return 0, ErrClosed
	}
	written := 0
	for len(bufs) > 0 {
		some := bufs[:min(len(bufs), maxVectors)]
		bufs = bufs[len(some):]
		size := 0
		for _, b := range some {
			size += len(b)
		}
		if size == 0 {
			continue
		}
		n, errno := l.vectors.send(s.fd, some)
		for errno == unix.EINTR {
			n, errno = l.vectors.send(s.fd, some)
		}
		n, err := l.wrote(id, s, n, size, errno)
		written += n
		if err != nil || n < size {
			return written, err
		}
	}
	return written, nil
}

// wrote accounts for one system call that was given size bytes.
func (l *loop) wrote(id ID, s *socket, n, size int, errno unix.Errno) (int, error) {
	if errno != 0 && errno != unix.EAGAIN {
		err := os.NewSyscallError("write", errno)
		l.lose(id, s, err)
		return 0, err
	}
	if errno != 0 {
		n = 0
	} else {
		l.counts.writes++
		l.counts.bytesWritten += uint64(n)
	}
	if n < size {
		l.counts.shortWrites++
		s.flags |= wantsWrite
		l.watchLater(id, s)
	}
	return n, nil
}
