package offheap

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mappingFlags returns the VmFlags of the mapping that begins with memory.
func mappingFlags(t *testing.T, memory []byte) []string {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	address := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	inside := false
	for line := range strings.Lines(string(smaps)) {
		var low, high uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &low, &high); n == 2 {
			inside = low <= address && address < high
		} else if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	t.Fatalf("no mapping of %x in /proc/self/smaps", address)
	return nil
}

// TestMappingIsThrifty: no huge page, or the first row would cost 2 MiB, and no
// promised memory.
func TestMappingIsThrifty(t *testing.T) {
	table, err := New[uint64](1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Free()
	flags := mappingFlags(t, table.memory)
	for flag, meaning := range map[string]string{"nh": "MADV_NOHUGEPAGE", "nr": "MAP_NORESERVE"} {
		if !slices.Contains(flags, flag) {
			t.Errorf("the mapping lacks %s: its flags are %v", meaning, flags)
		}
	}
}

// residentPages returns how many pages of memory the system holds.
func residentPages(t *testing.T, memory []byte) (pages int) {
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

func TestClearGivesMemoryBack(t *testing.T) {
	page := os.Getpagesize()
	table, err := New[byte](100 * page)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Free()
	if got := residentPages(t, table.memory); got != 0 {
		t.Errorf("%d pages are resident before any row is touched, want 0", got)
	}
	for i := range 10 {
		table.Rows[i*page] = 1
	}
	if got := residentPages(t, table.memory); got != 10 {
		t.Errorf("%d pages are resident after 10 were touched", got)
	}
	table.Clear(10 * page)
	if got := residentPages(t, table.memory); got != 0 {
		t.Errorf("%d pages are resident after Clear, want 0", got)
	}
}
