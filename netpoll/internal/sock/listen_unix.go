//go:build linux || darwin || freebsd

package sock

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// listenUnix listens on a unix socket. It removes the socket file of a server
// that has died; a file that a living server listens on is an error.
func listenUnix(path string, cfg *netpoll.Config) (*Listener, error) {
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
	return &Listener{fd: fd, Shared: true, unlink: unlinker(path)}, nil
}

// removeStale removes the socket file at path if no process listens on it, and
// reports whether it did.
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

// unlinker returns a function that removes the file which is at path now, but
// not one that a successor has put there since. It returns nil if there is no
// file: path is an abstract address of Linux.
func unlinker(path string) func() {
	ours, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	return func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(ours, now) {
			_ = os.Remove(path)
		}
	}
}
