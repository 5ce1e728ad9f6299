package frame

import "testing"

// maxDistance is how far back a compressed message refers at most. It walks over
// the blocks of RFC 1951 without producing anything: no library does.
func maxDistance(t *testing.T, payload []byte) int {
	t.Helper()
	w := deflateWalk{p: append(append([]byte(nil), payload...), inflateTail...)}
	for final := false; !final; {
		final = w.bits(1) == 1
		switch w.bits(2) {
		case 0:
			w.at = (w.at + 7) &^ 7
			w.at += 32 + 8*int(w.p[w.at/8]) + 8*256*int(w.p[w.at/8+1])
		case 1:
			w.fixed()
		case 2:
			w.dynamic()
		default:
			t.Fatal("block type 3")
		}
	}
	return w.farthest
}

type deflateWalk struct {
	p        []byte
	at       int // in bits
	farthest int
}

func (w *deflateWalk) bits(n int) (v int) {
	for i := range n {
		v |= int(w.p[w.at/8]>>(w.at%8)&1) << i
		w.at++
	}
	return v
}

// huffman maps a code, with its length, to a symbol.
type huffman map[[2]int]int

// newHuffman makes the canonical code of RFC 1951, section 3.2.2.
func newHuffman(lengths []int) huffman {
	h := huffman{}
	code := 0
	for n := 1; n <= 15; n++ {
		for symbol, length := range lengths {
			if length == n {
				h[[2]int{n, code}] = symbol
				code++
			}
		}
		code <<= 1
	}
	return h
}

func (w *deflateWalk) symbol(h huffman) int {
	code := 0
	for n := 1; n <= 15; n++ {
		code = code<<1 | w.bits(1)
		if s, ok := h[[2]int{n, code}]; ok {
			return s
		}
	}
	panic("no such code")
}

func (w *deflateWalk) fixed() {
	var literals, distances []int
	for s := range 288 {
		n := 8
		if s >= 144 && s < 256 {
			n = 9
		} else if s >= 256 && s < 280 {
			n = 7
		}
		literals = append(literals, n)
	}
	for range 30 {
		distances = append(distances, 5)
	}
	w.block(newHuffman(literals), newHuffman(distances))
}

func (w *deflateWalk) dynamic() {
	literals, distances, codes := w.bits(5)+257, w.bits(5)+1, w.bits(4)+4
	order := []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	codeLengths := make([]int, 19)
	for _, i := range order[:codes] {
		codeLengths[i] = w.bits(3)
	}
	h := newHuffman(codeLengths)
	var lengths []int
	for len(lengths) < literals+distances {
		repeat, n := 1, 0
		switch s := w.symbol(h); s {
		case 16:
			repeat, n = 3+w.bits(2), lengths[len(lengths)-1]
		case 17:
			repeat = 3 + w.bits(3)
		case 18:
			repeat = 11 + w.bits(7)
		default:
			n = s
		}
		for range repeat {
			lengths = append(lengths, n)
		}
	}
	w.block(newHuffman(lengths[:literals]), newHuffman(lengths[literals:]))
}

func (w *deflateWalk) block(literals, distances huffman) {
	for {
		s := w.symbol(literals)
		switch {
		case s == 256:
			return
		case s < 256:
			continue
		case s >= 265 && s < 285:
			w.bits((s - 261) / 4)
		}
		d := w.symbol(distances)
		distance := d + 1
		if extra := d/2 - 1; extra > 0 {
			distance = (2+d%2)<<extra + 1 + w.bits(extra)
		}
		w.farthest = max(w.farthest, distance)
	}
}
