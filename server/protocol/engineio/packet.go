package engineio

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strconv"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// The types of packets.
const (
	packetOpen    = '0'
	packetClose   = '1'
	packetPing    = '2'
	packetPong    = '3'
	packetMessage = '4'
	packetUpgrade = '5'
	packetNoop    = '6'
)

// separator stands between the packets of a payload.
const separator = '\x1e'

// refusal is an error of the protocol, as its own server words it.
func refusal(code int, message string) *handshake.Error {
	return &handshake.Error{Status: http.StatusBadRequest, JSON: true, Reason: `{"code":` + strconv.Itoa(code) + `,"message":"` + message + `"}`}
}

var (
	errTransport = refusal(0, "Transport unknown")
	errUnknown   = refusal(1, "Session ID unknown")
	errMethod    = refusal(2, "Bad handshake method")
	errRequest   = refusal(3, "Bad request")
	errVersion   = refusal(5, "Unsupported protocol version")
)

// A request is what a query asks for.
type request struct {
	websocket bool
	errand    shard.Errand // Mailbox is 0 without a session
	values    url.Values   // those that are not the protocol's
	parts     *protocol.UpgradeParts
}

// readQuery reads the query of a request.
func readQuery(r *handshake.Request, websocket bool) (q request, err error) {
	values, err := url.ParseQuery(string(r.RawQuery))
	switch {
	case err != nil:
		return q, errRequest
	case values.Get("EIO") != "4":
		return q, errVersion
	case values.Get("transport") == "websocket":
		q.websocket = true
	case values.Get("transport") != "polling":
		return q, errTransport
	}
	if q.websocket != websocket {
		return q, errRequest
	}
	if sid := values.Get("sid"); sid != "" {
		if q.errand.Mailbox, q.errand.Key, err = parseSID(sid); err != nil {
			return q, err
		}
	}
	for _, own := range []string{"EIO", "transport", "sid", "t", "b64", "j"} {
		values.Del(own)
	}
	q.values = values
	switch method := string(r.Method); {
	case method == "GET":
	case method == "POST" && q.errand.Mailbox != 0 && !websocket:
		q.errand.Post = true
	case q.errand.Mailbox == 0:
		return q, errMethod
	default:
		return q, errRequest
	}
	return q, nil
}

// A session's ID is where its mailbox is and its key, so that any loop finds it without
// a table of all.

// appendSID appends the ID of a session.
func appendSID(dst []byte, id netpoll.ID, key uint64) []byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	binary.BigEndian.PutUint64(b[8:], key)
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

// parseSID reads what appendSID has written.
func parseSID(sid string) (id netpoll.ID, key uint64, err error) {
	b, err := base64.RawURLEncoding.DecodeString(sid)
	if err != nil || len(b) != 16 {
		return 0, 0, errUnknown
	}
	id = netpoll.ID(binary.BigEndian.Uint64(b))
	if id == 0 {
		return 0, 0, errUnknown
	}
	return id, binary.BigEndian.Uint64(b[8:]), nil
}

// appendFrames appends the packets of a payload as the WebSocket frames of a client: a
// client that polls sends what another one would.
func appendFrames(dst, payload []byte) ([]byte, error) {
	for {
		packet, rest, more := bytes.Cut(payload, []byte{separator})
		switch {
		case len(packet) == 0:
			return dst, errRequest
		case packet[0] == 'b':
			binary := make([]byte, base64.StdEncoding.DecodedLen(len(packet)-1))
			n, err := base64.StdEncoding.Decode(binary, packet[1:])
			if err != nil {
				return dst, errRequest
			}
			dst = appendMasked(dst, frame.OpBinary, binary[:n])
		default:
			dst = appendMasked(dst, frame.OpText, packet)
		}
		if !more {
			return dst, nil
		}
		payload = rest
	}
}

// appendMasked appends a frame as a client sends it, with a key that changes nothing.
func appendMasked(dst []byte, op frame.Opcode, payload []byte) []byte {
	dst = frame.AppendHeader(dst, frame.Header{Fin: true, Opcode: op, Masked: true, Length: int64(len(payload))})
	return append(dst, payload...)
}

// appendMail appends frames of the server as a payload. A Close frame is a close packet,
// and a payload of its own: clients act on it before they have looked at what came with it.
func appendMail(dst, frames []byte) (mail, rest []byte, over bool) {
	for len(frames) > 0 {
		h, n, err := frame.ParseHeader(frames)
		if err != nil || n == 0 || int64(len(frames)-n) < h.Length {
			break // it is ours, and whole
		}
		payload := frames[n : n+int(h.Length)]
		if h.Opcode == frame.OpClose && len(dst) > 0 {
			return dst, frames, false
		}
		frames = frames[n+int(h.Length):]
		switch h.Opcode {
		case frame.OpText:
			dst = append(appendSeparator(dst), payload...)
		case frame.OpBinary:
			dst = base64.StdEncoding.AppendEncode(append(appendSeparator(dst), 'b'), payload)
		case frame.OpClose:
			return append(dst, packetClose), nil, true
		}
	}
	return dst, nil, false
}

func appendSeparator(dst []byte) []byte {
	if len(dst) > 0 {
		dst = append(dst, separator)
	}
	return dst
}
