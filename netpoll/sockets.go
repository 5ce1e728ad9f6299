//go:build linux || darwin || freebsd

package netpoll

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A socket is all that a loop keeps for one connection: 12 bytes, no pointer.
type socket struct {
	// fd is the descriptor; in a free slot, the next free one (-1 ends).
	fd int32
	// generation is 0 in a free slot.
	generation uint32
	flags      socketFlags
}

// socketFlags are what a connection is doing.
type socketFlags uint32

const (
	// paused: PauseRead is in force.
	paused socketFlags = 1 << iota
	// wantsWrite: a write was cut short; OnWritable is due when there is room.
	wantsWrite
	// lingering: Close has been called, the peer has not closed yet. All that
	// still comes from it is dropped.
	lingering
	// dead: the descriptor goes as soon as OnClose has been delivered. No other
	// callback follows.
	dead
	// notified: OnClose has been delivered; only a lingering socket outlives it.
	notified
	// waited: it counts as lingering.
	waited
	// opening: OnOpen is running; the poller is told afterwards.
	opening
	// unwatched: the peer of a paused connection hung up. The poller would
	// report that for ever, so it does not know the socket until ResumeRead.
	unwatched
	// polled: the poller knows the socket.
	polled
	// polledRead, polledWrite: the interest that the poller has been told.
	polledRead
	polledWrite
)

// interest is what the poller should watch for, and the only place that says so.
func (f socketFlags) interest() interest {
	if f&lingering != 0 {
		return interestRead
	}
	var in interest
	if f&paused == 0 {
		in |= interestRead
	}
	if f&wantsWrite != 0 {
		in |= interestWrite
	}
	return in
}

// polledInterest is what the poller watches for now.
func (f socketFlags) polledInterest() interest {
	var in interest
	if f&polledRead != 0 {
		in |= interestRead
	}
	if f&polledWrite != 0 {
		in |= interestWrite
	}
	return in
}

// setPolled notes what the poller has been told.
func (f *socketFlags) setPolled(in interest) {
	*f &^= polledRead | polledWrite
	*f |= polled
	if in&interestRead != 0 {
		*f |= polledRead
	}
	if in&interestWrite != 0 {
		*f |= polledWrite
	}
}

// trimBytes is how much of an emptied table may stay resident: below it, giving
// pages back costs more than they are worth.
const trimBytes = 64 << 10

// A socketTable holds a loop's sockets, by slot. It lies in anonymous memory
// reserved for the highest number of connections: it never moves, the garbage
// collector neither scans it nor takes it as a reason to let the heap grow, and
// pages that were never used cost nothing. Owned by the loop's goroutine.
type socketTable struct {
	memory  []byte
	sockets []socket
	// used slots are those that were ever taken since the table was last
	// empty; free ones among them form a list through their fd, the last freed
	// first.
	used     uint32
	free     int32
	open     int
	lastUsed uint32 // the last generation given out
}

func newSocketTable(slots int) (*socketTable, error) {
	size := slots * int(unsafe.Sizeof(socket{}))
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	adviseSmallPages(memory)
	return &socketTable{
		memory:  memory,
		sockets: unsafe.Slice((*socket)(unsafe.Pointer(unsafe.SliceData(memory))), slots),
		free:    -1,
	}, nil
}

// unmap gives the memory back. Every ID is stale from now on.
func (t *socketTable) unmap() {
	t.sockets, t.used = nil, 0
	_ = unix.Munmap(t.memory)
	t.memory = nil
}

// take finds a slot for fd. There must be one: the number of connections is
// bounded by the size of the table.
func (t *socketTable) take(fd int) (slot uint32, s *socket) {
	if t.free >= 0 {
		slot = uint32(t.free)
		t.free = t.sockets[slot].fd
	} else {
		slot = t.used
		t.used++
	}
	t.lastUsed++
	if t.lastUsed == 0 {
		t.lastUsed = 1
	}
	t.open++
	s = &t.sockets[slot]
	*s = socket{fd: int32(fd), generation: t.lastUsed}
	return slot, s
}

// get finds the socket of id, nil if id is stale.
func (t *socketTable) get(id ID) *socket {
	slot := id.Slot()
	if slot >= t.used {
		return nil
	}
	s := &t.sockets[slot]
	if s.generation != id.Generation() || s.generation == 0 {
		return nil
	}
	return s
}

// release makes a slot free. The generations come from a counter of the table,
// not of the slot: that is why an empty table can forget everything.
func (t *socketTable) release(slot uint32) {
	t.sockets[slot] = socket{fd: t.free}
	t.free = int32(slot)
	t.open--
	if t.open > 0 {
		return
	}
	if int(t.used)*int(unsafe.Sizeof(socket{})) > trimBytes {
		adviseUnused(t.memory)
	}
	t.used, t.free = 0, -1
}
