package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/roostws/roost/server/internal/jsonx"
)

// The types of packets.
const (
	typeConnect      = '0'
	typeDisconnect   = '1'
	typeEvent        = '2'
	typeAck          = '3'
	typeConnectError = '4'
	typeBinaryEvent  = '5'
	typeBinaryAck    = '6'
)

// A packet is one of the protocol, without its attachments.
type packet struct {
	kind        byte
	namespace   string
	attachments int
	id          uint64
	hasID       bool
	data        []byte // JSON or nothing; a part of what was parsed
}

// attachmentsMax bounds the binary attachments of a packet, as socket.io-parser does.
const attachmentsMax = 10

var errPacket = errors.New("socketio: bad packet")

// parse reads a packet. maxDepth bounds the nesting of its data.
func parse(p []byte, maxDepth int) (k packet, err error) {
	if len(p) == 0 || p[0] < typeConnect || p[0] > typeBinaryAck {
		return k, errPacket
	}
	k.kind, p = p[0], p[1:]
	if k.kind == typeBinaryEvent || k.kind == typeBinaryAck {
		digits, rest, found := bytes.Cut(p, []byte("-"))
		n, err := strconv.ParseUint(string(digits[:min(len(digits), 4)]), 10, 16)
		if !found || err != nil || len(digits) > 3 || n > attachmentsMax {
			return k, errPacket
		}
		k.attachments, p = int(n), rest
	}
	k.namespace = "/"
	if len(p) > 0 && p[0] == '/' {
		name, rest, _ := bytes.Cut(p, []byte(","))
		if len(name) > namespaceMaxBytes {
			return k, errPacket
		}
		// A query behind the name belongs to protocols before 5.
		name, _, _ = bytes.Cut(name, []byte("?"))
		k.namespace, p = string(name), rest
	}
	digits := 0
	for digits < len(p) && p[digits] >= '0' && p[digits] <= '9' {
		digits++
	}
	if digits > 0 {
		if k.id, err = strconv.ParseUint(string(p[:min(digits, 20)]), 10, 53); err != nil || digits > 16 {
			return k, errPacket
		}
		k.hasID, p = true, p[digits:]
	}
	if len(p) == 0 {
		p = nil
	} else if !json.Valid(p) || jsonx.Depth(p) > maxDepth {
		return k, errPacket
	}
	k.data = bytes.TrimSpace(p)
	if !k.valid() {
		return k, errPacket
	}
	return k, nil
}

// namespaceMaxBytes bounds the names of namespaces.
const namespaceMaxBytes = 128

// valid reports whether the data fits the type.
func (k *packet) valid() bool {
	begin := byte(0)
	if len(k.data) > 0 {
		begin = k.data[0]
	}
	switch k.kind {
	case typeConnect:
		return begin == 0 || begin == '{'
	case typeDisconnect:
		return begin == 0
	case typeEvent, typeBinaryEvent:
		if begin != '[' {
			return false
		}
		_, ok := eventName(k.data)
		return ok
	case typeAck, typeBinaryAck:
		return begin == '[' && k.hasID
	}
	return false // CONNECT_ERROR is the server's
}

// reserved are names of events that the library itself uses.
var reserved = map[string]bool{
	"connect": true, "connect_error": true, "disconnect": true, "disconnecting": true, "newListener": true, "removeListener": true,
}

// eventName returns the name of the event whose arguments are data, an array.
func eventName(data []byte) (name string, ok bool) {
	w := jsonx.Walk(data)
	if !w.More() {
		return "", false
	}
	first := w.Element()
	if first[0] == '"' {
		text, err := jsonx.Text(first)
		return string(text), err == nil && !reserved[string(text)]
	}
	return string(first), first[0] == '-' || first[0] >= '0' && first[0] <= '9'
}

// appendHead appends a packet but for its data, behind the type of the Engine.IO packet.
func appendHead(dst []byte, kind byte, namespace string, attachments int, id *uint64) []byte {
	if attachments > 0 && kind == typeEvent {
		kind = typeBinaryEvent
	} else if attachments > 0 && kind == typeAck {
		kind = typeBinaryAck
	}
	dst = append(dst, '4', kind)
	if attachments > 0 {
		dst = append(strconv.AppendInt(dst, int64(attachments), 10), '-')
	}
	if namespace != "/" {
		dst = append(append(dst, namespace...), ',')
	}
	if id != nil {
		dst = strconv.AppendUint(dst, *id, 10)
	}
	return dst
}
