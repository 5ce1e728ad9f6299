package frame

import "sync"

// A Prepared is one message, encoded once for any number of peers: an unmasked
// frame as a server sends it. It never changes, so goroutines share it freely.
// It must not be copied.
type Prepared struct {
	bytes       []byte
	headerBytes int
	opcode      Opcode

	// The compressed twin, made when it is asked for first. nil then means that
	// compression does not pay.
	deflateOnce sync.Once
	deflated    []byte
}

// Prepare encodes a message. It copies payload.
func Prepare(op Opcode, payload []byte) *Prepared {
	h := Header{Fin: true, Opcode: op, Length: int64(len(payload))}
	bytes := AppendHeader(make([]byte, 0, unmaskedHeaderBytes(len(payload))+len(payload)), h)
	headerBytes := len(bytes)
	return &Prepared{bytes: append(bytes, payload...), headerBytes: headerBytes, opcode: op}
}

// PrepareRun takes whole frames, several messages that no other may come between. They are
// never compressed. It keeps frames.
func PrepareRun(frames []byte) *Prepared {
	p := &Prepared{bytes: frames, opcode: Opcode(frames[0] & 15)}
	p.deflateOnce.Do(func() {})
	return p
}

// unmaskedHeaderBytes is the length of the header before n bytes of payload.
func unmaskedHeaderBytes(n int) int {
	switch {
	case n < 126:
		return 2
	case n < 1<<16:
		return 4
	}
	return 10
}

// Bytes is the whole frame, to be written as it is. The caller must not change it.
func (p *Prepared) Bytes() []byte { return p.bytes }

// Opcode is what was given to Prepare.
func (p *Prepared) Opcode() Opcode { return p.opcode }

// Payload is the message without the frame's header. The caller must not change it.
func (p *Prepared) Payload() []byte { return p.bytes[p.headerBytes:] }

// Compressed is the whole frame for a peer that negotiated permessage-deflate
// with windowBits (DeflateParams.ServerMaxWindowBits), to be written as it is.
// The caller must not change it. The first call compresses, and any others wait; all
// peers share the result, which refers to no earlier message. Where compression
// does not pay, and for messages larger than a window of less than 15 bits, it
// is the same as Bytes. For a peer with server context takeover, follow it with
// [Window.Add] of Payload if IsCompressed says that the frame is compressed.
func (p *Prepared) Compressed(windowBits int) []byte {
	p.deflateOnce.Do(p.deflate)
	// The twin is made with a window of 15 bits, but in a message that fits into
	// a smaller window nothing can refer further back than that.
	if p.deflated == nil || windowBits < maxWindowBits && len(p.Payload()) > 1<<windowBits {
		return p.bytes
	}
	return p.deflated
}

func (p *Prepared) deflate() {
	payload := p.Payload()
	if frame := AppendDeflatedFrame(nil, p.opcode, payload, maxWindowBits, nil); len(frame) < len(p.bytes) {
		p.deflated = frame
	}
}

// IsCompressed says whether an encoded frame has RSV1 set.
func IsCompressed(frame []byte) bool {
	return len(frame) > 0 && frame[0]&(RSV1<<4) != 0
}
