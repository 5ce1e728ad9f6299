package frame

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// event is a copy of a Message.
type event struct {
	op         Opcode
	payload    string
	compressed bool
}

func (e event) String() string {
	s := fmt.Sprintf("%v(%q)", e.op, e.payload)
	if e.compressed {
		s += " compressed"
	}
	return s
}

// decode gives a new decoder a copy of stream, cut at the given places, and
// returns what came out of it.
func decode(t testing.TB, cfg *DecoderConfig, stream []byte, cuts ...int) ([]event, *Decoder, error) {
	t.Helper()
	d := new(Decoder)
	d.Reset(cfg)
	events, err := feed(t, d, stream, cuts...)
	return events, d, err
}

// feed does the same with a decoder that may already hold something.
func feed(t testing.TB, d *Decoder, stream []byte, cuts ...int) (events []event, err error) {
	t.Helper()
	stream = bytes.Clone(stream)
	from := 0
	for _, to := range append(cuts, len(stream)) {
		p := stream[from:to:to]
		from = to
		for len(p) > 0 {
			m, n, err := d.Next(p)
			if err != nil {
				var verdict *ProtocolError
				if !errors.As(err, &verdict) || verdict.Code == 0 || verdict.Reason == "" || len(verdict.Reason) > maxReasonBytes {
					t.Fatalf("Next failed with %#v", err)
				}
				return events, err
			}
			if m.Opcode == 0 && (n != len(p) || m.Payload != nil) {
				t.Fatalf("Next without a message took %d of %d bytes, payload %x", n, len(p), m.Payload)
			}
			if n <= 0 || n > len(p) {
				t.Fatalf("Next took %d of %d bytes", n, len(p))
			}
			p = p[n:]
			if m.Opcode != 0 {
				events = append(events, event{m.Opcode, string(m.Payload), m.Compressed})
			}
			if d.Idle() != (d.HeldBytes() == 0 && d.op == 0 && !d.inFrame) {
				t.Fatalf("Idle() = %v with %d bytes held", d.Idle(), d.HeldBytes())
			}
		}
	}
	return events, nil
}

func everyByte(stream []byte) (cuts []int) {
	for i := 1; i < len(stream); i++ {
		cuts = append(cuts, i)
	}
	return cuts
}

func wantEvents(t *testing.T, got, want []event) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("messages are\n%v, want\n%v", got, want)
	}
}

var (
	fromClient = &DecoderConfig{ExpectMasked: true}
	fromServer = &DecoderConfig{}
)

func TestDecoderExamples(t *testing.T) {
	k256 := strings.Repeat("x", 256)
	k64 := strings.Repeat("y", 65536)
	tests := []struct {
		name string
		cfg  *DecoderConfig
		wire string // hex
		tail string
		want []event
	}{
		{"5.7 single-frame unmasked text message", fromServer, "81 05 48 65 6c 6c 6f", "", []event{{op: OpText, payload: "Hello"}}},
		{"5.7 single-frame masked text message", fromClient, "81 85 37 fa 21 3d 7f 9f 4d 51 58", "", []event{{op: OpText, payload: "Hello"}}},
		{"5.7 fragmented unmasked text message", fromServer, "01 03 48 65 6c 80 02 6c 6f", "", []event{{op: OpText, payload: "Hello"}}},
		{"5.7 unmasked ping request", fromServer, "89 05 48 65 6c 6c 6f", "", []event{{op: OpPing, payload: "Hello"}}},
		{"5.7 masked ping response", fromClient, "8a 85 37 fa 21 3d 7f 9f 4d 51 58", "", []event{{op: OpPong, payload: "Hello"}}},
		{"5.7 256 bytes binary message in a single unmasked frame", fromServer, "82 7e 01 00", k256, []event{{op: OpBinary, payload: k256}}},
		{"5.7 64 KiB binary message in a single unmasked frame", fromServer, "82 7f 00 00 00 00 00 01 00 00", k64, []event{{op: OpBinary, payload: k64}}},
		{"5.4 control frame between fragments", fromServer, "01 03 48 65 6c 89 01 21 00 00 8a 00 80 02 6c 6f", "", []event{{op: OpPing, payload: "!"}, {op: OpPong}, {op: OpText, payload: "Hello"}}},
		{"5.4 a character over two fragments", fromServer, "01 02 e2 82 80 01 ac", "", []event{{op: OpText, payload: "\u20ac"}}},
		{"5.4 all fragments empty", fromServer, "02 00 00 00 80 00", "", []event{{op: OpBinary}}},
		{"5.4 only the last fragment has bytes", fromServer, "01 00 00 00 80 02 68 69", "", []event{{op: OpText, payload: "hi"}}},
		{"5.4 only the first fragment has bytes", fromServer, "01 02 68 69 80 00", "", []event{{op: OpText, payload: "hi"}}},
		{"5.5.1 close with code and reason", fromServer, "88 05 03 e8 62 79 65", "", []event{{op: OpClose, payload: "\x03\xe8bye"}}},
		{"5.5.2 empty masked ping", fromClient, "89 80 01 02 03 04", "", []event{{op: OpPing}}},
		{"5.6 empty text", fromClient, "81 80 01 02 03 04", "", []event{{op: OpText}}},
		{"several frames", fromServer, "81 01 61 82 01 62 89 00 81 01 63", "", []event{{op: OpText, payload: "a"}, {op: OpBinary, payload: "b"}, {op: OpPing}, {op: OpText, payload: "c"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream := append(unhex(t, tt.wire), tt.tail...)
			cfg := *tt.cfg
			cfg.MaxMessageBytes = 1 << 20
			for _, cuts := range [][]int{nil, everyByte(stream)} {
				got, d, err := decode(t, &cfg, stream, cuts...)
				if err != nil {
					t.Fatal(err)
				}
				wantEvents(t, got, tt.want)
				if !d.Idle() || d.HeldBytes() != 0 {
					t.Errorf("Idle() = %v, HeldBytes() = %d after whole messages", d.Idle(), d.HeldBytes())
				}
			}
		})
	}
}

func TestDecoderRefuses(t *testing.T) {
	limited := &DecoderConfig{MaxMessageBytes: 10, MaxFragments: 3}
	tests := []struct {
		name   string
		cfg    *DecoderConfig
		wire   string
		before []event
		code   CloseCode
		reason string
	}{
		{"5.1 frame from a client without a mask", fromClient, "81 00", nil, CloseProtocolError, errMaskMissing.Reason},
		{"5.1 frame from a server with a mask", fromServer, "81 80", nil, CloseProtocolError, errMaskUnexpected.Reason},
		{"5.2 RSV1", fromServer, "c1 00", nil, CloseProtocolError, errRSVBits.Reason},
		{"5.2 RSV2", fromServer, "a1 00", nil, CloseProtocolError, errRSVBits.Reason},
		{"5.2 RSV3 on a control frame", fromServer, "99 00", nil, CloseProtocolError, errRSVBits.Reason},
		{"RFC 7692 6 RSV2 is not RSV1", &DecoderConfig{AllowRSV1: true}, "e1 00", nil, CloseProtocolError, errRSVBits.Reason},
		{"RFC 7692 6.1 RSV1 on a control frame", &DecoderConfig{AllowRSV1: true}, "c9 00", nil, CloseProtocolError, errRSV1NotFirst.Reason},
		{"RFC 7692 6.1 RSV1 on a continuation", &DecoderConfig{AllowRSV1: true}, "41 00 c0 00", nil, CloseProtocolError, errRSV1NotFirst.Reason},
		{"5.2 reserved data opcode", fromServer, "83 00", nil, CloseProtocolError, errOpcodeReserved.Reason},
		{"5.2 reserved control opcode", fromServer, "8b 00", nil, CloseProtocolError, errOpcodeReserved.Reason},
		{"5.2 length not minimal, 16 bits", fromServer, "81 7e 00 7d", nil, CloseProtocolError, errLengthNotMinimal.Reason},
		{"5.2 length not minimal, 64 bits", fromServer, "81 7f 00 00 00 00 00 00 ff ff", nil, CloseProtocolError, errLengthNotMinimal.Reason},
		{"5.2 length of 64 bits", fromServer, "81 7f 80 00 00 00 00 00 00 00", nil, CloseProtocolError, errLengthOverflow.Reason},
		{"5.4 continuation of nothing", fromServer, "80 00", nil, CloseProtocolError, errNothingToGoOn.Reason},
		{"5.4 continuation after a whole message", fromServer, "81 01 61 80 00", []event{{op: OpText, payload: "a"}}, CloseProtocolError, errNothingToGoOn.Reason},
		{"5.4 new message inside a message", fromServer, "01 01 61 81 01 62", nil, CloseProtocolError, errMessageOpen.Reason},
		{"5.4 new message inside a message, behind a ping", fromServer, "01 01 61 89 00 02 00", []event{{op: OpPing}}, CloseProtocolError, errMessageOpen.Reason},
		{"5.5 fragmented ping", fromServer, "09 00", nil, CloseProtocolError, errControlFragment.Reason},
		{"5.5 ping of 126 bytes", fromServer, "89 7e", nil, CloseProtocolError, errControlTooLong.Reason},
		{"5.5 close of 64 KiB", fromServer, "88 7f", nil, CloseProtocolError, errControlTooLong.Reason},
		{"8.1 text is not UTF-8", fromServer, "81 02 61 ff", nil, CloseInvalidPayload, errTextUTF8.Reason},
		{"8.1 text ends in a character", fromServer, "81 02 e2 82", nil, CloseInvalidPayload, errTextUTF8.Reason},
		{"8.1 fragmented text ends in a character", fromServer, "01 01 e2 80 01 82", nil, CloseInvalidPayload, errTextUTF8.Reason},
		{"8.1 fragmented text ends in a character, last fragment empty", fromServer, "01 01 e2 80 00", nil, CloseInvalidPayload, errTextUTF8.Reason},
		{"8.1 surrogate", fromServer, "81 05 ed a0", nil, CloseInvalidPayload, errTextUTF8.Reason},
		{"8.1 in the middle of a frame", fromServer, "81 7e 10 00 61 62 ff", nil, CloseInvalidPayload, errTextUTF8.Reason},
		{"8.1 in the middle of a message", fromServer, "01 01 e2 00 05 28", nil, CloseInvalidPayload, errTextUTF8.Reason},
		{"10.4 message over the limit", limited, "82 0b", nil, CloseMessageTooBig, "message is longer than 10 bytes"},
		{"10.4 message far over the limit", limited, "82 7f 7f ff ff ff ff ff ff ff", nil, CloseMessageTooBig, "message is longer than 10 bytes"},
		{"10.4 fragments over the limit", limited, "02 06 01 02 03 04 05 06 00 05", nil, CloseMessageTooBig, "message is longer than 10 bytes"},
		{"10.4 sum of fragments overflows", limited, "02 06 01 02 03 04 05 06 80 7f 7f ff ff ff ff ff ff ff", nil, CloseMessageTooBig, "message is longer than 10 bytes"},
		{"10.4 too many fragments", limited, "02 00 00 00 00 00 80 00", nil, ClosePolicyViolation, "message has more than 3 fragments"},
		{"10.4 default size", fromServer, "82 7f 00 00 00 00 00 01 00 01", nil, CloseMessageTooBig, "message is longer than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream := unhex(t, tt.wire)
			for _, cuts := range [][]int{nil, everyByte(stream)} {
				got, d, err := decode(t, tt.cfg, stream, cuts...)
				wantEvents(t, got, tt.before)
				var verdict *ProtocolError
				if !errors.As(err, &verdict) || verdict.Code != tt.code || verdict.Reason != tt.reason {
					t.Fatalf("Next failed with %v, want %v: %s", err, tt.code, tt.reason)
				}
				if !d.Idle() || d.HeldBytes() != 0 || d.buf != nil {
					t.Errorf("after the error %d bytes are held", d.HeldBytes())
				}
				if _, n, again := d.Next([]byte{0x89, 0}); again != err || n != 0 {
					t.Errorf("Next after the error = %d, %v", n, again)
				}
				d.Reset(fromServer)
				got, err = feed(t, d, unhex(t, "81 02 68 69"))
				if err != nil {
					t.Fatalf("after Reset: %v", err)
				}
				wantEvents(t, got, []event{{op: OpText, payload: "hi"}})
			}
		})
	}
}

func TestDecoderAtTheLimits(t *testing.T) {
	cfg := &DecoderConfig{MaxMessageBytes: 10, MaxFragments: 3}
	got, _, err := decode(t, cfg, unhex(t, "01 03 61 61 61 00 03 62 62 62 80 04 63 63 63 63 82 0a 30 31 32 33 34 35 36 37 38 39"))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, []event{{op: OpText, payload: "aaabbbcccc"}, {op: OpBinary, payload: "0123456789"}})
}

// TestDecoderFailsFast: the verdict comes with the byte that deserves it, not
// with the end of the frame or header.
func TestDecoderFailsFast(t *testing.T) {
	for _, wire := range []string{"83 00", "81 7e 00 7d", "81 05 61 ff", "01 01 e2 00 05 28", "82 7f 80 00 00 00 00 00 00 00"} {
		stream := unhex(t, wire)
		if _, _, err := decode(t, fromServer, stream[:len(stream)-1]); err != nil {
			t.Errorf("%s: too early: %v", wire, err)
		}
		if _, _, err := decode(t, fromServer, stream); err == nil {
			t.Errorf("%s: too late", wire)
		}
	}
}

// TestDecoderHolds says what a decoder may hold, and for how long.
func TestDecoderHolds(t *testing.T) {
	d := new(Decoder)
	d.Reset(&DecoderConfig{ExpectMasked: true, MaxMessageBytes: 1 << 40})
	step := func(p []byte, wantIdle bool, wantHeldMax int) {
		t.Helper()
		if _, err := feed(t, d, p); err != nil {
			t.Fatal(err)
		}
		if d.Idle() != wantIdle || d.HeldBytes() > wantHeldMax || (d.HeldBytes() == 0) != wantIdle {
			t.Fatalf("Idle() = %v, HeldBytes() = %d, want %v, at most %d", d.Idle(), d.HeldBytes(), wantIdle, wantHeldMax)
		}
	}
	header := AppendHeader(nil, Header{Fin: true, Opcode: OpBinary, Masked: true, Mask: testKey, Length: 1 << 40})
	step(header[:9], false, 9)
	if _, err := feed(t, d, header[9:]); err != nil || d.Idle() || d.HeldBytes() != 0 {
		t.Fatalf("a header that declares 1 TiB: %d bytes held, %v", d.HeldBytes(), err)
	}
	step(make([]byte, 100), false, 1<<minBufferBits)
	step(make([]byte, 1<<minBufferBits), false, 4<<minBufferBits)
	d.Reset(fromClient)
	step(nil, true, 0)

	ping := AppendMaskedFrame(nil, OpPing, testKey, []byte("ping"))
	step(ping[:7], false, 1)
	step(ping[7:], true, 0)
	text := AppendMaskedFrame(nil, OpText, testKey, []byte("text"))
	step(text[:9], false, 1<<minBufferBits)
	step(text[9:], true, 0)
}

func TestDecoderUnmasksInPlace(t *testing.T) {
	d := new(Decoder)
	d.Reset(fromClient)
	p := AppendMaskedFrame(nil, OpText, testKey, []byte("in place"))
	m, n, err := d.Next(p)
	if err != nil || n != len(p) || string(m.Payload) != "in place" {
		t.Fatalf("Next = %q, %d, %v", m.Payload, n, err)
	}
	if &m.Payload[0] != &p[6] || cap(m.Payload) != len(m.Payload) {
		t.Error("the payload is not a part of the input, or reaches beyond its frame")
	}
}

// TestDecoderPayloadLasts: what Next returned from its own buffer is not
// overwritten by what another decoder, or this one, holds next.
func TestDecoderPayloadLasts(t *testing.T) {
	d := new(Decoder)
	d.Reset(fromServer)
	if _, err := feed(t, d, unhex(t, "01 03 48 65 6c")); err != nil {
		t.Fatal(err)
	}
	m, n, err := d.Next(unhex(t, "80 02 6c 6f 81 05 77"))
	if err != nil || n != 4 || string(m.Payload) != "Hello" || !d.Idle() {
		t.Fatalf("Next = %q, %d, %v, Idle() = %v", m.Payload, n, err, d.Idle())
	}
	other := new(Decoder)
	other.Reset(fromServer)
	for _, d := range []*Decoder{other, d} {
		if string(m.Payload) != "Hello" {
			t.Fatalf("the payload became %q", m.Payload)
		}
		if _, _, err := d.Next(unhex(t, "81 05 77 77 77")); err != nil {
			t.Fatal(err)
		}
	}
	if d.lent != nil || d.Idle() {
		t.Error("Next kept the buffer that it had lent")
	}
}

func TestDecoderNextOfNothing(t *testing.T) {
	d := new(Decoder)
	d.Reset(fromServer)
	for _, p := range [][]byte{nil, {0x81}, nil, {0x01}, nil, {'a'}} {
		m, n, err := d.Next(p)
		if len(p) == 0 && (m.Opcode != 0 || n != 0 || err != nil) {
			t.Fatalf("Next(nil) = %v, %d, %v", m, n, err)
		}
	}
	if !d.Idle() {
		t.Error("the message did not end")
	}
}

// TestDecoderLargeMessages: 16 MiB in one frame or in 262,144, in reads of
// 64 KiB, with no more than twice that held.
func TestDecoderLargeMessages(t *testing.T) {
	const size = 16 << 20
	payload := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	for _, fragmentBytes := range []int{size, 64 << 10, 64} {
		t.Run(fmt.Sprint(fragmentBytes), func(t *testing.T) {
			var stream []byte
			for at := 0; at < size; at += fragmentBytes {
				h := Header{Opcode: OpContinuation, Masked: true, Mask: testKey, Length: int64(fragmentBytes), Fin: at+fragmentBytes == size}
				if at == 0 {
					h.Opcode = OpText
				}
				stream = AppendHeader(stream, h)
				start := len(stream)
				stream = append(stream, payload[at:at+fragmentBytes]...)
				Mask(stream[start:], testKey, 0)
			}
			d := new(Decoder)
			d.Reset(&DecoderConfig{ExpectMasked: true, MaxMessageBytes: size, MaxFragments: size / fragmentBytes})
			for len(stream) > 0 {
				p := stream[:min(64<<10, len(stream))]
				stream = stream[len(p):]
				m, n, err := d.Next(p)
				if err != nil || n != len(p) {
					t.Fatalf("Next = %d of %d, %v", n, len(p), err)
				}
				if d.HeldBytes() > 2*size {
					t.Fatalf("%d bytes held for a message of %d", d.HeldBytes(), size)
				}
				if (m.Opcode != 0) != (len(stream) == 0) {
					t.Fatalf("a %v message with %d bytes left", m.Opcode, len(stream))
				}
				if m.Opcode != 0 && !bytes.Equal(m.Payload, payload) {
					t.Fatal("the message differs")
				}
			}
		})
	}
}
