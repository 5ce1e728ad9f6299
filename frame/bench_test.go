package frame

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkNext decodes masked messages: whole, and in two reads.
func BenchmarkNext(b *testing.B) {
	for _, op := range []Opcode{OpText, OpBinary} {
		for _, size := range []int{16, 128, 64 << 10} {
			frame := AppendMaskedFrame(nil, op, testKey, bytes.Repeat([]byte("x"), size))
			for _, cut := range []int{len(frame), len(frame) / 2} {
				b.Run(fmt.Sprintf("%v/%d/reads=%d", op, size, (len(frame)+cut-1)/cut), func(b *testing.B) {
					benchmarkNext(b, frame, size, cut)
				})
			}
		}
	}
}

func benchmarkNext(b *testing.B, frame []byte, size, cut int) {
	d := new(Decoder)
	d.Reset(fromClient)
	p := bytes.Clone(frame)
	header := len(frame) - size
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		m, n, err := d.Next(p[:cut])
		if cut < len(p) && err == nil {
			m, n, err = d.Next(p[cut:])
		} else {
			Mask(p[header:], testKey, 0) // it was unmasked in place
		}
		if m.Opcode == 0 || n == 0 || err != nil {
			b.Fatal(m.Opcode, n, err)
		}
	}
}

// BenchmarkNextLarge gathers 16 MiB from reads of 64 KiB.
func BenchmarkNextLarge(b *testing.B) {
	const size = 16 << 20
	frame := AppendMaskedFrame(nil, OpText, testKey, bytes.Repeat([]byte("x"), size))
	d := new(Decoder)
	d.Reset(&DecoderConfig{ExpectMasked: true, MaxMessageBytes: size})
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		for rest := frame; len(rest) > 0; {
			_, n, err := d.Next(rest[:min(64<<10, len(rest))])
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	payload := make([]byte, 128)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		Prepare(OpText, payload)
	}
}
