package frame

import (
	"fmt"
	"unicode/utf8"
)

// Defaults of DecoderConfig.
const (
	DefaultMaxMessageBytes = 64 << 10
	DefaultMaxFragments    = 1024
)

// DecoderConfig says what a peer may send. It is shared by any number of
// decoders and must not change while they use it.
type DecoderConfig struct {
	// ExpectMasked is true where the peer is a client. Frames of the wrong kind
	// are CloseProtocolError (RFC 6455, section 5.1).
	ExpectMasked bool
	// MaxMessageBytes bounds a message's payload, summed over its fragments; a
	// header that declares more ends the connection with CloseMessageTooBig
	// before a byte of it is held. If zero, 64 KiB. A peer that leaves a message
	// unfinished costs up to twice this.
	MaxMessageBytes int64
	// MaxFragments bounds the frames of one message, empty ones included. One
	// more ends the connection with ClosePolicyViolation: it is not the size
	// that is wrong (CloseMessageTooBig would tell the peer to send less), and
	// RFC 6455 has no code of its own for it. If zero, 1,024.
	MaxFragments int
	// AllowRSV1 says that permessage-deflate was negotiated: compressed messages
	// are taken, and inflated. A connection whose peer keeps its compression
	// context from message to message needs SetWindow too.
	AllowRSV1 bool
	// MaxInflatedBytes bounds what a compressed message may become; more ends
	// the connection with CloseMessageTooBig. Its compressed form may have as many
	// bytes as MaxMessageBytes can become in any compressor that does not waste
	// (an eighth more), since DEFLATE makes random bytes longer. If zero,
	// MaxMessageBytes.
	MaxInflatedBytes int64
}

func (c *DecoderConfig) maxMessageBytes() int64 {
	if c.MaxMessageBytes == 0 {
		return DefaultMaxMessageBytes
	}
	return c.MaxMessageBytes
}

// maxDeclaredBytes bounds the payload of a message's frames together.
func (c *DecoderConfig) maxDeclaredBytes(compressed bool) int64 {
	limit := c.maxMessageBytes()
	if !compressed {
		return limit
	}
	return deflatedMaxBytes(limit)
}

func (c *DecoderConfig) maxInflatedBytes() int64 {
	if c.MaxInflatedBytes == 0 {
		return c.maxMessageBytes()
	}
	return c.MaxInflatedBytes
}

func (c *DecoderConfig) maxFragments() int {
	if c.MaxFragments == 0 {
		return DefaultMaxFragments
	}
	return c.MaxFragments
}

// A Message is a whole data message, or one control frame.
type Message struct {
	// Opcode is OpText, OpBinary, OpClose, OpPing or OpPong; 0 for no message.
	Opcode Opcode
	// Payload is unmasked and inflated. Text has been checked to be UTF-8, a close frame's
	// payload has not: see ParseClose.
	Payload []byte
	// Compressed says that the peer sent the message compressed.
	Compressed bool
}

// A Decoder turns bytes, cut in any way, into messages. It serves one
// connection at a time and one goroutine at a time. A loop can use one decoder
// as scratch for all its connections, with a Reset between two of them: only
// while a decoder is not Idle does it hold anything of a connection, and must
// then stay with it.
//
// The zero Decoder must be Reset before use.
type Decoder struct {
	cfg    *DecoderConfig
	window *Window // see SetWindow
	err    error   // what Next failed with; stays until Reset

	// The data message in progress; op is 0 between messages.
	op         Opcode
	compressed bool
	fragments  int     // frames begun
	declared   int64   // payload bytes declared by the headers so far
	buf        *buffer // payload seen so far, unmasked; nil while there is none
	checked    int     // leading bytes of buf that are known to be UTF-8

	// The frame in progress, while inFrame.
	frame     Header
	inFrame   bool
	remaining int64 // payload bytes not seen yet

	// lent holds the payload of the message that Next returned last.
	lent *buffer

	// A header, or a control frame's payload, of which only a part has come.
	// Control frames cannot use buf: they come between fragments.
	heldHeaderBytes  int
	heldHeader       [MaxHeaderBytes]byte
	heldControlBytes int
	heldControl      [maxControlBytes]byte
}

// Reset makes the decoder ready for a new connection, with cfg, which it keeps.
// What it held is dropped, and its buffers go back to their pool: the payload
// returned last is no longer valid.
func (d *Decoder) Reset(cfg *DecoderConfig) {
	d.drop()
	d.cfg = cfg
	d.window = nil
	d.err = nil
}

// SetWindow gives the decoder the peer's compression context, which stays the
// connection's: to be called after each Reset for a connection whose peer was
// allowed context takeover.
func (d *Decoder) SetWindow(w *Window) { d.window = w }

// drop forgets everything held.
func (d *Decoder) drop() {
	d.dropLent()
	d.buf.free()
	d.buf = nil
	d.op = 0
	d.inFrame = false
	d.heldHeaderBytes = 0
	d.heldControlBytes = 0
}

func (d *Decoder) dropLent() {
	if d.lent != nil {
		d.lent.free()
		d.lent = nil
	}
}

// Idle says that the decoder is between two messages and holds nothing of the
// connection: another one may use it after a Reset. It is true after an error
// too; Next then goes on failing until the Reset. The payload returned last may
// still be the decoder's: it is valid until the next Next or Reset all the same.
func (d *Decoder) Idle() bool {
	return d.op == 0 && !d.inFrame && d.heldHeaderBytes == 0
}

// HeldBytes is the size of the memory that incomplete input occupies, 0 if the
// decoder is Idle. The Decoder itself is not counted.
func (d *Decoder) HeldBytes() int {
	n := d.heldHeaderBytes + d.heldControlBytes
	if d.buf != nil {
		n += cap(d.buf.b)
	}
	return n
}

// Next decodes from p up to the end of the next message or control frame and
// returns how many bytes it took. If m.Opcode is 0 and err nil, all of p was
// taken and no message is complete yet. Control frames come as they arrive, also
// between the fragments of a message.
//
// m.Payload is a part of p, unmasked in place, if the message is one frame that
// lies whole in p and is not compressed; otherwise it is the decoder's. Either way it is valid until
// the next Next or Reset, and the caller may change it.
//
// An error is a [*ProtocolError]. It is final: everything held is freed, and
// Next returns the same until Reset. What the peer sends after a close frame is
// decoded like anything else; to ignore it (RFC 6455, section 5.5.1) is the
// caller's part.
func (d *Decoder) Next(p []byte) (m Message, n int, err error) {
	d.dropLent()
	if d.err != nil {
		return Message{}, 0, d.err
	}
	for {
		if !d.inFrame {
			used, err := d.readHeader(p[n:])
			n += used
			if err != nil {
				return Message{}, n, d.fail(err)
			}
			if !d.inFrame {
				return Message{}, n, nil
			}
		}
		m, used, err := d.readPayload(p[n:])
		n += used
		if err != nil {
			return Message{}, n, d.fail(err)
		}
		// Without a message, either p is used up in the middle of the frame, or
		// a fragment has ended and the next header follows.
		if m.Opcode != 0 || d.inFrame {
			return m, n, nil
		}
	}
}

// fail makes err final and gives everything back at once: the connection may
// take a while to close.
func (d *Decoder) fail(err error) error {
	d.drop()
	d.err = err
	return err
}

// readHeader takes a header from p and enters its frame, or holds what there is
// of it. All verdicts depend on the bytes seen so far only, in an order that
// does not change with the way they are cut.
func (d *Decoder) readHeader(p []byte) (used int, err error) {
	held := d.heldHeaderBytes
	b := p
	if held > 0 {
		b = d.heldHeader[:held+copy(d.heldHeader[held:], p)]
	}
	if len(b) >= 2 {
		if err := d.checkStart(b[0], b[1]); err != nil {
			return 0, err
		}
	}
	h, n, err := ParseHeader(b)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		// b is the held bytes and p, or p alone: less than a header in any case.
		d.heldHeaderBytes = len(b)
		if held == 0 {
			copy(d.heldHeader[:], b)
		}
		return len(p), nil
	}
	if err := d.enter(h); err != nil {
		return 0, err
	}
	d.heldHeaderBytes = 0
	return n - held, nil
}

// checkStart refuses what a header's first two bytes show to be wrong.
func (d *Decoder) checkStart(b0, b1 byte) error {
	op := Opcode(b0 & 0x0f)
	if op.isReserved() {
		return errOpcodeReserved
	}
	if b0&0x70 != 0 {
		if b0&0x70 != RSV1<<4 || !d.cfg.AllowRSV1 {
			return errRSVBits
		}
		// RFC 7692, section 6: "on the first frame of a message"; 6.1 forbids
		// it for control frames.
		if op != OpText && op != OpBinary {
			return errRSV1NotFirst
		}
	}
	if masked := b1&0x80 != 0; masked != d.cfg.ExpectMasked {
		if masked {
			return errMaskUnexpected
		}
		return errMaskMissing
	}
	switch {
	case op.IsControl():
		if b0&0x80 == 0 {
			return errControlFragment
		}
		if b1&0x7f > maxControlBytes {
			return errControlTooLong
		}
	case op == OpContinuation:
		if d.op == 0 {
			return errNothingToGoOn
		}
	case d.op != 0:
		return errMessageOpen
	}
	return nil
}

// enter begins the frame of h, if the limits allow it.
func (d *Decoder) enter(h Header) error {
	if h.Opcode.IsData() {
		if h.Opcode != OpContinuation {
			d.op = h.Opcode
			d.compressed = h.Rsv&RSV1 != 0
			d.fragments = 0
			d.declared = 0
			d.checked = 0
		}
		if h.Length > d.cfg.maxDeclaredBytes(d.compressed)-d.declared {
			return tooBig(d.cfg.maxMessageBytes())
		}
		if limit := d.cfg.maxFragments(); d.fragments == limit {
			return &ProtocolError{ClosePolicyViolation, fmt.Sprintf("message has more than %d fragments", limit)}
		}
		d.fragments++
		d.declared += h.Length
	}
	d.frame = h
	d.remaining = h.Length
	d.inFrame = true
	return nil
}

func tooBig(limit int64) error {
	return &ProtocolError{CloseMessageTooBig, fmt.Sprintf("message is longer than %d bytes", limit)}
}

// readPayload takes what p has of the frame's payload. The message it returns
// has an Opcode only if it is complete.
func (d *Decoder) readPayload(p []byte) (m Message, used int, err error) {
	whole := d.remaining <= int64(len(p))
	if whole {
		p = p[:d.remaining:d.remaining]
	}
	if d.frame.Opcode.IsControl() {
		return d.readControl(p, whole), len(p), nil
	}
	if whole && d.frame.Fin && d.buf == nil {
		m, err := d.finishInPlace(p)
		return m, len(p), err
	}
	if err := d.hold(p); err != nil {
		return Message{}, len(p), err
	}
	if !whole {
		return Message{}, len(p), nil
	}
	d.inFrame = false
	if !d.frame.Fin {
		return Message{}, len(p), nil
	}
	m, err = d.finishHeld()
	return m, len(p), err
}

// readControl takes a part of a control frame's payload; last says that it ends
// with p.
func (d *Decoder) readControl(p []byte, last bool) Message {
	if held := d.heldControlBytes; held > 0 || !last {
		copy(d.heldControl[held:], p)
		d.heldControlBytes += len(p)
		d.unmask(d.heldControl[held:d.heldControlBytes])
		if !last {
			return Message{}
		}
		p = d.heldControl[:d.heldControlBytes]
		d.heldControlBytes = 0
	} else {
		d.unmask(p)
	}
	d.inFrame = false
	return Message{Opcode: d.frame.Opcode, Payload: p}
}

// unmask unmasks p, the next bytes of the frame's payload, and counts them.
func (d *Decoder) unmask(p []byte) {
	if d.frame.Masked {
		Mask(p, d.frame.Mask, int((d.frame.Length-d.remaining)&3))
	}
	d.remaining -= int64(len(p))
}

// finishInPlace ends a message whose payload is p and nothing else.
func (d *Decoder) finishInPlace(p []byte) (Message, error) {
	d.unmask(p)
	d.inFrame = false
	if d.compressed {
		return d.finishCompressed(p)
	}
	if d.op == OpText && !utf8.Valid(p) {
		return Message{}, errTextUTF8
	}
	m := Message{Opcode: d.op, Payload: p}
	d.op = 0
	return m, nil
}

// hold appends p, the next bytes of the frame's payload, to the buffer and
// checks them if they are text.
func (d *Decoder) hold(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	last := 0
	if d.frame.Fin {
		last = int(d.declared)
	}
	d.buf = d.buf.withRoom(len(p), last)
	start := len(d.buf.b)
	d.buf.b = append(d.buf.b, p...)
	d.unmask(d.buf.b[start:])
	if d.op != OpText || d.compressed {
		return nil
	}
	n, ok := validText(d.buf.b[d.checked:])
	if !ok {
		return errTextUTF8
	}
	d.checked += n
	return nil
}

// finishHeld ends the message in the buffer and lends it out.
func (d *Decoder) finishHeld() (Message, error) {
	if d.compressed {
		return d.finishCompressed(d.buf.b)
	}
	// A character cut short by the end of the message.
	if d.op == OpText && d.checked != len(d.buf.b) {
		return Message{}, errTextUTF8
	}
	m := Message{Opcode: d.op, Payload: d.buf.b}
	d.lent, d.buf = d.buf, nil
	d.op = 0
	return m, nil
}

// finishCompressed ends a message whose compressed payload is p, gives up the
// buffer that may hold p, and lends out what p inflates to.
func (d *Decoder) finishCompressed(p []byte) (Message, error) {
	inflated, err := inflate(p, d.cfg.maxInflatedBytes(), d.window)
	if err != nil {
		return Message{}, err
	}
	d.lent = inflated
	if d.op == OpText && !utf8.Valid(inflated.b) {
		return Message{}, errTextUTF8
	}
	m := Message{Opcode: d.op, Payload: inflated.b, Compressed: true}
	d.buf.free()
	d.buf = nil
	d.op = 0
	return m, nil
}
