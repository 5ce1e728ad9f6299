package wire

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/jsonx"
)

// eventStream is Server-Sent Events (WHATWG HTML, section 9.2): text, one block of
// lines for each message, from the server only. The client's commands come with its
// request, one line each.
type eventStream struct{}

// comment is a block that an EventSource ignores.
var comment = []byte(":\n\n")

// AppendMessage starts another data field at each line break: the client puts LFs
// there, which are white space in JSON.
func (eventStream) AppendMessage(dst []byte, _ frame.Opcode, payload []byte) []byte {
	for {
		dst = append(dst, "data: "...)
		i := lineEnd(payload)
		if i < 0 {
			return append(append(dst, payload...), "\n\n"...)
		}
		dst = append(append(dst, payload[:i]...), '\n')
		if payload[i] == '\r' && i+1 < len(payload) && payload[i+1] == '\n' {
			i++
		}
		payload = payload[i+1:]
	}
}

// lineEnd returns where the first line of p ends, -1 if it is the only one.
func lineEnd(p []byte) int {
	i := bytes.IndexByte(p, '\n')
	if i >= 0 {
		p = p[:i]
	}
	if r := bytes.IndexByte(p, '\r'); r >= 0 {
		return r
	}
	return i
}

// Unit returns a block, which ends with an empty line.
func (eventStream) Unit(run []byte, off int) (start, end int) {
	if i := bytes.LastIndex(run[:off], blockEnd); i >= 0 {
		start = i + len(blockEnd)
	}
	from := max(start, off-1) // the block may end at off
	if i := bytes.Index(run[from:], blockEnd); i >= 0 {
		return start, from + i + len(blockEnd)
	}
	return start, len(run)
}

var blockEnd = []byte("\n\n")

func (eventStream) Ping() []byte { return comment }

func (eventStream) PingIsAnswered() bool { return false }

// Seconds after which an EventSource comes back by itself where no repetition of
// its request can succeed. It cannot be told to stay away.
const hopelessRetry = 3600

// AppendClose appends an event named close, and how long an EventSource shall wait.
func (eventStream) AppendClose(dst []byte, code frame.CloseCode, reason string) []byte {
	reason, retry, known := retryOf(reason)
	switch {
	case known:
		dst = appendRetry(dst, retry)
	case hopeless(code):
		dst = appendRetry(dst, hopelessRetry*1000)
	}
	dst = append(dst, "event: close\ndata: "...)
	dst = appendCloseJSON(dst, code, reason, retry, known)
	return append(dst, "\n\n"...)
}

// AppendRetry appends a block that tells an EventSource after how many milliseconds
// to come back when the stream has ended.
func AppendRetry(dst []byte, milliseconds int64) []byte {
	return append(appendRetry(dst, milliseconds), '\n')
}

func appendRetry(dst []byte, milliseconds int64) []byte {
	return append(strconv.AppendInt(append(dst, "retry: "...), milliseconds, 10), '\n')
}

// hopeless reports whether a client that was closed with this code comes back in vain
// with the same request.
func hopeless(code frame.CloseCode) bool {
	switch code {
	case frame.CloseProtocolError, frame.CloseUnsupportedData, frame.CloseInvalidPayload, frame.ClosePolicyViolation, frame.CloseMessageTooBig:
		return true
	}
	return code >= 4400 && code < 4500
}

// retryMark stands in a reason before the milliseconds after which the client may
// come back.
const retryMark = "; retry="

// retryOf splits a reason.
func retryOf(reason string) (text string, milliseconds int64, ok bool) {
	if i := strings.LastIndex(reason, retryMark); i >= 0 {
		if n, err := strconv.ParseInt(reason[i+len(retryMark):], 10, 64); err == nil && n >= 0 {
			return reason[:i], n, true
		}
	}
	return reason, 0, false
}

// appendCloseJSON appends what a Close frame says, and the time to come back in
// seconds, as in the protocol's errors.
func appendCloseJSON(dst []byte, code frame.CloseCode, reason string, milliseconds int64, retry bool) []byte {
	dst = strconv.AppendInt(append(dst, `{"code":`...), int64(code), 10)
	dst = jsonx.AppendText(append(dst, `,"reason":`...), reason)
	if retry {
		dst = strconv.AppendFloat(append(dst, `,"retry":`...), float64(milliseconds)/1000, 'f', -1, 64)
	}
	return append(dst, '}')
}

func (eventStream) CloseIsAnswered() bool { return false }

// Next takes a command off p, which is whole lines. Empty ones are skipped.
func (eventStream) Next(_ *frame.Decoder, p []byte) (m frame.Message, n int, err error) {
	return nextLine(p)
}

var errLineUTF8 = &frame.ProtocolError{Code: frame.CloseInvalidPayload, Reason: "text is not valid UTF-8"}

func nextLine(p []byte) (m frame.Message, n int, err error) {
	for n < len(p) {
		line := p[n:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
			n++
		}
		n += len(line)
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			return m, n, errLineUTF8
		}
		return frame.Message{Opcode: frame.OpText, Payload: line}, n, nil
	}
	return m, n, nil
}
