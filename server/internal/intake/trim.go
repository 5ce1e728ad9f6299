package intake

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// crypto/tls keeps the buffers of its handshake for ever: 3.4 KB of the 6.6 KB
// that an idle connection would cost (a ClientHello with a post-quantum key is
// 1.5 KB, read into one buffer and copied into another). They are empty after the
// handshake, and crypto/tls would make new ones, but it has no call that frees
// them. So trimTLS finds them by name. If a release of Go renames them, the memory
// stays, and TestTLSBuffersAreFound fails.

// tlsBuffers are the offsets of tls.Conn's buffers.
var tlsBuffers = func() (offsets []uintptr) {
	conn := reflect.TypeFor[tls.Conn]()
	for _, name := range []string{"rawInput", "hand"} {
		if field, ok := conn.FieldByName(name); ok && field.Type == reflect.TypeFor[bytes.Buffer]() {
			offsets = append(offsets, field.Offset)
		}
	}
	return offsets
}()

// trimTLS frees c's empty buffers. No other goroutine may use c meanwhile.
func trimTLS(c *tls.Conn) {
	for _, offset := range tlsBuffers {
		b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), offset))
		if b.Len() == 0 && b.Cap() > 0 {
			*b = bytes.Buffer{}
		}
	}
}
