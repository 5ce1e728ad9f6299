package sock

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the data path. They are raw: the scheduler is not told,
// which saves two transitions a call. That is right only because none of them
// can block: a thread inside a raw call cannot be stopped for a garbage
// collection.

// Recv reads what has arrived. 0 bytes without an error are the end.
func Recv(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// Send writes what fits.
func Send(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// A VectorSender holds the memory of a gathering write, so that a write
// allocates nothing. One goroutine may use it at a time.
type VectorSender struct {
	header  unix.Msghdr
	vectors []unix.Iovec
}

// Send writes what fits of bufs, at most MaxVectors slices.
func (v *VectorSender) Send(fd int32, bufs [][]byte) (int, unix.Errno) {
	v.vectors = v.vectors[:0]
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		vector := unix.Iovec{Base: unsafe.SliceData(b)}
		vector.SetLen(len(b))
		v.vectors = append(v.vectors, vector)
	}
	v.header.Iov = unsafe.SliceData(v.vectors)
	v.header.SetIovlen(len(v.vectors))
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&v.header)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	clear(v.vectors) // they would keep the caller's bytes alive
	return int(n), errno
}

// openDoorbell opens an eventfd, which is both ends.
func openDoorbell() (reader, writer int, err error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	return fd, fd, os.NewSyscallError("eventfd", err)
}

// ringDoorbell makes the reader readable.
func ringDoorbell(writer int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(writer, one[:]) // EAGAIN: it is readable already
}

// silenceDoorbell makes the reader unreadable again.
func silenceDoorbell(reader int) {
	var count [8]byte
	unix.RawSyscall(unix.SYS_READ, uintptr(reader), uintptr(unsafe.Pointer(&count)), 8)
}

// duplicateOnto makes fd refer to the file of source and closes its own, in one
// step.
func duplicateOnto(source, fd int) error { return unix.Dup3(source, fd, unix.O_CLOEXEC) }
