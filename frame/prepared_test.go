package frame

import (
	"bytes"
	"testing"
)

func TestPrepared(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("p"), size)
		p := Prepare(OpBinary, payload)
		if want := AppendFrame(nil, OpBinary, payload); !bytes.Equal(p.Bytes(), want) {
			t.Errorf("Prepare of %d bytes = %.20x, want %.20x", size, p.Bytes(), want)
		}
		if p.Opcode() != OpBinary || !bytes.Equal(p.Payload(), payload) {
			t.Errorf("Prepare of %d bytes: opcode %v, payload of %d bytes", size, p.Opcode(), len(p.Payload()))
		}
		if cap(p.Bytes()) > len(p.Bytes())+len(p.Bytes())/4+16 {
			t.Errorf("Prepare of %d bytes keeps %d", size, cap(p.Bytes()))
		}
		if size > 0 {
			payload[0] = 'x'
			if p.Payload()[0] != 'p' {
				t.Error("Prepare did not copy")
			}
		}
	}
}
