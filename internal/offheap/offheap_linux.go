package offheap

import "golang.org/x/sys/unix"

// mapNoReserve: most of the reserved space is never used, so it must not count
// as promised memory where the system accounts for it (vm.overcommit_memory 2).
const mapNoReserve = unix.MAP_NORESERVE

// adviseSmallPages keeps the table out of transparent huge pages. A system that
// sets them to "always" would otherwise give a table 2 MiB for its first row:
// measured, 18,000 connections then cost 156 bytes more each.
func adviseSmallPages(memory []byte) { _ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE) }

// discard gives the pages back; they read as zero afterwards. used is how many
// bytes may have been written.
func discard(memory []byte, used int) {
	if unix.Madvise(memory, unix.MADV_DONTNEED) != nil {
		clear(memory[:used])
	}
}
