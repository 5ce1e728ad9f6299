package native

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/roostws/roost/server/internal/hub"
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
	return appendText(b.name(name), value)
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
func (b builder) position(at hub.Position) builder {
	if at.Epoch == "" {
		return b
	}
	return b.text("epoch", at.Epoch).number("offset", at.Offset)
}

// open and close are the braces of a member's value.
func (b builder) open(name string) builder { return append(b.name(name), '{') }
func (b builder) close() builder           { return append(b, '}') }

// data appends a message: JSON as it is, other text as a string, and binary
// data in base64, which is said behind it.
func (b builder) data(payload []byte, binary bool) builder {
	b = b.name("data")
	switch {
	case binary:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, payload)
		b = append(b, '"')
		return b.text("encoding", "base64")
	case json.Valid(payload) && utf8.Valid(payload):
		return append(b, payload...)
	}
	return appendText(b, payload)
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. What is not UTF-8 in it becomes U+FFFD.
func appendText[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := decodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, `\ufffd`...)
				start = i + 1
			}
			i += n
			continue
		}
		i++
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i-1]...)
		start = i
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// decodeRune looks at the first bytes only, so that the conversion stays on the
// stack.
func decodeRune[T ~string | ~[]byte](s T) (rune, int) {
	return utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)]))
}
