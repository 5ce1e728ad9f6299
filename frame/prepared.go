package frame

// A Prepared is one message, encoded once for any number of peers: an unmasked
// frame as a server sends it. It never changes, so goroutines share it freely.
type Prepared struct {
	bytes       []byte
	headerBytes int
	opcode      Opcode
}

// Prepare encodes a message. It copies payload.
func Prepare(op Opcode, payload []byte) *Prepared {
	h := Header{Fin: true, Opcode: op, Length: int64(len(payload))}
	bytes := AppendHeader(make([]byte, 0, unmaskedHeaderBytes(len(payload))+len(payload)), h)
	headerBytes := len(bytes)
	return &Prepared{bytes: append(bytes, payload...), headerBytes: headerBytes, opcode: op}
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

// Bytes is the whole frame, to be written as it is. Nobody may change it.
func (p *Prepared) Bytes() []byte { return p.bytes }

// Opcode is what was given to Prepare.
func (p *Prepared) Opcode() Opcode { return p.opcode }

// Payload is the message without the frame's header. Nobody may change it.
func (p *Prepared) Payload() []byte { return p.bytes[p.headerBytes:] }
