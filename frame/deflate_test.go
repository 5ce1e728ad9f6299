package frame

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// deflate is a compressed frame's payload, whether it pays or not.
func deflate(payload []byte, windowBits int, w *Window) []byte {
	d := newDeflater(windowBits)
	defer d.free(windowBits)
	compressed := bytes.Clone(d.compress(payload, w))
	w.Add(payload)
	return compressed
}

var deflateFromServer = &DecoderConfig{AllowRSV1: true, MaxMessageBytes: 1 << 20}

func TestInflateExamples(t *testing.T) {
	tests := []struct {
		name string
		wire string
		want []event
	}{
		{"7.2.3.1 one block", "c1 07 f2 48 cd c9 c9 07 00", []event{{OpText, "Hello", true}}},
		{"7.2.3.1 in two fragments", "41 03 f2 48 cd 80 04 c9 c9 07 00", []event{{OpText, "Hello", true}}},
		{"7.2.3.1 in two fragments with a ping between", "41 03 f2 48 cd 89 00 80 04 c9 c9 07 00", []event{{op: OpPing}, {OpText, "Hello", true}}},
		{"7.2.3.3 a block with no compression", "c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00", []event{{OpText, "Hello", true}}},
		{"7.2.3.4 a block with BFINAL set", "c1 08 f3 48 cd c9 c9 07 00 00", []event{{OpText, "Hello", true}}},
		{"7.2.3.5 two blocks", "c1 0d f2 48 05 00 00 00 ff ff ca c9 c9 07 00", []event{{OpText, "Hello", true}}},
		{"7.2.3.6 an empty message", "c1 01 00", []event{{OpText, "", true}}},
		{"6 an uncompressed message in between", "c1 07 f2 48 cd c9 c9 07 00 81 02 68 69 c1 07 f2 48 cd c9 c9 07 00", []event{{OpText, "Hello", true}, {OpText, "hi", false}, {OpText, "Hello", true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream := unhex(t, tt.wire)
			for _, cuts := range [][]int{nil, everyByte(stream)} {
				got, d, err := decode(t, deflateFromServer, stream, cuts...)
				if err != nil {
					t.Fatal(err)
				}
				wantEvents(t, got, tt.want)
				if !d.Idle() || d.HeldBytes() != 0 {
					t.Errorf("Idle() = %v, %d bytes held", d.Idle(), d.HeldBytes())
				}
			}
		})
	}
}

// RFC 7692, section 7.2.3.2: the second message refers to the first.
func TestInflateSharesTheWindow(t *testing.T) {
	d := new(Decoder)
	d.Reset(deflateFromServer)
	w := NewWindow(15)
	d.SetWindow(w)
	stream := unhex(t, "c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00")
	got, err := feed(t, d, stream)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, []event{{OpText, "Hello", true}, {OpText, "Hello", true}})
	if string(w.Bytes()) != "HelloHello" {
		t.Errorf("the window holds %q", w.Bytes())
	}

	// Another decoder can go on with the window.
	d.Reset(deflateFromServer)
	d = new(Decoder)
	d.Reset(deflateFromServer)
	restored := NewWindow(15)
	restored.Add(w.Bytes())
	d.SetWindow(restored)
	got, err = feed(t, d, stream[9:])
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, []event{{OpText, "Hello", true}})

	// Without it, the same bytes refer to nothing.
	if got, _, err := decode(t, deflateFromServer, stream[9:]); CloseCodeOf(err) != CloseInvalidPayload {
		t.Errorf("without a window: %v, %v", got, err)
	}
}

// TestInflateGoesOnAfterBFINAL: what follows a final block may refer to what is
// before it, in this message and in the window.
func TestInflateGoesOnAfterBFINAL(t *testing.T) {
	final := func(payload, dict string) []byte {
		var b bytes.Buffer
		w, err := flate.NewWriterDict(&b, 9, []byte(dict))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, payload); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, fill := range []int{0, 1000, 40_000} {
		earlier := strings.Repeat("e", 50) + "the window"
		first := "the first stream" + strings.Repeat("f", fill)
		second := "the first stream, the window, the second stream"
		payload := append(final(first, earlier), final(second, earlier+first)...)
		w := NewWindow(15)
		w.Add([]byte(earlier))
		out, err := inflate(append(payload, 0), 1<<20, w)
		if err != nil {
			t.Fatal(err)
		}
		if string(out.b) != first+second {
			t.Errorf("fill %d: inflate = %.100q", fill, out.b)
		}
		out.free()
	}
}

func TestInflateRefuses(t *testing.T) {
	hello := "f2 48 cd c9 c9 07 00"
	tests := []struct {
		name   string
		cfg    *DecoderConfig
		wire   string
		code   CloseCode
		reason string
	}{
		{"block type 3", deflateFromServer, "c2 01 06", CloseInvalidPayload, errInflateCorrupt.Reason},
		{"7.2.2 cut off", deflateFromServer, "c2 03 f2 48 cd", CloseInvalidPayload, errInflateCorrupt.Reason},
		{"no bytes at all", deflateFromServer, "c2 00", 0, ""},
		{"inflated text is not UTF-8", deflateFromServer, "c1 07 00 01 00 fe ff ff 00", CloseInvalidPayload, errTextUTF8.Reason},
		{"inflated binary need not be", deflateFromServer, "c2 07 00 01 00 fe ff ff 00", 0, ""},
		{"over the limit", &DecoderConfig{AllowRSV1: true, MaxInflatedBytes: 4}, "c1 07" + hello, CloseMessageTooBig, "message inflates to more than 4 bytes"},
		{"at the limit", &DecoderConfig{AllowRSV1: true, MaxInflatedBytes: 5}, "c1 07" + hello, 0, ""},
		{"the compressed form is over the limit", &DecoderConfig{AllowRSV1: true, MaxMessageBytes: 6, MaxInflatedBytes: 100}, "c1 47", CloseMessageTooBig, "message is longer than 6 bytes"},
		{"not negotiated", fromServer, "c1 07" + hello, CloseProtocolError, errRSVBits.Reason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream := unhex(t, tt.wire)
			for _, cuts := range [][]int{nil, everyByte(stream)} {
				_, d, err := decode(t, tt.cfg, stream, cuts...)
				if tt.code == 0 {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				var verdict *ProtocolError
				if !errors.As(err, &verdict) || verdict.Code != tt.code || verdict.Reason != tt.reason {
					t.Fatalf("Next failed with %v, want %v: %s", err, tt.code, tt.reason)
				}
				if d.buf != nil || d.lent != nil || !d.Idle() {
					t.Error("the error left a buffer behind")
				}
			}
		})
	}
}

// TestInflateBomb: a gigabyte that came as a megabyte costs no more than the
// limit and one round of growth.
func TestInflateBomb(t *testing.T) {
	bomb := deflate(make([]byte, 64<<20), maxWindowBits, nil)
	const limit = 3 << 20
	f := inflaters.Get().(*inflater)
	f.in = inflateSource{bomb, inflateTail}
	f.start(nil)
	out, err := f.readAll(newBuffer(0), limit, nil)
	if CloseCodeOf(err) != CloseMessageTooBig || cap(out.b) > limit+1 {
		t.Errorf("%d bytes became %d of %d, %v", len(bomb), len(out.b), cap(out.b), err)
	}
	if len(f.in.payload) < len(bomb)/2 {
		t.Errorf("%d of %d bytes were read", len(bomb)-len(f.in.payload), len(bomb))
	}
	if out, err := inflate(bomb, limit, nil); out != nil || CloseCodeOf(err) != CloseMessageTooBig {
		t.Errorf("inflate = %v, %v", out, err)
	}
}

// sampleText is JSON that refers back over any distance.
func sampleText(rng *rand.Rand, size int) []byte {
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, `{"user":"user-%d","message":"hello number %d"},`, rng.IntN(50), rng.IntN(1000))
	}
	return b.Bytes()[:size]
}

func TestDeflateRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		for _, takeover := range []bool{false, true} {
			t.Run(fmt.Sprintf("bits=%d/takeover=%v", bits, takeover), func(t *testing.T) {
				var send, receive *Window
				if takeover {
					send, receive = NewWindow(bits), NewWindow(bits)
				}
				d := new(Decoder)
				for _, size := range []int{0, 1, 255, 256, 300, 1000, 5000, 40_000, 100_000, 300} {
					payload := sampleText(rng, size)
					frame := AppendMaskedDeflatedFrame([]byte("x"), OpText, testKey, payload, bits, send)[1:]
					d.Reset(&DecoderConfig{ExpectMasked: true, AllowRSV1: true, MaxMessageBytes: 1 << 20})
					d.SetWindow(receive)
					m, n, err := d.Next(bytes.Clone(frame))
					if err != nil || n != len(frame) || m.Opcode != OpText || !bytes.Equal(m.Payload, payload) {
						t.Fatalf("%d bytes: Next = %v of %d bytes, %d, %v", size, m.Opcode, len(m.Payload), n, err)
					}
					if m.Compressed != (size >= DeflateMinBytes) || m.Compressed && len(frame) >= size {
						t.Errorf("%d bytes: compressed %v, to %d", size, m.Compressed, len(frame))
					}
					if !bytes.Equal(send.Bytes(), receive.Bytes()) || len(send.Bytes()) > 1<<bits {
						t.Fatalf("%d bytes: the two windows differ, or are too large: %d, %d", size, len(send.Bytes()), len(receive.Bytes()))
					}
				}
			})
		}
	}
}

// TestDeflateKeepsToTheWindow: a peer that was promised a window of 1<<bits
// bytes can inflate with no more than that.
func TestDeflateKeepsToTheWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	block := make([]byte, 4000)
	for i := range block {
		block[i] = byte(rng.Uint32())
	}
	twice := append(bytes.Clone(block), block...)
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		size := len(deflate(twice, bits, nil))
		inWindow := 1<<bits >= len(block)
		if (size < len(twice)*3/4) != inWindow {
			t.Errorf("%d bits: 4,000 bytes of noise twice became %d bytes", bits, size)
		}
		if d := maxDistance(t, deflate(sampleText(rng, 50_000), bits, nil)); d > 1<<bits || d < 1<<bits/2 {
			t.Errorf("%d bits: refers back %d bytes", bits, d)
		}
	}
}

// TestDeflateRefersBack: with context takeover the same message again costs
// next to nothing, also in the smallest window that it fits into.
func TestDeflateRefersBack(t *testing.T) {
	payload := sampleText(rand.New(rand.NewPCG(2, 2)), 400)
	for _, bits := range []int{9, 12, 15} {
		w := NewWindow(bits)
		first := len(deflate(payload, bits, w))
		if again := len(deflate(payload, bits, w)); again > first/4 {
			t.Errorf("%d bits: %d bytes, then %d", bits, first, again)
		}
	}
}

func TestDeflateThatDoesNotPay(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	noise := make([]byte, 1000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	w := NewWindow(15)
	if got := AppendDeflatedFrame(nil, OpBinary, noise, 15, w); !bytes.Equal(got, AppendFrame(nil, OpBinary, noise)) {
		t.Errorf("1000 bytes of noise became %.20x, %d bytes", got, len(got))
	}
	if len(w.Bytes()) != 0 {
		t.Error("the window learnt a message that was not sent compressed")
	}
	if p := Prepare(OpBinary, noise); &p.Compressed(15)[0] != &p.Bytes()[0] {
		t.Error("the compressed twin is not the frame itself")
	}
}

func TestPreparedCompressed(t *testing.T) {
	payload := sampleText(rand.New(rand.NewPCG(5, 5)), 5000)
	p := Prepare(OpText, payload)
	twins := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range twins {
		wg.Go(func() { twins[i] = p.Compressed(15) })
	}
	wg.Wait()
	for _, twin := range twins {
		if &twin[0] != &twins[0][0] {
			t.Fatal("the twin was made more than once")
		}
	}
	if !IsCompressed(twins[0]) || IsCompressed(p.Bytes()) || IsCompressed(nil) {
		t.Error("IsCompressed does not know one from the other")
	}
	got, _, err := decode(t, deflateFromServer, twins[0])
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, []event{{OpText, string(payload), true}})

	if IsCompressed(p.Compressed(12)) {
		t.Error("5,000 bytes for a window of 4,096 are compressed with one of 32,768")
	}
	if !IsCompressed(p.Compressed(13)) {
		t.Error("5,000 bytes for a window of 8,192 are not compressed")
	}
	if small := Prepare(OpText, payload[:DeflateMinBytes-1]); IsCompressed(small.Compressed(15)) {
		t.Error("a small message is compressed")
	}
	if ping := Prepare(OpPing, make([]byte, 125)); IsCompressed(ping.Compressed(15)) {
		t.Error("a control frame is compressed")
	}
}

// TestPreparedCompressedWithTakeover: the twin refers to nothing, but the peer
// remembers it; Add keeps the sender in step.
func TestPreparedCompressedWithTakeover(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	send := NewWindow(15)
	p := Prepare(OpText, sampleText(rng, 3000))
	stream := bytes.Clone(p.Compressed(15))
	send.Add(p.Payload())
	own := sampleText(rng, 3000)
	stream = AppendDeflatedFrame(stream, OpText, own, 15, send)

	d := new(Decoder)
	d.Reset(deflateFromServer)
	d.SetWindow(NewWindow(15))
	got, err := feed(t, d, stream)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, []event{{OpText, string(p.Payload()), true}, {OpText, string(own), true}})
}

func TestWindow(t *testing.T) {
	w := NewWindow(8)
	var all []byte
	rng := rand.New(rand.NewPCG(8, 8))
	for range 200 {
		p := make([]byte, rng.IntN(100)*rng.IntN(5))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		w.Add(p)
		all = append(all, p...)
		if want := all[max(0, len(all)-256):]; !bytes.Equal(w.Bytes(), want) {
			t.Fatalf("after %d bytes the window holds %x, want %x", len(all), w.Bytes(), want)
		}
	}
}

// FuzzInflate compares with the standard library, and with itself over a
// round trip.
func FuzzInflate(f *testing.F) {
	for _, s := range []string{"f248cdc9c90700", "000500faff48656c6c6f00", "f348cdc9c9070000", "f24805000000ffffcac9c90700", "00", "", "06"} {
		f.Add(unhex(f, s), uint16(100))
	}
	f.Add(deflate(make([]byte, 5000), maxWindowBits, nil), uint16(1000))
	f.Add(deflate(sampleText(rand.New(rand.NewPCG(9, 9)), 3000), 9, nil), uint16(4000))
	f.Fuzz(func(t *testing.T, payload []byte, limit uint16) {
		want, wantCode := oracleInflate(payload, int64(limit))
		out, err := inflate(payload, int64(limit), nil)
		if CloseCodeOf(err) != wantCode {
			t.Fatalf("inflate(%x, %d) failed with %v, the standard library with %d", payload, limit, err, wantCode)
		}
		if err == nil {
			if !bytes.Equal(out.b, want) {
				t.Fatalf("inflate(%x) = %x, the standard library has %x", payload, out.b, want)
			}
			out.free()
		}
		bits := minWindowBits + int(limit)%8
		w := NewWindow(bits)
		w.Add([]byte("what was before"))
		again := NewWindow(bits)
		again.Add(w.Bytes())
		back, err := inflate(deflate(payload, bits, w), int64(len(payload)), again)
		if err != nil || !bytes.Equal(back.b, payload) || !bytes.Equal(w.Bytes(), again.Bytes()) {
			t.Fatalf("round trip of %x: %v", payload, err)
		}
		back.free()
	})
}

func BenchmarkDeflate(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{256, 4096, 64 << 10} {
		payload := sampleText(rng, size)
		compressed := deflate(payload, maxWindowBits, nil)
		b.Run(fmt.Sprintf("compress/%d", size), func(b *testing.B) {
			dst := make([]byte, 0, size+MaxHeaderBytes)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendDeflatedFrame(dst[:0], OpText, payload, maxWindowBits, nil)
			}
			b.ReportMetric(float64(len(dst)), "wire-B")
		})
		b.Run(fmt.Sprintf("inflate/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				out, err := inflate(compressed, int64(size), nil)
				if err != nil {
					b.Fatal(err)
				}
				out.free()
			}
		})
	}
}
