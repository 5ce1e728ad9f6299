//go:build unix

// Package offheap keeps arrays of pointer-free rows outside the Go heap.
package offheap

import (
	"fmt"
	"reflect"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Table is an array of rows in anonymous memory. Its address space is
// reserved once, for the highest number of rows, so it is never copied to grow;
// the system provides pages as rows are first touched. The garbage collector
// neither scans it nor counts it (on the Go heap, each live byte costs up to
// another one of headroom).
//
// The zero Table has no rows. A Table has no lock: it belongs to its owner's
// goroutine.
type Table[T any] struct {
	// Rows are all rows of the table, zero until they are written. The slice
	// must not be used after Free.
	Rows   []T
	memory []byte
}

// New reserves n zero rows. It panics if T holds pointers, because the garbage
// collector would not see them.
func New[T any](n int) (Table[T], error) {
	var row T
	if hasPointers(reflect.TypeOf(row)) {
		panic(fmt.Sprintf("offheap: %T holds pointers", row))
	}
	size := max(n*int(unsafe.Sizeof(row)), 1)
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|mapNoReserve)
	if err != nil {
		return Table[T]{}, fmt.Errorf("reserve %d bytes of address space: %w", size, err)
	}
	adviseSmallPages(memory)
	return Table[T]{unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), n), memory}, nil
}

// Clear makes every row zero and gives the memory back to the system. No row
// from used on may have been written to.
func (t *Table[T]) Clear(used int) {
	if used > 0 && t.memory != nil {
		discard(t.memory, int(unsafe.Sizeof(t.Rows[0]))*used)
	}
}

// Free unmaps the table. Later calls do nothing.
func (t *Table[T]) Free() {
	if t.memory != nil {
		_ = unix.Munmap(t.memory)
		*t = Table[T]{}
	}
}

// hasPointers reports whether a value of the type holds pointers.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	return t.Kind() > reflect.Complex128
}
