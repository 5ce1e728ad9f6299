package intake

import (
	"bytes"
	"crypto/tls"
	"testing"
	"unsafe"
)

func TestTLSBuffersAreFound(t *testing.T) {
	if len(tlsBuffers) != 2 {
		t.Fatalf("found %d of tls.Conn's 2 buffers: this release of Go has other names, see trim.go", len(tlsBuffers))
	}
}

func TestTrimTLSKeepsBytes(t *testing.T) {
	c := tls.Server(nil, &tls.Config{})
	full := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), tlsBuffers[0]))
	empty := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), tlsBuffers[1]))
	full.WriteString("not read yet")
	empty.Grow(1000)
	trimTLS(c)
	if got := full.String(); got != "not read yet" {
		t.Errorf("unread bytes became %q", got)
	}
	if n := empty.Cap(); n != 0 {
		t.Errorf("an empty buffer kept %d bytes", n)
	}
}
