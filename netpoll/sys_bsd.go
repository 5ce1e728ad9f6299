//go:build darwin || freebsd

package netpoll

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The system calls of the data path, through the ordinary wrappers: darwin has
// no stable raw ones.

func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return unix.EINVAL
}

// recvSocket reads what is there. 0 bytes and no error is the end.
func recvSocket(fd int32, p []byte) (int, unix.Errno) {
	n, err := unix.Read(int(fd), p)
	return n, errnoOf(err)
}

// sendSocket writes what fits.
func sendSocket(fd int32, p []byte) (int, unix.Errno) {
	n, err := unix.Write(int(fd), p)
	return n, errnoOf(err)
}

// A vectorSender is what a gathering write needs: nothing here.
type vectorSender struct{}

// send writes what fits of bufs, at most maxVectors slices.
func (*vectorSender) send(fd int32, bufs [][]byte) (int, unix.Errno) {
	n, err := unix.SendmsgBuffers(int(fd), bufs, nil, nil, unix.MSG_DONTWAIT)
	return n, errnoOf(err)
}

// acceptSocket takes one newcomer, non-blocking and closed on exec.
func acceptSocket(fd int) (int, unix.Errno) {
	syscall.ForkLock.RLock()
	newcomer, _, err := unix.Accept(fd)
	if err == nil {
		unix.CloseOnExec(newcomer)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, errnoOf(err)
	}
	if err := unix.SetNonblock(newcomer, true); err != nil {
		_ = unix.Close(newcomer)
		return -1, unix.ECONNABORTED
	}
	return newcomer, 0
}

// prepareAccepted sets what may not have come from the listener. Writing to a
// connection that the peer has reset must be an error, not a signal.
func prepareAccepted(fd int, cfg *Config) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NOSIGPIPE, 1)
	_ = setStreamOptions(fd, cfg)
}

// setUserTimeout has no counterpart here; connections keep the system's own
// limit.
func setUserTimeout(int, int) error { return nil }

// adviseSmallPages and adviseUnused: the second may take its time.
func adviseSmallPages([]byte) {}

func adviseUnused(memory []byte) { _ = unix.Madvise(memory, unix.MADV_FREE) }

// newDoorbell makes a pipe: easygo cannot trigger EVFILT_USER.
func newDoorbell() (reader, writer int, err error) {
	var fds [2]int
	syscall.ForkLock.RLock()
	err = unix.Pipe(fds[:])
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, -1, os.NewSyscallError("pipe", err)
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			_ = unix.Close(fds[0])
			_ = unix.Close(fds[1])
			return -1, -1, os.NewSyscallError("fcntl", err)
		}
	}
	return fds[0], fds[1], nil
}

// ringDoorbell makes the reader readable.
func ringDoorbell(writer int) {
	_, _ = unix.Write(writer, []byte{1}) // EAGAIN: it is ringing already
}

// silenceDoorbell makes the reader unreadable again.
func silenceDoorbell(reader int) {
	var rings [256]byte
	for {
		if n, err := unix.Read(reader, rings[:]); err != nil || n < len(rings) {
			return
		}
	}
}

// openSpare opens a descriptor that can be given up when there are no others.
func openSpare() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

func newSocket(family int) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// passingAcceptError tells the errors of one newcomer from those of the
// listener.
func passingAcceptError(errno unix.Errno) bool { return errno == unix.EPROTO }

// duplicateOnto makes fd mean what source means, and closes what it meant.
func duplicateOnto(source, fd int) error {
	if err := unix.Dup2(source, fd); err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	return nil
}
