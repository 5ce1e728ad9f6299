package shard

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// crypto/tls keeps the buffers of its handshake for ever: 3.4 KB of the 6.6 KB
// that an idle connection would cost (a ClientHello with a post-quantum key is
// 1.5 KB, read into one buffer and copied into another). They are empty then,
// and it would make new ones if they were gone, but it has no way to be told.
// So they are taken away from it by name. Should a release of Go rename them,
// nothing happens but that the memory stays, and TestTLSBuffersAreFound fails.

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

// trimTLS frees c's empty buffers. Nobody else may use c meanwhile.
func trimTLS(c *tls.Conn) {
	for _, offset := range tlsBuffers {
		b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), offset))
		if b.Len() == 0 && b.Cap() > 0 {
			*b = bytes.Buffer{}
		}
	}
}
