package handshake

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"

	"github.com/roostws/roost/frame"
)

// A Header is a header line for a response, from the application.
type Header struct{ Name, Value string }

// CheckHeader reports why h must not go into a response: its name is no token,
// its value could begin a line of its own, or the handshake writes it itself.
func CheckHeader(h Header) error {
	if !frame.IsToken(h.Name) {
		return fmt.Errorf("handshake: header name %q is not a token", h.Name)
	}
	if !validValue(h.Value) {
		return fmt.Errorf("handshake: the value of header %s has control characters", h.Name)
	}
	for _, own := range ownHeaders {
		if equalFold(h.Name, own) {
			return fmt.Errorf("handshake: header %s belongs to the handshake", h.Name)
		}
	}
	return nil
}

var ownHeaders = []string{
	"Connection", "Upgrade", "Date", "Content-Length", "Content-Type", "Transfer-Encoding", "Trailer", "Retry-After",
	"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Version",
}

func validValue(s string) bool { return outside(s, classValue) == len(s) }

// AppendResponse appends the 101 response to dst, with the application's extra
// header lines behind our own; date is the Date header's value. It allocates
// nothing if dst has room. An extra header that CheckHeader refuses is an error,
// and so are a subprotocol and extensions, exchanged since Upgrade, that cannot
// be sent: dst comes back as it was.
func AppendResponse(dst []byte, res *Result, extra []Header, date []byte) ([]byte, error) {
	if outside(res.Subprotocol, classToken) < len(res.Subprotocol) {
		return dst, fmt.Errorf("handshake: subprotocol %q is not a token", res.Subprotocol)
	}
	if !validValue(res.Extensions) {
		return dst, fmt.Errorf("handshake: extensions %q have control characters", res.Extensions)
	}
	for _, h := range extra {
		if err := CheckHeader(h); err != nil {
			return dst, err
		}
	}
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = appendAccept(dst, &res.key)
	dst = append(dst, "\r\n"...)
	dst = appendDate(dst, date)
	if res.Subprotocol != "" {
		dst = appendHeader(dst, Header{"Sec-WebSocket-Protocol", res.Subprotocol})
	}
	if res.Extensions != "" {
		dst = appendHeader(dst, Header{"Sec-WebSocket-Extensions", res.Extensions})
	}
	for _, h := range extra {
		dst = appendHeader(dst, h)
	}
	return append(dst, "\r\n"...), nil
}

func appendHeader(dst []byte, h Header) []byte {
	dst = append(dst, h.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, h.Value...)
	return append(dst, "\r\n"...)
}

// appendAccept: RFC 6455 section 4.2.2, step 5.4: base64(SHA-1(key + GUID)).
func appendAccept(dst []byte, key *[keyBytes]byte) []byte {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var p [keyBytes + len(guid)]byte
	copy(p[:], key[:])
	copy(p[keyBytes:], guid)
	sum := sha1.Sum(p[:])
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}
