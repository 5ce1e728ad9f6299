package shard

import "unsafe"

// A table is an array of n pointer-free rows outside the Go heap: address space
// is reserved once, the system gives pages as rows are first touched, nothing
// is ever copied to grow, and the garbage collector neither scans it nor counts
// it (on the heap, each byte that lives costs up to another one of headroom).
// T must not hold pointers.
type table[T any] struct {
	memory []byte
	rows   []T
}

// newTable reserves n zero rows.
func newTable[T any](n int) (table[T], error) {
	var row T
	memory, err := reserve(n * int(unsafe.Sizeof(row)))
	if err != nil {
		return table[T]{}, err
	}
	return table[T]{memory, unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), n)}, nil
}

// clear makes every row zero and gives the pages back to the system.
func (t *table[T]) clear() { discard(t.memory) }

// free ends the table.
func (t *table[T]) free() {
	if t.memory != nil {
		release(t.memory)
		t.memory, t.rows = nil, nil
	}
}
