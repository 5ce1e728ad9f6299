//go:build linux || darwin || freebsd

package conns

import (
	"fmt"
	"unsafe"

	"github.com/roostws/roost/internal/offheap"
	"github.com/roostws/roost/netpoll"
)

// A Socket is all that a loop keeps for one connection: 12 bytes, no pointer.
type Socket struct {
	// FD is the descriptor; in a free slot, the next free one (-1 ends).
	FD int32
	// Generation is 0 in a free slot.
	Generation uint32
	Flags      Flags
}

// Flags are the state of a connection. The lower 16 bits are the same for all
// engines, the upper 16 bits are the engine's own.
type Flags uint32

const (
	// Paused: PauseRead is in force.
	Paused Flags = 1 << iota
	// WantsWrite: a write was cut short; OnWritable is due when there is room.
	WantsWrite
	// Lingering: Close has been called, and the peer has not closed yet. What
	// it still sends is dropped.
	Lingering
	// Dead: the descriptor is closed as soon as OnClose has returned. No other
	// callback follows.
	Dead
	// Connecting: the socket was attached and its connect may be under way.
	// Cleared by the engine, not necessarily at once.
	Connecting
	// notified: OnClose has returned; only a lingering socket outlives it.
	notified
	// waited: the connection is counted as lingering.
	waited

	// EngineFlags is the lowest bit that belongs to the engine.
	EngineFlags Flags = 1 << 16
)

// trimBytes is how much of an emptied table may stay resident: below it, giving
// pages back costs more than they are worth.
const trimBytes = 64 << 10

// A Table holds a loop's sockets by slot, outside of the Go heap. It is reserved
// for the highest number of connections, so it never moves. Owned by the loop's
// goroutine.
type Table struct {
	rows offheap.Table[Socket]
	// used slots are those that were taken since the table was last empty; the
	// free ones among them form a list through their FD, the last freed first.
	used           uint32
	free           int32
	open           int
	lastGeneration uint32
}

func (t *Table) init(slots int) (err error) {
	t.free = -1
	if t.rows, err = offheap.New[Socket](slots); err != nil {
		return fmt.Errorf("table of sockets (lower MaxConns?): %w", err)
	}
	return nil
}

// Unmap gives the memory back. Every ID is stale from now on.
func (t *Table) Unmap() {
	t.used = 0
	t.rows.Free()
}

// take finds a slot for fd. There must be one: the number of connections is
// bounded by the size of the table.
func (t *Table) take(fd int) (slot uint32, s *Socket) {
	if t.free >= 0 {
		slot = uint32(t.free)
		t.free = t.rows.Rows[slot].FD
	} else {
		slot = t.used
		t.used++
	}
	t.open++
	s = &t.rows.Rows[slot]
	*s = Socket{FD: int32(fd), Generation: t.nextGeneration()}
	return slot, s
}

func (t *Table) nextGeneration() uint32 {
	t.lastGeneration++
	if t.lastGeneration == 0 {
		t.lastGeneration = 1
	}
	return t.lastGeneration
}

// Get returns the socket of id, nil if id is stale.
func (t *Table) Get(id netpoll.ID) *Socket {
	slot := id.Slot()
	if slot >= t.used {
		return nil
	}
	s := &t.rows.Rows[slot]
	if s.Generation != id.Generation() || s.Generation == 0 {
		return nil
	}
	return s
}

// SlotOf returns the slot of a socket in the table.
func (t *Table) SlotOf(s *Socket) uint32 {
	offset := uintptr(unsafe.Pointer(s)) - uintptr(unsafe.Pointer(unsafe.SliceData(t.rows.Rows)))
	return uint32(offset / unsafe.Sizeof(Socket{}))
}

// release makes a slot free. The generations come from a counter of the table,
// not of the slot: that is why an empty table can forget everything.
func (t *Table) release(slot uint32) {
	t.rows.Rows[slot] = Socket{FD: t.free}
	t.free = int32(slot)
	t.open--
	if t.open > 0 {
		return
	}
	if int(t.used)*int(unsafe.Sizeof(Socket{})) > trimBytes {
		t.rows.Clear(int(t.used))
	}
	t.used, t.free = 0, -1
}
