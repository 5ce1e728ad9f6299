package netpoll

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the data path. They are raw: the scheduler is not told,
// which saves two transitions a call. That is right only because none of them
// can block: a thread inside a raw call cannot be stopped for a garbage
// collection.

// recvSocket reads what is there. 0 bytes and no error is the end.
func recvSocket(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// sendSocket writes what fits.
func sendSocket(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// A vectorSender is what a gathering write needs, kept by the loop so that a
// write allocates nothing.
type vectorSender struct {
	header  unix.Msghdr
	vectors []unix.Iovec
}

// send writes what fits of bufs, at most maxVectors slices.
func (v *vectorSender) send(fd int32, bufs [][]byte) (int, unix.Errno) {
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

// acceptSocket takes one newcomer, non-blocking and closed on exec.
func acceptSocket(fd int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0,
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

// prepareAccepted has nothing to do: Linux hands the listener's options on.
func prepareAccepted(int, *Config) {}

// setUserTimeout and setKeepAliveIdle set what systems name differently.
func setUserTimeout(fd int, milliseconds int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, milliseconds)
}

func setKeepAliveIdle(fd int, seconds int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
}

// adviseSmallPages keeps the table out of huge pages: one of them, 2 MiB, would
// cost 18,000 connections 116 B each, ten times what they use.
func adviseSmallPages(memory []byte) { _ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE) }

// adviseUnused gives the pages back; they read as zero afterwards.
func adviseUnused(memory []byte) { _ = unix.Madvise(memory, unix.MADV_DONTNEED) }

// newDoorbell makes the descriptor that interrupts a sleeping loop.
func newDoorbell() (reader, writer int, err error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	return fd, fd, err
}

// ringDoorbell makes the reader readable.
func ringDoorbell(writer int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(writer, one[:]) // EAGAIN: it is ringing already
}

// silenceDoorbell makes the reader unreadable again.
func silenceDoorbell(reader int) {
	var count [8]byte
	unix.RawSyscall(unix.SYS_READ, uintptr(reader), uintptr(unsafe.Pointer(&count)), 8)
}

// openSpare opens a descriptor that can be given up when there are no others.
func openSpare() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// duplicateOnto makes fd mean what source means, and closes what it meant.
func duplicateOnto(source, fd int) error { return unix.Dup3(source, fd, unix.O_CLOEXEC) }
