//go:build darwin || freebsd

package sock

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The system calls of the data path use the ordinary wrappers: darwin has no
// stable raw ones.

// Recv reads what has arrived. 0 bytes without an error are the end.
func Recv(fd int32, p []byte) (int, unix.Errno) {
	n, err := unix.Read(int(fd), p)
	return n, errnoOf(err)
}

// Send writes what fits.
func Send(fd int32, p []byte) (int, unix.Errno) {
	n, err := unix.Write(int(fd), p)
	return n, errnoOf(err)
}

// A VectorSender holds the memory of a gathering write: none is needed here.
// One goroutine may use it at a time.
type VectorSender struct{}

// Send writes what fits of bufs, at most MaxVectors slices.
func (*VectorSender) Send(fd int32, bufs [][]byte) (int, unix.Errno) {
	n, err := unix.SendmsgBuffers(int(fd), bufs, nil, nil, unix.MSG_DONTWAIT)
	return n, errnoOf(err)
}

// openDoorbell opens a pipe: easygo cannot trigger EVFILT_USER.
func openDoorbell() (reader, writer int, err error) {
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
	_, _ = unix.Write(writer, []byte{1}) // EAGAIN: it is readable already
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

// duplicateOnto makes fd refer to the file of source and closes its own.
func duplicateOnto(source, fd int) error {
	if err := unix.Dup2(source, fd); err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	return nil
}

func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return unix.EINVAL
}
