package loop

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// ringEntries is how many sends one system call makes. Gains flatten out at 64;
// a fan-out's slice is 512.
const ringEntries = 512

// The parts of io_uring's interface that are used: linux/io_uring.h.
const (
	uringSetupSubmitAll = 1 << 7  // a failed entry does not stop the rest
	uringSetupNoSQArray = 1 << 16 // the queue is the array of entries itself
	uringEnterGetEvents = 1
	uringOpSend         = 26
	uringOffSQEs        = 0x10000000
)

type uringSQE struct {
	opcode, flags  uint8
	ioprio         uint16
	fd             int32
	off, addr      uint64
	length, flags2 uint32
	userData       uint64
	_              [3]uint64
}

type uringCQE struct {
	userData uint64
	res      int32
	_        uint32
}

type uringParams struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wqFD uint32
	_                                                                  [3]uint32
	sqHead, sqTail, sqMask, sqRing, sqFlags, sqDropped, sqArray, _     uint32
	_                                                                  uint64
	cqHead, cqTail, cqMask, cqRing, cqOverflow, cqCQEs, cqFlags, _     uint32
	_                                                                  uint64
}

// A ring makes many sends with one system call (io_uring, Linux 6.6 and newer).
// It is used synchronously: each send is MSG_DONTWAIT, so it is done, one way or
// another, when the call that submits it returns, and the order, the short
// writes and the errors are those of send(2). It belongs to the loop's goroutine, which
// may change its thread: so it does without IORING_SETUP_SINGLE_ISSUER.
type ring struct {
	fd             int
	memory, sqeMem []byte
	sqes           []uringSQE
	cqes           []uringCQE
	sqTail         *uint32
	cqHead, cqTail *uint32
	cqMask         uint32
}

// newRing returns nil where io_uring is not available: an old kernel, a
// container that forbids it, kernel.io_uring_disabled.
func newRing() *ring {
	p := uringParams{flags: uringSetupSubmitAll | uringSetupNoSQArray}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringEntries, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil
	}
	r := &ring{fd: int(fd)}
	unix.CloseOnExec(r.fd)
	var err error
	r.memory, err = unix.Mmap(r.fd, 0, int(p.cqCQEs)+int(p.cqEntries)*int(unsafe.Sizeof(uringCQE{})),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err == nil {
		r.sqeMem, err = unix.Mmap(r.fd, uringOffSQEs, int(p.sqEntries)*int(unsafe.Sizeof(uringSQE{})),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	}
	if err != nil {
		r.close()
		return nil
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.memory[offset])) }
	r.sqes = unsafe.Slice((*uringSQE)(unsafe.Pointer(unsafe.SliceData(r.sqeMem))), p.sqEntries)
	r.cqes = unsafe.Slice((*uringCQE)(unsafe.Pointer(at(p.cqCQEs))), p.cqEntries)
	r.sqTail, r.cqHead, r.cqTail, r.cqMask = at(p.sqTail), at(p.cqHead), at(p.cqTail), *at(p.cqMask)
	return r
}

func (r *ring) close() {
	if r.memory != nil {
		_ = unix.Munmap(r.memory)
	}
	if r.sqeMem != nil {
		_ = unix.Munmap(r.sqeMem)
	}
	_ = unix.Close(r.fd)
}

// write makes the writes of a batch and returns those that it did not make,
// which is none unless the ring has failed.
func (r *ring) write(l *Loop, batch []netpoll.Outgoing) (rest []netpoll.Outgoing) {
	for len(batch) > 0 {
		some := batch[:min(len(batch), ringEntries)]
		done, err := r.writeSome(l, some)
		if err != nil {
			// It should not happen; without the ring everything goes on.
			r.close()
			l.ring = nil
			return batch[done:]
		}
		batch = batch[len(some):]
	}
	return nil
}

// writeSome makes up to ringEntries writes. After an error, the first done of
// them were made.
func (r *ring) writeSome(l *Loop, batch []netpoll.Outgoing) (done int, err error) {
	queued := uint32(0)
	tail := *r.sqTail
	mask := uint32(len(r.sqes) - 1)
	for i := range batch {
		o := &batch[i]
		o.N, o.Err = 0, nil
		s := l.Live(o.ID)
		if s == nil {
			o.Err = netpoll.ErrClosed
			continue
		}
		if len(o.P) == 0 {
			continue
		}
		// The batch keeps P alive while only the kernel knows it.
		r.sqes[(tail+queued)&mask] = uringSQE{opcode: uringOpSend, fd: s.FD,
			addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(o.P)))), length: uint32(min(len(o.P), 1<<30)),
			flags2: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL, userData: uint64(i)}
		queued++
	}
	atomic.StoreUint32(r.sqTail, tail+queued)
	for submit, left := queued, queued; left > 0; {
		n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), uintptr(left), uringEnterGetEvents, 0, 0)
		head, end := *r.cqHead, atomic.LoadUint32(r.cqTail)
		for ; head != end; head++ {
			c := &r.cqes[head&r.cqMask]
			o := &batch[c.userData]
			o.N, o.Err = l.sentByRing(o, c.res)
			done = max(done, int(c.userData)+1)
			left--
		}
		atomic.StoreUint32(r.cqHead, head)
		switch errno {
		case 0:
			submit -= uint32(n)
		case unix.EINTR, unix.EAGAIN, unix.EBUSY:
		default:
			return done, os.NewSyscallError("io_uring_enter", errno)
		}
	}
	return len(batch), nil
}

// sentByRing accounts for one send as Wrote does for a system call.
func (l *Loop) sentByRing(o *netpoll.Outgoing, res int32) (int, error) {
	s := l.Live(o.ID)
	if s == nil {
		return 0, netpoll.ErrClosed
	}
	n, errno := int(res), unix.Errno(0)
	if res < 0 {
		n, errno = 0, unix.Errno(-res)
		if errno == unix.EINTR {
			errno = unix.EAGAIN
		}
	}
	return l.Wrote(o.ID, s, n, len(o.P), errno)
}
