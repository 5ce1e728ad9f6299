package wire

import "github.com/roostws/roost/frame"

// response is the wire of connections that are not open: the shard writes whole
// responses to them and knows what arrives by their state.
type response struct{}

func (response) AppendMessage(dst []byte, _ frame.Opcode, payload []byte) []byte {
	return append(dst, payload...)
}

func (response) Unit(run []byte, off int) (start, end int) { return 0, len(run) }

func (response) Ping() []byte { return nil }

func (response) PingIsAnswered() bool { return false }

func (response) AppendClose(dst []byte, _ frame.CloseCode, _ string) []byte { return dst }

func (response) CloseIsAnswered() bool { return false }

func (response) Next(_ *frame.Decoder, p []byte) (m frame.Message, n int, err error) {
	return frame.Message{}, len(p), nil
}
