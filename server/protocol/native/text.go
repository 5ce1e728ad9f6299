package native

import (
	"strconv"

	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
)

// A builder appends JSON. The comma before a member is there unless the member
// is the first.
type builder []byte

// name begins a member; names are constants without anything to escape.
func (b builder) name(name string) builder {
	if last := b[len(b)-1]; last != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func (b builder) text(name, value string) builder {
	return jsonx.AppendText(b.name(name), value)
}

// optional is text, left out if it is empty.
func (b builder) optional(name, value string) builder {
	if value == "" {
		return b
	}
	return b.text(name, value)
}

func (b builder) number(name string, value uint64) builder {
	return strconv.AppendUint(b.name(name), value, 10)
}

// raw appends a value that is JSON, and nothing if there is none.
func (b builder) raw(name string, value []byte) builder {
	if len(value) == 0 {
		return b
	}
	return append(b.name(name), value...)
}

func (b builder) boolean(name string, value bool) builder {
	return strconv.AppendBool(b.name(name), value)
}

// flag is there if it is true.
func (b builder) flag(name string, value bool) builder {
	if !value {
		return b
	}
	return b.boolean(name, true)
}

// position appends epoch and offset, nothing without history.
func (b builder) position(at history.Position) builder {
	if at.Epoch == "" {
		return b
	}
	return b.text("epoch", at.Epoch).number("offset", at.Offset)
}

// open and close are the braces of a member's value.
func (b builder) open(name string) builder { return append(b.name(name), '{') }
func (b builder) close() builder           { return append(b, '}') }

// data appends a message, and says after it if it is in base64.
func (b builder) data(payload []byte, binary bool) builder {
	value, encoding := jsonx.AppendData(b.name("data"), payload, binary)
	return builder(value).optional("encoding", encoding)
}
