package frame

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/flate"
)

// deflateRaw compresses as a client may that does not look whether it pays: with a
// level of compress/flate, against the window.
func deflateRaw(t *testing.T, level int, payload, window []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriterDict(&out, level, window)
	if err == nil {
		_, err = w.Write(payload)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()[:out.Len()-syncTailBytes]
}

// appendFragments appends a compressed message in n frames, as a client.
func appendFragments(dst []byte, payload []byte, n int) []byte {
	for i := range n {
		h := Header{Fin: i == n-1, Masked: true}
		if i == 0 {
			h.Opcode, h.Rsv = OpBinary, RSV1
		}
		part := payload[i*len(payload)/n : (i+1)*len(payload)/n]
		h.Length = int64(len(part))
		dst = append(AppendHeader(dst, h), part...) // the mask is zero
	}
	return dst
}

// The limit is about the message: one of exactly MaxMessageBytes passes in any
// form, also where compressing made it longer, and one byte more never does.
func TestLimitIsForTheMessage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	levels := map[string]int{"stored": flate.NoCompression, "fixed or dynamic": flate.HuffmanOnly, "fast": flate.BestSpeed, "best": flate.BestCompression}
	for _, limit := range []int{1, 1000, 70_000} {
		for name, level := range levels {
			for _, takeover := range []bool{false, true} {
				for _, fragments := range []int{1, 3} {
					t.Run(fmt.Sprint(limit, "/", name, "/takeover ", takeover, "/fragments ", fragments), func(t *testing.T) {
						cfg := &DecoderConfig{ExpectMasked: true, AllowRSV1: true, MaxMessageBytes: int64(limit)}
						var sent, received *Window
						if takeover {
							sent, received = NewWindow(15), NewWindow(15)
						}
						var d Decoder
						for size := max(0, limit-6); size <= limit+1; size++ {
							payload := make([]byte, size)
							for i := range payload {
								payload[i] = byte(rng.Uint32())
							}
							d.Reset(cfg)
							d.SetWindow(received)
							var m Message
							var err error
							for p := appendFragments(nil, deflateRaw(t, level, payload, sent.Bytes()), fragments); len(p) > 0 && err == nil; {
								var n int
								m, n, err = d.Next(p)
								p = p[n:]
							}
							if size > limit {
								if CloseCodeOf(err) != CloseMessageTooBig {
									t.Fatalf("%d random bytes: %v, want %v", size, err, CloseMessageTooBig)
								}
								return // the connection is over
							}
							if err != nil || !bytes.Equal(m.Payload, payload) {
								t.Fatalf("%d random bytes: %d bytes, %v", size, len(m.Payload), err)
							}
							sent.Add(payload)
						}
					})
				}
			}
		}
	}
}

// What is declared compressed is still bounded before a byte of it is held.
func TestCompressedDeclarationIsBounded(t *testing.T) {
	for limit, want := range map[int64]int64{0: 64, 1000: 1000 + 125 + 15 + 64, 16 << 20: 16<<20 + 2<<20 + 256<<10 + 64, math.MaxInt64: math.MaxInt64} {
		if got := deflatedMaxBytes(limit); got != want {
			t.Errorf("deflatedMaxBytes(%d) = %d, want %d", limit, got, want)
		}
	}
	var d Decoder
	for length, want := range map[int64]CloseCode{deflatedMaxBytes(1000): 0, deflatedMaxBytes(1000) + 1: CloseMessageTooBig} {
		d.Reset(&DecoderConfig{ExpectMasked: true, AllowRSV1: true, MaxMessageBytes: 1000})
		_, _, err := d.Next(AppendHeader(nil, Header{Fin: true, Rsv: RSV1, Opcode: OpBinary, Masked: true, Length: length}))
		if want == 0 && err != nil || want != 0 && CloseCodeOf(err) != want {
			t.Errorf("%d bytes declared: %v, want %v", length, err, want)
		}
		if n := d.HeldBytes(); n != 0 {
			t.Errorf("%d bytes held", n)
		}
	}
}
