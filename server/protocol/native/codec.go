package native

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/protocol"
)

// Subprotocol is the WebSocket subprotocol.
const Subprotocol = "roost.v1.json"

// Codec is the native protocol.
type Codec struct{}

var _ protocol.Codec = Codec{}

// Subprotocol returns the WebSocket subprotocol.
func (Codec) Subprotocol() string { return Subprotocol }

// Heartbeat returns the heartbeats.
func (Codec) Heartbeat() protocol.Heartbeat {
	return protocol.Heartbeat{Ask: Heartbeat, Answer: Heartbeat}
}

// Decode reads a message, which holds one command.
func (Codec) Decode(p []byte, binary bool, c *protocol.Command) (rest []byte, err error) {
	if binary {
		return nil, protocol.EndBinary
	}
	err = decode(p, c)
	if wrong, ok := err.(*memberError); ok {
		err = &protocol.Error{Code: protocol.CodeBadRequest, Message: wrong.Error()}
	}
	return nil, err
}

// Close codes of the protocol (docs/close-codes.md).
const (
	closeBadRequest   frame.CloseCode = 4400
	closeUnauthorized frame.CloseCode = 4401
)

// Close returns the code and the reason of a Close frame.
func (Codec) Close(e protocol.Ending) (frame.CloseCode, string) {
	switch e {
	case protocol.EndBinary:
		return frame.CloseUnsupportedData, "roost.v1.json has text messages only"
	case protocol.EndUnconnected:
		return closeUnauthorized, "no connect command in time"
	case protocol.EndUnauthorized:
		return closeUnauthorized, "unauthorized"
	case protocol.EndRefused:
		return frame.CloseTryAgainLater, "connect refused for now: come back"
	case protocol.EndExpired:
		return closeUnauthorized, "token expired: come back with a new one"
	}
	return closeBadRequest, "bad request: want one JSON object a message"
}
