//go:build unix && !linux

package offheap

import "golang.org/x/sys/unix"

// mapNoReserve is not needed: these systems do not account for reserved memory.
const mapNoReserve = 0

// adviseSmallPages does nothing: only Linux has transparent huge pages.
func adviseSmallPages([]byte) {}

// discard gives the pages back when the system needs them. Until then they keep
// what was written, so the used bytes are made zero first.
func discard(memory []byte, used int) {
	clear(memory[:used])
	_ = unix.Madvise(memory, unix.MADV_FREE)
}
