package wire

import "github.com/roostws/roost/frame"

type webSocket struct{}

// emptyPing is a ping without payload (RFC 6455, section 5.5.2): two bytes are
// enough to learn that the peer is there.
var emptyPing = frame.AppendFrame(nil, frame.OpPing, nil)

func (webSocket) AppendMessage(dst []byte, op frame.Opcode, payload []byte) []byte {
	return frame.AppendFrame(dst, op, payload)
}

// Unit returns a frame. Frames of ours are never fragments of a message.
func (webSocket) Unit(run []byte, off int) (start, end int) {
	for {
		h, n, err := frame.ParseHeader(run[start:])
		if err != nil || n == 0 {
			return start, len(run)
		}
		if end = start + n + int(h.Length); end > off || end >= len(run) {
			return start, min(end, len(run))
		}
		start = end
	}
}

func (webSocket) Ping() []byte { return emptyPing }

func (webSocket) PingIsAnswered() bool { return true }

func (webSocket) AppendClose(dst []byte, code frame.CloseCode, reason string) []byte {
	return frame.AppendClose(dst, code, reason)
}

func (webSocket) CloseIsAnswered() bool { return true }

func (webSocket) Next(d *frame.Decoder, p []byte) (m frame.Message, n int, err error) {
	return d.Next(p)
}
