package socketio

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/roostws/roost/server/internal/jsonx"
)

// A Value is an argument of an event or an acknowledgement: JSON, in which binary data
// may stand. It may be kept, and emitted again as it is.
type Value struct {
	raw   []byte
	blobs [][]byte // of the packet that it came in
}

// Decode puts the value into v, as encoding/json does; binary data fits []byte.
func (a Value) Decode(v any) error {
	if data, ok := v.(*[]byte); ok {
		if blob, ok := a.blob(); ok {
			*data = blob
			return nil
		}
	}
	raw, err := rewrite(nil, a.raw, func(dst []byte, num int) ([]byte, error) {
		if num >= len(a.blobs) {
			return dst, errPlaceholder
		}
		dst = append(dst, '"')
		return append(base64.StdEncoding.AppendEncode(dst, a.blobs[num]), '"'), nil
	})
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// String returns the text that the value is, or its JSON.
func (a Value) String() string {
	if len(a.raw) > 0 && a.raw[0] == '"' {
		if text, err := jsonx.Text(a.raw); err == nil {
			return string(text)
		}
	}
	return string(a.raw)
}

// Bytes returns the binary data that the value is, nil if it is none.
func (a Value) Bytes() []byte {
	blob, _ := a.blob()
	return blob
}

// blob returns the binary data that a value is as a whole.
func (a Value) blob() ([]byte, bool) {
	if num, ok := placeholder(a.raw); ok && num < len(a.blobs) {
		return a.blobs[num], true
	}
	return nil, false
}

// MarshalJSON returns the value's JSON, binary data in base64.
func (a Value) MarshalJSON() ([]byte, error) {
	var raw json.RawMessage
	err := a.Decode(&raw)
	return raw, err
}

var errPlaceholder = errors.New("socketio: a placeholder for binary data that is not there")

var placeholderKey = []byte("_placeholder")

// placeholder returns the number of the attachment for which an object stands.
func placeholder(object []byte) (num int, ok bool) {
	if len(object) == 0 || object[0] != '{' || !bytes.Contains(object, placeholderKey) {
		return 0, false
	}
	num = -1
	for w := jsonx.Walk(object); w.More(); {
		name, value := w.Member()
		switch string(name) {
		case `"_placeholder"`:
			ok = string(value) == "true"
		case `"num"`:
			n, err := strconv.ParseUint(string(value), 10, 16)
			if err != nil {
				return 0, false
			}
			num = int(n)
		}
	}
	return num, ok && num >= 0
}

// rewrite appends value with what f appends in place of each placeholder.
func rewrite(dst, value []byte, f func(dst []byte, num int) ([]byte, error)) ([]byte, error) {
	return rewriteObjects(dst, value, placeholderKey, func(dst, object []byte) ([]byte, bool, error) {
		num, ok := placeholder(object)
		if !ok {
			return dst, false, nil
		}
		dst, err := f(dst, num)
		return dst, true, err
	})
}

// rewriteObjects appends value with what f appends in place of objects in which key stands, where
// it returns true.
func rewriteObjects(dst, value, key []byte, f func(dst, object []byte) ([]byte, bool, error)) (_ []byte, err error) {
	if !bytes.Contains(value, key) {
		return append(dst, value...), nil
	}
	if value[0] == '{' {
		if out, done, err := f(dst, value); done || err != nil {
			return out, err
		}
	}
	first := true
	comma := func() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
	}
	switch value[0] {
	case '[':
		dst = append(dst, '[')
		for w := jsonx.Walk(value); w.More(); {
			comma()
			if dst, err = rewriteObjects(dst, w.Element(), key, f); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case '{':
		dst = append(dst, '{')
		for w := jsonx.Walk(value); w.More(); {
			comma()
			name, member := w.Member()
			dst = append(append(dst, name...), ':')
			if dst, err = rewriteObjects(dst, member, key, f); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	return append(dst, value...), nil // a text with that word in it
}

// values returns the elements of data, an array, from the given one on. It keeps blobs and a
// copy of data.
func values(data []byte, blobs [][]byte, from int) (all []Value) {
	data = bytes.Clone(data)
	for w := jsonx.Walk(data); w.More(); from-- {
		if raw := w.Element(); from <= 0 {
			all = append(all, Value{raw, blobs})
		}
	}
	return all
}

// checkPlaceholders reports whether the placeholders of data are those of its attachments.
func checkPlaceholders(data []byte, attachments int) bool {
	_, err := rewrite(nil, data, func(dst []byte, num int) ([]byte, error) {
		if num >= attachments {
			return dst, errPlaceholder
		}
		return dst, nil
	})
	return err == nil
}

// A message is an event or an acknowledgement to be sent: a JSON array and the binary
// data in it.
type message struct {
	data  []byte
	blobs [][]byte
}

// newMessage encodes the arguments of an event, or, without a name, of an
// acknowledgement. []byte and Value are binary data, or hold some.
func newMessage(name string, args []any) (m message, err error) {
	m.data = append(m.data, '[')
	if name != "" {
		m.data = jsonx.AppendText(m.data, name)
	}
	for i, arg := range args {
		if i > 0 || name != "" {
			m.data = append(m.data, ',')
		}
		if err = m.add(arg); err != nil {
			return m, fmt.Errorf("socketio: argument %d of %.40q: %w", i+1, name, err)
		}
	}
	m.data = append(m.data, ']')
	if len(m.blobs) > 0 && !checkPlaceholders(m.data, len(m.blobs)) {
		err = errPlaceholder // it would end the receivers' connections
	}
	return m, err
}

func (m *message) add(arg any) (err error) {
	switch v := arg.(type) {
	case []byte:
		m.placeholder(v)
	case Value:
		m.data, err = rewrite(m.data, v.raw, func(dst []byte, num int) ([]byte, error) {
			if len(v.blobs) == 0 {
				return append(dst, "null"...), nil // it only looked like one
			}
			if num >= len(v.blobs) {
				return dst, errPlaceholder
			}
			dst = fmt.Appendf(dst, `{"_placeholder":true,"num":%d}`, len(m.blobs))
			m.blobs = append(m.blobs, v.blobs[num])
			return dst, nil
		})
	default:
		var raw []byte
		raw, err = json.Marshal(arg)
		m.data = append(m.data, raw...)
	}
	return err
}

func (m *message) placeholder(blob []byte) {
	m.data = fmt.Appendf(m.data, `{"_placeholder":true,"num":%d}`, len(m.blobs))
	m.blobs = append(m.blobs, blob)
}

// appendBinary appends the message as the payload of a binary publication: its parts, each
// behind its length.
func (m *message) appendBinary(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(m.data))), m.data...)
	for _, blob := range m.blobs {
		dst = append(binary.AppendUvarint(dst, uint64(len(blob))), blob...)
	}
	return dst
}

// readBinary reads what appendBinary has written.
func readBinary(p []byte) (m message, ok bool) {
	for first := true; len(p) > 0; first = false {
		n, k := binary.Uvarint(p)
		if k <= 0 || n > uint64(len(p)-k) {
			return m, false
		}
		part := p[k : k+int(n)]
		if p = p[k+int(n):]; first {
			m.data = part
		} else {
			m.blobs = append(m.blobs, part)
		}
	}
	return m, len(m.blobs) > 0 && len(m.blobs) <= attachmentsMax && json.Valid(m.data) && m.data[0] == '[' && checkPlaceholders(m.data, len(m.blobs))
}
