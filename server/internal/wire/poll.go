package wire

import "github.com/roostws/roost/frame"

// poll is the response to a long poll: elements of a JSON array, a comma behind each.
// They are gathered, and never on a socket one by one.
type poll struct{}

func (poll) AppendMessage(dst []byte, _ frame.Opcode, payload []byte) []byte {
	return append(append(dst, payload...), ',')
}

func (poll) Unit(run []byte, off int) (start, end int) { return 0, len(run) }

func (poll) Ping() []byte { return nil }

func (poll) PingIsAnswered() bool { return false }

// AppendClose appends what an event stream has in its event close.
func (poll) AppendClose(dst []byte, code frame.CloseCode, reason string) []byte {
	reason, retry, known := retryOf(reason)
	return append(appendCloseJSON(append(dst, `{"close":`...), code, reason, retry, known), "},"...)
}

func (poll) CloseIsAnswered() bool { return false }

func (poll) Next(_ *frame.Decoder, p []byte) (m frame.Message, n int, err error) {
	return nextLine(p)
}
