package native

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// An object is read member by member. It must be valid JSON: what follows looks
// for ends only.
type object struct{ rest []byte }

// newObject begins behind the brace of p.
func newObject(p []byte) object { return object{p[1:]} }

// next answers the next member, name and value as they stand, or nothing at the
// end.
func (o *object) next() (name, value []byte) {
	o.skip()
	if o.rest[0] == ',' {
		o.rest = o.rest[1:]
		o.skip()
	}
	if o.rest[0] == '}' {
		return nil, nil
	}
	name = o.take()
	o.skip()
	o.rest = o.rest[1:] // the colon
	o.skip()
	return name, o.take()
}

// skip leaves white space out.
func (o *object) skip() {
	for len(o.rest) > 0 && (o.rest[0] == ' ' || o.rest[0] == '\t' || o.rest[0] == '\n' || o.rest[0] == '\r') {
		o.rest = o.rest[1:]
	}
}

// take answers the value that rest begins with.
func (o *object) take() []byte {
	n := valueBytes(o.rest)
	value := o.rest[:n:n]
	o.rest = o.rest[n:]
	return value
}

// valueBytes is the length of the value that p begins with.
func valueBytes(p []byte) int {
	switch p[0] {
	case '"':
		return stringBytes(p)
	case '{', '[':
		depth := 0
		for i := 0; ; i++ {
			switch p[i] {
			case '"':
				i += stringBytes(p[i:]) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i, c := range p {
		switch c {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return i
		}
	}
	return len(p)
}

// stringBytes is the length of the string, quotes included, that p begins with.
func stringBytes(p []byte) int {
	for i := 1; ; i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// kindOf names the type of a value in error texts.
func kindOf(value []byte) string {
	switch value[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// text answers the string that value is.
func text(value []byte) (string, error) {
	if value[0] != '"' {
		return "", fmt.Errorf("is %s: want a string", kindOf(value))
	}
	plain := string(value[1 : len(value)-1])
	if strings.IndexByte(plain, '\\') < 0 {
		if !utf8.ValidString(plain) {
			return "", fmt.Errorf("is not valid UTF-8")
		}
		return plain, nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", err
	}
	// Half of a surrogate pair becomes U+FFFD there: two names would be one.
	if strings.Count(s, "\uFFFD") != strings.Count(plain, "\uFFFD")+countEscaped(plain, "fffd") {
		return "", fmt.Errorf("has an escape that is half of a surrogate pair, or is not valid UTF-8")
	}
	return s, nil
}

// label answers a member's name without its quotes, nothing if it is none that could
// be one of ours.
func label(name []byte) []byte {
	if plain := name[1 : len(name)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return plain
	}
	s, err := text(name)
	if err != nil {
		return nil
	}
	return []byte(s)
}

// countEscaped counts the escapes \uHEX in what stands between the quotes of a string.
func countEscaped(plain, hex string) (n int) {
	for i := 0; i+5 < len(plain); i++ {
		if plain[i] == '\\' {
			if i++; plain[i] == 'u' && i+5 <= len(plain) && strings.EqualFold(plain[i+1:i+5], hex) {
				n++
			}
		}
	}
	return n
}

// maxInteger is the largest integer that every JSON library reads exactly: 2^53-1.
const maxInteger = 1<<53 - 1

// integer answers the whole number from low to maxInteger that value is.
func integer(value []byte, low uint64) (uint64, error) {
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return 0, fmt.Errorf("is %s: want a number", kindOf(value))
	}
	var n uint64
	for _, c := range value {
		if c < '0' || c > '9' || n > maxInteger {
			n = maxInteger + 1
			break
		}
		n = 10*n + uint64(c-'0')
	}
	if n < low || n > maxInteger {
		return 0, fmt.Errorf("is %.24s: want a whole number from %d to %d", value, low, uint64(maxInteger))
	}
	return n, nil
}

func isNull(value []byte) bool { return value[0] == 'n' }
