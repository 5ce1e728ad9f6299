package frame

// AppendHeld appends what another decoder, Reset with the same configuration (and
// given the same Window), must be fed to go on where this one stands: that is how
// an unfinished message moves to another process. It is nothing if the decoder is
// Idle. Feeding it gives no message and no error.
//
// There is no format to agree on: the bytes are frames, as the peer could have
// sent them, cut where this decoder stands. What came in several fragments
// becomes one, followed by empty ones so that their number stays.
func (d *Decoder) AppendHeld(dst []byte) []byte {
	var seen []byte // of the data frame in progress
	inData := d.inFrame && d.frame.Opcode.IsData()
	before := d.fragments // frames of the message that have ended
	var payload []byte    // of those
	if d.buf != nil {
		payload = d.buf.b
	}
	if inData {
		cut := len(payload) - int(d.frame.Length-d.remaining)
		payload, seen = payload[:cut], payload[cut:]
		before--
	}
	if d.op != 0 && before > 0 {
		h := Header{Opcode: d.op, Masked: d.cfg.ExpectMasked}
		if d.compressed {
			h.Rsv = RSV1
		}
		dst = appendPayload(dst, h, payload)
		for range before - 1 {
			dst = AppendHeader(dst, Header{Opcode: OpContinuation, Masked: d.cfg.ExpectMasked})
		}
	}
	if d.inFrame {
		if !inData {
			seen = d.heldControl[:d.heldControlBytes]
		}
		dst = AppendHeader(dst, d.frame)
		start := len(dst)
		dst = append(dst, seen...)
		if d.frame.Masked {
			Mask(dst[start:], d.frame.Mask, 0)
		}
	}
	return append(dst, d.heldHeader[:d.heldHeaderBytes]...)
}
