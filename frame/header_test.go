package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// unhex reads bytes written as in the RFCs.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeader(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	tests := []struct {
		name string
		wire string
		h    Header
	}{
		{"5.7 single-frame unmasked text", "81 05", Header{Fin: true, Opcode: OpText, Length: 5}},
		{"5.7 single-frame masked text", "81 85 37 fa 21 3d", Header{Fin: true, Opcode: OpText, Masked: true, Mask: key, Length: 5}},
		{"5.7 first fragment", "01 03", Header{Opcode: OpText, Length: 3}},
		{"5.7 last fragment", "80 02", Header{Fin: true, Opcode: OpContinuation, Length: 2}},
		{"5.7 ping", "89 05", Header{Fin: true, Opcode: OpPing, Length: 5}},
		{"5.7 masked pong", "8a 85 37 fa 21 3d", Header{Fin: true, Opcode: OpPong, Masked: true, Mask: key, Length: 5}},
		{"5.7 256 bytes of binary", "82 7e 01 00", Header{Fin: true, Opcode: OpBinary, Length: 256}},
		{"5.7 64 KiB of binary", "82 7f 00 00 00 00 00 01 00 00", Header{Fin: true, Opcode: OpBinary, Length: 65536}},
		{"5.2 longest 7-bit length", "82 7d", Header{Fin: true, Opcode: OpBinary, Length: 125}},
		{"5.2 shortest 16-bit length", "82 7e 00 7e", Header{Fin: true, Opcode: OpBinary, Length: 126}},
		{"5.2 longest 16-bit length", "82 7e ff ff", Header{Fin: true, Opcode: OpBinary, Length: 65535}},
		{"5.2 longest length", "82 ff 7f ff ff ff ff ff ff ff 37 fa 21 3d", Header{Fin: true, Opcode: OpBinary, Masked: true, Mask: key, Length: math.MaxInt64}},
		{"5.2 all RSV bits", "f2 00", Header{Fin: true, Rsv: RSV1 | RSV2 | RSV3, Opcode: OpBinary}},
		{"RFC 7692 7.2.3.1 compressed text", "c1 07", Header{Fin: true, Rsv: RSV1, Opcode: OpText, Length: 7}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wire := unhex(t, tt.wire)
			h, n, err := ParseHeader(append(wire[:len(wire):len(wire)], 0xff))
			if h != tt.h || n != len(wire) || err != nil {
				t.Errorf("ParseHeader(%x) = %+v, %d, %v, want %+v, %d", wire, h, n, err, tt.h, len(wire))
			}
			for i := range wire {
				if h, n, err := ParseHeader(wire[:i]); h != (Header{}) || n != 0 || err != nil {
					t.Errorf("ParseHeader(%x) = %+v, %d, %v, want a wish for more", wire[:i], h, n, err)
				}
			}
			if got := AppendHeader([]byte("x"), tt.h); string(got) != "x"+string(wire) {
				t.Errorf("AppendHeader(%+v) = %x, want %x", tt.h, got[1:], wire)
			}
		})
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	tests := []struct {
		name string
		wire string
		err  error
	}{
		{"16 bits for 0", "82 7e 00 00", errLengthNotMinimal},
		{"16 bits for 125", "82 7e 00 7d", errLengthNotMinimal},
		{"16 bits for 125, masked, before the key has come", "82 fe 00 7d", errLengthNotMinimal},
		{"64 bits for 125", "82 7f 00 00 00 00 00 00 00 7d", errLengthNotMinimal},
		{"64 bits for 65535", "82 7f 00 00 00 00 00 00 ff ff", errLengthNotMinimal},
		{"highest bit", "82 7f 80 00 00 00 00 01 00 00", errLengthOverflow},
		{"all bits", "82 ff ff ff ff ff ff ff ff ff", errLengthOverflow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, n, err := ParseHeader(unhex(t, tt.wire))
			if !errors.Is(err, tt.err) || n != 0 {
				t.Errorf("ParseHeader(%s) = %d, %v, want %v", tt.wire, n, err, tt.err)
			}
		})
	}
}

func TestAppendHeaderPanicsOnNegativeLength(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	AppendHeader(nil, Header{Length: -1})
}

// FuzzParseHeader compares with gobwas/ws. The oracle is laxer in one thing: it
// takes lengths that are not in their shortest form.
func FuzzParseHeader(f *testing.F) {
	for _, s := range []string{"8105", "818537fa213d", "827e0100", "827e0001", "827f0000000000010000", "82ff8000000000010000", "f2", ""} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := ParseHeader(p)
		r := bytes.NewReader(p)
		oh, oerr := ws.ReadHeader(r)
		on := len(p) - r.Len()
		switch {
		case errors.Is(oerr, ws.ErrHeaderLengthMSB):
			if err == nil {
				t.Fatalf("ParseHeader(%x) takes what the oracle refuses", p)
			}
		case oerr != nil: // too short; the verdict on the length may come before the key
			if n != 0 {
				t.Fatalf("ParseHeader(%x) = %+v, %d where the oracle says %v", p, h, n, oerr)
			}
		case ws.HeaderSize(oh) != on:
			if !errors.Is(err, errLengthNotMinimal) {
				t.Fatalf("ParseHeader(%x) = %v, want %v", p, err, errLengthNotMinimal)
			}
		default:
			want := Header{oh.Fin, oh.Rsv, Opcode(oh.OpCode), oh.Masked, oh.Mask, oh.Length}
			if h != want || n != on || err != nil {
				t.Fatalf("ParseHeader(%x) = %+v, %d, %v, want %+v, %d", p, h, n, err, want, on)
			}
			if again := AppendHeader(nil, h); !bytes.Equal(again, p[:n]) {
				t.Fatalf("AppendHeader(ParseHeader(%x)) = %x", p[:n], again)
			}
		}
	})
}

func TestOpcode(t *testing.T) {
	names := []string{
		0: "continuation", 1: "text", 2: "binary", 3: "reserved", 4: "reserved", 5: "reserved", 6: "reserved", 7: "reserved",
		8: "close", 9: "ping", 10: "pong", 11: "reserved", 12: "reserved", 13: "reserved", 14: "reserved", 15: "reserved",
	}
	for i, want := range names {
		op, oracle := Opcode(i), ws.OpCode(i)
		if op.String() != want {
			t.Errorf("Opcode(%d).String() = %q, want %q", i, op, want)
		}
		if op.IsControl() != oracle.IsControl() || op.IsData() != oracle.IsData() || op.isReserved() != oracle.IsReserved() {
			t.Errorf("Opcode(%d): control %v, data %v, reserved %v: the oracle differs", i, op.IsControl(), op.IsData(), op.isReserved())
		}
	}
}

// RFC 6455, section 5.7, from the sender's side.
func TestAppendFrame(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"unmasked text", AppendFrame(nil, OpText, []byte("Hello")), "81 05 48 65 6c 6c 6f"},
		{"masked text", AppendMaskedFrame(nil, OpText, key, []byte("Hello")), "81 85 37 fa 21 3d 7f 9f 4d 51 58"},
		{"ping", AppendFrame(nil, OpPing, []byte("Hello")), "89 05 48 65 6c 6c 6f"},
		{"masked pong", AppendMaskedFrame(nil, OpPong, key, []byte("Hello")), "8a 85 37 fa 21 3d 7f 9f 4d 51 58"},
		{"empty", AppendFrame(nil, OpBinary, nil), "82 00"},
	}
	for _, tt := range tests {
		if want := unhex(t, tt.want); !bytes.Equal(tt.got, want) {
			t.Errorf("%s = %x, want %x", tt.name, tt.got, want)
		}
	}
	payload := []byte("Hello")
	AppendMaskedFrame(nil, OpText, key, payload)
	if string(payload) != "Hello" {
		t.Errorf("AppendMaskedFrame left the payload as %q", payload)
	}
}

func TestMaskInPieces(t *testing.T) {
	key := [4]byte{1, 2, 3, 4}
	for size := range 70 {
		for cut := 0; cut <= size; cut++ {
			p := make([]byte, size)
			Mask(p[:cut], key, 0)
			Mask(p[cut:], key, cut)
			for i, got := range p {
				if got != key[i%4] {
					t.Fatalf("%d bytes cut at %d: byte %d = %d, want %d", size, cut, i, got, key[i%4])
				}
			}
		}
	}
}
