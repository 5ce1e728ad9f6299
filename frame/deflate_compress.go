package frame

import (
	"sync"

	"github.com/klauspost/compress/flate"
)

// DeflateMinBytes is the size from which messages are compressed. Measured on
// JSON with level 1: 128 bytes do not shrink at all, 256 become 157 in 5 us, 512
// become 211, 4,096 become 750 in 9 us.
const DeflateMinBytes = 256

// syncTailBytes: a flush ends in 00 00 ff ff, which RFC 7692, section 7.2.1,
// takes off.
const syncTailBytes = 4

// A deflater is a compressor and its output. One takes about 800 KiB, so they are
// pooled and stay with no connection.
type deflater struct {
	w   *flate.Writer
	out byteWriter
}

type byteWriter struct{ b []byte }

func (w *byteWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// deflaters has one pool for each size of window, by bits.
var deflaters [maxWindowBits + 1]sync.Pool

func newDeflater(windowBits int) *deflater {
	if d, ok := deflaters[windowBits].Get().(*deflater); ok {
		return d
	}
	var w *flate.Writer
	var err error
	if windowBits == maxWindowBits {
		w, err = flate.NewWriter(nil, flate.BestSpeed)
	} else {
		w, err = flate.NewWriterWindow(nil, 1<<windowBits)
	}
	if err != nil {
		panic("frame: " + err.Error()) // level and window are constants in range
	}
	return &deflater{w: w}
}

func (d *deflater) free(windowBits int) {
	// Keep neither the window of a connection nor the output of a giant.
	d.w.ResetDict(nil, nil)
	if cap(d.out.b) > maxPooledBytes {
		d.out.b = nil
	}
	deflaters[windowBits].Put(d)
}

// compress returns the payload of a compressed frame, valid until the next
// compress or free.
func (d *deflater) compress(payload []byte, w *Window) []byte {
	d.out.b = d.out.b[:0]
	d.w.ResetDict(&d.out, w.Bytes())
	// Neither call fails: byteWriter does not.
	if _, err := d.w.Write(payload); err != nil {
		panic("frame: " + err.Error())
	}
	if err := d.w.Flush(); err != nil {
		panic("frame: " + err.Error())
	}
	return d.out.b[:len(d.out.b)-syncTailBytes]
}

// AppendDeflatedFrame appends a whole, unmasked frame with the message
// compressed, or as it is where compression does not pay: below DeflateMinBytes
// and where the result is not smaller (RFC 7692, section 6, lets the sender
// choose). windowBits is the sender's limit from DeflateParams, w its window, nil
// without context takeover. op is OpText or OpBinary. It copies payload.
func AppendDeflatedFrame(dst []byte, op Opcode, payload []byte, windowBits int, w *Window) []byte {
	return appendDeflated(dst, Header{Fin: true, Opcode: op}, payload, windowBits, w)
}

// AppendMaskedDeflatedFrame is AppendDeflatedFrame for a client.
func AppendMaskedDeflatedFrame(dst []byte, op Opcode, key [4]byte, payload []byte, windowBits int, w *Window) []byte {
	return appendDeflated(dst, Header{Fin: true, Opcode: op, Masked: true, Mask: key}, payload, windowBits, w)
}

func appendDeflated(dst []byte, h Header, payload []byte, windowBits int, w *Window) []byte {
	if len(payload) < DeflateMinBytes || h.Opcode.IsControl() {
		return appendPayload(dst, h, payload)
	}
	windowBits = min(max(windowBits, minWindowBits), maxWindowBits)
	d := newDeflater(windowBits)
	defer d.free(windowBits)
	compressed := d.compress(payload, w)
	if len(compressed) >= len(payload) {
		return appendPayload(dst, h, payload)
	}
	w.Add(payload)
	h.Rsv = RSV1
	return appendPayload(dst, h, compressed)
}
