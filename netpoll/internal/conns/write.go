//go:build linux || darwin || freebsd

package conns

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// Write is part of [netpoll.Loop].
func (c *Conns) Write(id netpoll.ID, p []byte) (int, error) {
	s := c.Live(id)
	if s == nil {
		return 0, netpoll.ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := sock.Send(s.FD, p)
	for errno == unix.EINTR {
		n, errno = sock.Send(s.FD, p)
	}
	return c.Wrote(id, s, n, len(p), errno)
}

// WriteBatch is part of [netpoll.Loop].
func (c *Conns) WriteBatch(batch []netpoll.Outgoing) {
	for i := range batch {
		o := &batch[i]
		o.N, o.Err = c.Write(o.ID, o.P)
	}
}

// Writev is part of [netpoll.Loop].
func (c *Conns) Writev(id netpoll.ID, bufs [][]byte) (int, error) {
	s := c.Live(id)
	if s == nil {
		return 0, netpoll.ErrClosed
	}
	written := 0
	for len(bufs) > 0 {
		some := bufs[:min(len(bufs), sock.MaxVectors)]
		bufs = bufs[len(some):]
		size := 0
		for _, b := range some {
			size += len(b)
		}
		if size == 0 {
			continue
		}
		n, errno := c.vectors.Send(s.FD, some)
		for errno == unix.EINTR {
			n, errno = c.vectors.Send(s.FD, some)
		}
		n, err := c.Wrote(id, s, n, size, errno)
		written += n
		if err != nil || n < size {
			return written, err
		}
	}
	return written, nil
}

// Wrote accounts for one system call that was given size bytes for a live
// connection, and returns what Write returns.
func (c *Conns) Wrote(id netpoll.ID, s *Socket, n, size int, errno unix.Errno) (int, error) {
	switch {
	case errno == 0:
		c.Count.Writes++
		c.Count.BytesWritten += uint64(n)
	case errno == unix.EAGAIN, errno == unix.ENOTCONN && s.Flags&Connecting != 0:
		n = 0
	default:
		err := os.NewSyscallError("write", errno)
		c.Lose(id, s, err)
		return 0, err
	}
	if n < size {
		c.Count.ShortWrites++
		if s.Flags&WantsWrite == 0 {
			s.Flags |= WantsWrite
			c.owner.AwaitRoom(id, s)
		}
	}
	return n, nil
}
