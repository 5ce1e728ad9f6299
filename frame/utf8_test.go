package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws/wsutil"
)

// automaton runs the oracle, a state machine fed byte by byte: accepted is the
// length of the leading whole characters, ok false once nothing can save p.
func automaton(p []byte) (accepted int, ok bool) {
	r := wsutil.NewUTF8Reader(bytes.NewReader(p))
	for range p {
		var b [1]byte
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, wsutil.ErrInvalidUTF8) {
			return accepted, false
		}
		accepted++
	}
	if !r.Valid() {
		for accepted > 0 && !utf8.Valid(p[:accepted]) {
			accepted--
		}
	}
	return accepted, true
}

func checkValidText(t *testing.T, p []byte) {
	t.Helper()
	n, ok := validText(p)
	wantN, wantOK := automaton(p)
	if ok != wantOK || ok && n != wantN {
		t.Fatalf("validText(%x) = %d, %v, want %d, %v", p, n, ok, wantN, wantOK)
	}
	if ok && len(p)-n > 3 {
		t.Fatalf("validText(%x) leaves %d bytes", p, len(p)-n)
	}
}

// TestValidTextEdges tries every sequence of up to four bytes that could mean
// something, behind a character that is fine.
func TestValidTextEdges(t *testing.T) {
	interesting := []byte{0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff}
	var p []byte
	var extend func(more int)
	extend = func(more int) {
		checkValidText(t, p)
		if more == 0 {
			return
		}
		for _, b := range interesting {
			p = append(p, b)
			extend(more - 1)
			p = p[:len(p)-1]
		}
	}
	extend(4)
}

func FuzzValidText(f *testing.F) {
	f.Add([]byte("\u03ba\u1f79\u03c3\u03bc\u03b5\xed\xa0\x80edited"))
	f.Add([]byte("\xf4\x90\x80\x80"))
	f.Fuzz(checkValidText)
}

func BenchmarkUTF8(b *testing.B) {
	for _, text := range []struct{ name, char string }{{"ascii", "a"}, {"mixed", "aaaaaaaaaaaaaaa\u00e4"}, {"wide", "\u20ac"}} {
		for _, size := range []int{128, 64 << 10} {
			p := bytes.Repeat([]byte(text.char), size/len(text.char))
			b.Run(fmt.Sprintf("%s/%d", text.name, size), func(b *testing.B) {
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					if _, ok := validText(p); !ok {
						b.Fatal("not valid")
					}
				}
			})
		}
	}
}
