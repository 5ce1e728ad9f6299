package netpoll

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident is the number of pages of memory that the system holds.
func resident(t *testing.T, memory []byte) (pages int) {
	t.Helper()
	states := make([]byte, (len(memory)+os.Getpagesize()-1)/os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(memory))),
		uintptr(len(memory)), uintptr(unsafe.Pointer(unsafe.SliceData(states))))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, state := range states {
		pages += int(state & 1)
	}
	return pages
}

func TestSocketTableForgets(t *testing.T) {
	const slots = 20_000 // more than trimBytes
	table := newTestTable(t, slots)
	var ids []ID
	for i := range slots {
		slot, s := table.take(i)
		ids = append(ids, MakeID(0, slot, s.generation))
	}
	full := resident(t, table.memory)
	for _, id := range ids {
		table.release(id.Slot())
	}
	if table.used != 0 || table.open != 0 {
		t.Errorf("the empty table uses %d slots, %d of them open", table.used, table.open)
	}
	if empty := resident(t, table.memory); empty != 0 || full == 0 {
		t.Errorf("%d pages resident when empty, %d when full, want none and some", empty, full)
	}
	slot, s := table.take(7)
	if slot != 0 || s.generation == ids[0].Generation() || table.get(ids[0]) != nil {
		t.Errorf("after the table forgot, slot %d has generation %d, want slot 0 and a new one", slot, s.generation)
	}
}
