package frame

import (
	"encoding/binary"
	"math"
)

// Opcode says what a frame is (RFC 6455, section 5.2). Four bits on the wire.
type Opcode byte

// The opcodes that RFC 6455 defines; all others are reserved.
const (
	// OpContinuation goes on with a fragmented message.
	OpContinuation Opcode = 0
	// OpText starts a message of UTF-8 text.
	OpText Opcode = 1
	// OpBinary starts a message of any bytes.
	OpBinary Opcode = 2
	// OpClose is either half of the closing handshake.
	OpClose Opcode = 8
	// OpPing asks for a pong with the same payload.
	OpPing Opcode = 9
	// OpPong is the reply to a ping, or a heartbeat without one.
	OpPong Opcode = 10
)

// IsControl reports whether op is close, ping, pong or a reserved control opcode:
// their highest bit is set (section 5.5).
func (op Opcode) IsControl() bool { return op&8 != 0 }

// IsData reports whether op is text, binary, continuation or a reserved data
// opcode.
func (op Opcode) IsData() bool { return op&8 == 0 }

// isReserved: "%x3-7 are reserved for further non-control frames, %xB-F are
// reserved for further control frames".
func (op Opcode) isReserved() bool { return op&7 > 2 || op > OpPong }

// String is the opcode's name in RFC 6455.
func (op Opcode) String() string {
	switch op {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return "reserved"
}

// The bits of Header.Rsv.
const (
	// RSV1 marks the first frame of a compressed message (RFC 7692).
	RSV1 = 4
	// RSV2 and RSV3 have no meaning yet.
	RSV2 = 2
	RSV3 = 1
)

// MaxHeaderBytes is the longest header: two bytes, 64 bits of length, a key.
const MaxHeaderBytes = 14

// maxControlBytes: "All control frames MUST have a payload length of 125 bytes
// or less" (section 5.5).
const maxControlBytes = 125

// A Header is everything in front of a frame's payload.
type Header struct {
	// Fin marks the last fragment of a message.
	Fin bool
	// Rsv holds RSV1, RSV2 and RSV3.
	Rsv byte
	// Opcode says what the frame is.
	Opcode Opcode
	// Masked says that Mask applies. Clients mask, servers do not.
	Masked bool
	// Mask is the key, if Masked.
	Mask [4]byte
	// Length is the payload's length in bytes, never negative.
	Length int64
}

// ParseHeader reads a header from the start of p and returns its length n in
// bytes. n == 0 without an error means that p is too short. It refuses, as
// soon as the bytes are there, lengths that do not use the fewest bytes or that
// have the highest bit set; whether the rest makes sense depends on the
// connection and is the Decoder's business. The error is a [*ProtocolError].
func ParseHeader(p []byte) (h Header, n int, err error) {
	if len(p) < 2 {
		return Header{}, 0, nil
	}
	n = 2
	length := int64(p[1] & 0x7f)
	// Section 5.2: "in all cases, the minimal number of bytes MUST be used to
	// encode the length".
	switch length {
	case 126:
		n = 4
		if len(p) < n {
			return Header{}, 0, nil
		}
		length = int64(binary.BigEndian.Uint16(p[2:]))
		if length < 126 {
			return Header{}, 0, errLengthNotMinimal
		}
	case 127:
		n = 10
		if len(p) < n {
			return Header{}, 0, nil
		}
		u := binary.BigEndian.Uint64(p[2:])
		if u > math.MaxInt64 {
			return Header{}, 0, errLengthOverflow
		}
		if u <= math.MaxUint16 {
			return Header{}, 0, errLengthNotMinimal
		}
		length = int64(u)
	}
	if p[1]&0x80 != 0 {
		if len(p) < n+4 {
			return Header{}, 0, nil
		}
		h.Masked = true
		h.Mask = [4]byte(p[n:])
		n += 4
	}
	h.Fin = p[0]&0x80 != 0
	h.Rsv = p[0] >> 4 & 7
	h.Opcode = Opcode(p[0] & 0x0f)
	h.Length = length
	return h, n, nil
}

// AppendHeader appends h's encoding to dst, with the shortest form of the
// length. A negative length is a mistake of the caller and panics.
func AppendHeader(dst []byte, h Header) []byte {
	b0 := h.Rsv&7<<4 | byte(h.Opcode)&0x0f
	if h.Fin {
		b0 |= 0x80
	}
	var b1 byte
	if h.Masked {
		b1 = 0x80
	}
	switch {
	case h.Length < 0:
		panic("frame: AppendHeader: negative length")
	case h.Length < 126:
		dst = append(dst, b0, b1|byte(h.Length))
	case h.Length <= math.MaxUint16:
		dst = append(dst, b0, b1|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(h.Length))
	default:
		dst = append(dst, b0, b1|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(h.Length))
	}
	if h.Masked {
		dst = append(dst, h.Mask[:]...)
	}
	return dst
}

// AppendFrame appends a whole, unmasked frame: what a server sends. It copies
// payload. The caller keeps control payloads to 125 bytes.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return appendPayload(dst, Header{Fin: true, Opcode: op}, payload)
}

// AppendMaskedFrame appends a whole frame masked with key: what a client sends.
// It copies payload and leaves the original as it is. The key must be
// unpredictable where the payload comes from code that the client does not
// trust (section 5.3).
func AppendMaskedFrame(dst []byte, op Opcode, key [4]byte, payload []byte) []byte {
	return appendPayload(dst, Header{Fin: true, Opcode: op, Masked: true, Mask: key}, payload)
}

// appendPayload appends h, with payload's length, and payload, masked if h says
// so.
func appendPayload(dst []byte, h Header, payload []byte) []byte {
	h.Length = int64(len(payload))
	dst = AppendHeader(dst, h)
	start := len(dst)
	dst = append(dst, payload...)
	if h.Masked {
		Mask(dst[start:], h.Mask, 0)
	}
	return dst
}
