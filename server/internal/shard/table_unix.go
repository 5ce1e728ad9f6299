//go:build unix

package shard

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

func reserve(bytes int) ([]byte, error) {
	// Private anonymous pages are zero and cost nothing until touched.
	memory, err := unix.Mmap(-1, 0, max(bytes, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|noReserve)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space for the connection tables (lower MaxConnections?): %w", bytes, err)
	}
	return memory, nil
}

func discard(memory []byte) {
	// Only Linux promises zeroes after MADV_DONTNEED.
	if runtime.GOOS == "linux" && unix.Madvise(memory, unix.MADV_DONTNEED) == nil {
		return
	}
	clear(memory)
}

func release(memory []byte) { _ = unix.Munmap(memory) }
