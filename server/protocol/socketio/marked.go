package socketio

import (
	"encoding/base64"

	"github.com/roostws/roost/server/internal/jsonx"
)

// For applications that speak JSON, binary data anywhere in the arguments of an event is an
// object with one member, whose value is the data in base64:
//
//	["photo", {"name": "cat.png", "bytes": {"$binary": "iVBORw0K…"}}]

// markKey is the name of that member.
var markKey = []byte(`"$binary"`)

// marked returns arguments as a JSON array in that form.
func marked(args []Value) []byte {
	out := []byte("[")
	for i, a := range args {
		if i > 0 {
			out = append(out, ',')
		}
		start := len(out)
		var err error
		out, err = rewrite(out, a.raw, func(dst []byte, num int) ([]byte, error) {
			if num >= len(a.blobs) {
				return dst, errPlaceholder
			}
			dst = append(append(append(dst, '{'), markKey...), `:"`...)
			return append(base64.StdEncoding.AppendEncode(dst, a.blobs[num]), `"}`...), nil
		})
		if err != nil { // packets are checked: a placeholder without its data does not come here
			out = append(out[:start], "null"...)
		}
	}
	return append(out, ']')
}

// readMarked returns the message whose arguments are data, a JSON array. Objects that only look
// like binary data, or are more than a packet may have, stay as they are.
func readMarked(data []byte) message {
	m := message{}
	m.data, _ = rewriteObjects(nil, data, markKey, func(dst, object []byte) ([]byte, bool, error) {
		blob, ok := readMark(object)
		if !ok || len(m.blobs) >= attachmentsMax {
			return dst, false, nil
		}
		m.data = dst
		m.placeholder(blob)
		return m.data, true, nil
	})
	if len(m.blobs) > 0 && !checkPlaceholders(m.data, len(m.blobs)) {
		return message{data: data} // it holds placeholders of its own
	}
	return m
}

// readMark returns the binary data that an object stands for.
func readMark(object []byte) (blob []byte, ok bool) {
	w := jsonx.Walk(object)
	if !w.More() {
		return nil, false
	}
	name, value := w.Member()
	if string(name) != string(markKey) || w.More() {
		return nil, false
	}
	text, err := jsonx.Text(value)
	if err != nil {
		return nil, false
	}
	blob, err = base64.StdEncoding.AppendDecode(nil, text)
	return blob, err == nil
}
