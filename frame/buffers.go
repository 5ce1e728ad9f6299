package frame

import (
	"math/bits"
	"sync"
)

// Pooled buffers come in powers of two from 512 B to 1 MiB. A pool serves all
// goroutines, and the garbage collector empties it, so what a burst of split
// frames needed does not stay. Larger buffers are left to the collector at once.
const (
	minBufferBits  = 9
	maxBufferBits  = 20
	maxPooledBytes = 1 << maxBufferBits
)

var bufferPools [maxBufferBits - minBufferBits + 1]sync.Pool

// A buffer holds the payload of a message that has not ended.
type buffer struct{ b []byte }

// newBuffer gives an empty buffer with room for at least size bytes.
func newBuffer(size int) *buffer {
	if size > maxPooledBytes {
		return &buffer{make([]byte, 0, size)}
	}
	class := bufferClass(size)
	if buf, ok := bufferPools[class].Get().(*buffer); ok {
		return buf
	}
	return &buffer{make([]byte, 0, 1<<(class+minBufferBits))}
}

// bufferClass is the index of the smallest pool whose buffers hold size bytes.
func bufferClass(size int) int {
	return max(bits.Len(uint(max(size, 1)-1)), minBufferBits) - minBufferBits
}

// free gives buf back. The caller must have dropped all slices of it. nil is
// fine.
func (buf *buffer) free() {
	if buf == nil || cap(buf.b) > maxPooledBytes {
		return
	}
	class := bufferClass(cap(buf.b))
	buf.b = buf.b[:0]
	bufferPools[class].Put(buf)
}

// withRoom gives a buffer with the same content and room for need more bytes;
// buf, which may be nil, is not to be used any more. Growth is by doubling, so
// that n bytes are copied less than 2n times in total, but not past last, the
// size at which the message is known to end (0: unknown).
func (buf *buffer) withRoom(need, last int) *buffer {
	if buf == nil {
		return newBuffer(need)
	}
	size := len(buf.b) + need
	if size <= cap(buf.b) {
		return buf
	}
	grown := max(size, 2*cap(buf.b))
	if last >= size && last < grown {
		grown = last
	}
	next := newBuffer(grown)
	next.b = append(next.b, buf.b...)
	buf.free()
	return next
}
