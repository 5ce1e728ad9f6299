package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A CloseCode says why a connection ends (RFC 6455, section 7.4).
type CloseCode uint16

// The codes of RFC 6455 and of IANA's "WebSocket Close Code Number Registry".
const (
	// CloseNormal: the purpose is fulfilled.
	CloseNormal CloseCode = 1000
	// CloseGoingAway: a server goes down, a browser leaves the page.
	CloseGoingAway CloseCode = 1001
	// CloseProtocolError: the peer broke the protocol.
	CloseProtocolError CloseCode = 1002
	// CloseUnsupportedData: a kind of data that this end does not take.
	CloseUnsupportedData CloseCode = 1003
	// CloseNoStatus is never sent: the close frame had no code.
	CloseNoStatus CloseCode = 1005
	// CloseAbnormal is never sent: the connection ended without a close frame.
	CloseAbnormal CloseCode = 1006
	// CloseInvalidPayload: data did not fit its type, such as text that is not
	// UTF-8.
	CloseInvalidPayload CloseCode = 1007
	// ClosePolicyViolation: the general "no" where no other code fits.
	ClosePolicyViolation CloseCode = 1008
	// CloseMessageTooBig: more than this end processes.
	CloseMessageTooBig CloseCode = 1009
	// CloseMandatoryExtension: a client misses an extension in the handshake.
	CloseMandatoryExtension CloseCode = 1010
	// CloseInternalError: a server met a condition that it did not expect.
	CloseInternalError CloseCode = 1011
	// CloseServiceRestart: come back, spread over 5 to 30 seconds.
	CloseServiceRestart CloseCode = 1012
	// CloseTryAgainLater: overload.
	CloseTryAgainLater CloseCode = 1013
	// CloseBadGateway: the server behind this one gave an invalid response.
	CloseBadGateway CloseCode = 1014
	// CloseTLSHandshake is never sent: the TLS handshake failed.
	CloseTLSHandshake CloseCode = 1015
	// CloseUnauthorized is HTTP's 401.
	CloseUnauthorized CloseCode = 3000
	// CloseForbidden is HTTP's 403.
	CloseForbidden CloseCode = 3003
	// CloseTimeout is HTTP's 408.
	CloseTimeout CloseCode = 3008
)

var closeCodeNames = map[CloseCode]string{
	CloseNormal:             "normal closure",
	CloseGoingAway:          "going away",
	CloseProtocolError:      "protocol error",
	CloseUnsupportedData:    "unsupported data",
	CloseNoStatus:           "no status received",
	CloseAbnormal:           "abnormal closure",
	CloseInvalidPayload:     "invalid payload data",
	ClosePolicyViolation:    "policy violation",
	CloseMessageTooBig:      "message too big",
	CloseMandatoryExtension: "mandatory extension missing",
	CloseInternalError:      "internal error",
	CloseServiceRestart:     "service restart",
	CloseTryAgainLater:      "try again later",
	CloseBadGateway:         "bad gateway",
	CloseTLSHandshake:       "TLS handshake failed",
	CloseUnauthorized:       "unauthorized",
	CloseForbidden:          "forbidden",
	CloseTimeout:            "timeout",
}

// String is the number and, where the registry has one, the name.
func (c CloseCode) String() string {
	if name, ok := closeCodeNames[c]; ok {
		return strconv.Itoa(int(c)) + " (" + name + ")"
	}
	return strconv.Itoa(int(c))
}

// Valid says whether the code may stand in a close frame: 1000 to 2999 if
// registered and not one of those that "MUST NOT be set as a status code in a
// Close control frame" (1005, 1006, 1015), all of 3000 to 4999 (libraries and
// applications), nothing else (section 7.4.2).
func (c CloseCode) Valid() bool {
	switch {
	case c >= 1000 && c <= 1003, c >= 1007 && c <= 1014:
		return true
	}
	return c >= 3000 && c <= 4999
}

// A CloseError says that the peer closed the connection, and how.
type CloseError struct {
	// Code is the peer's code, CloseNoStatus if its frame had none.
	Code CloseCode
	// Reason is the peer's text, valid UTF-8 of at most 123 bytes.
	Reason string
}

// Error names the code and the reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return "frame: peer closed: " + e.Code.String()
	}
	return fmt.Sprintf("frame: peer closed: %v: %q", e.Code, e.Reason)
}

// A ProtocolError is this end's verdict on what the peer sent.
type ProtocolError struct {
	// Code is what to close with.
	Code CloseCode
	// Reason says what was wrong, short enough for a close frame.
	Reason string
}

// Error names the code and the reason.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("frame: %v: %s", e.Code, e.Reason)
}

// CloseCodeOf returns the code that err carries, whichever side closed; 0 if err is nil or
// carries none.
func CloseCodeOf(err error) CloseCode {
	var p *ProtocolError
	if errors.As(err, &p) {
		return p.Code
	}
	var c *CloseError
	if errors.As(err, &c) {
		return c.Code
	}
	return 0
}

// maxReasonBytes is what a close frame has room for beside the code.
const maxReasonBytes = maxControlBytes - 2

// ParseClose takes a close frame's unmasked payload apart. An empty payload is
// CloseNoStatus. A payload of one byte and a code that is not Valid are
// CloseProtocolError, a reason that is not UTF-8 is CloseInvalidPayload: then
// err is a [*ProtocolError] and code and reason are empty. reason is a part of
// payload.
func ParseClose(payload []byte) (code CloseCode, reason []byte, err error) {
	switch len(payload) {
	case 0:
		return CloseNoStatus, nil, nil
	case 1:
		return 0, nil, errCloseOneByte
	}
	code = CloseCode(binary.BigEndian.Uint16(payload))
	if !code.Valid() {
		return 0, nil, &ProtocolError{CloseProtocolError, fmt.Sprintf("close code %d must not be sent", uint16(code))}
	}
	reason = payload[2:]
	if !utf8.Valid(reason) {
		return 0, nil, errCloseReasonUTF8
	}
	return code, reason, nil
}

// AppendClosePayload appends the payload of a close frame, at most 125 bytes.
// It is empty for CloseNoStatus and for any other code that is not Valid. The
// reason is cut to 123 bytes between two characters; bytes that are not UTF-8
// become U+FFFD.
func AppendClosePayload(dst []byte, code CloseCode, reason string) []byte {
	if !code.Valid() {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	if !utf8.ValidString(reason) {
		reason = strings.ToValidUTF8(reason, "\uFFFD")
	}
	if len(reason) > maxReasonBytes {
		cut := maxReasonBytes
		for !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	return append(dst, reason...)
}

// AppendClose appends a whole unmasked close frame, with the payload of
// [AppendClosePayload].
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	var payload [maxControlBytes]byte
	return AppendFrame(dst, OpClose, AppendClosePayload(payload[:0], code, reason))
}
