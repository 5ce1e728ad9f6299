package jsonx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Walker goes through the members of an object, or the elements of an array,
// that is known to be valid JSON: it looks for ends only. What it returns are
// parts of the value.
type Walker struct{ rest []byte }

// Walk begins with the first member or element of value, which may have white
// space before it.
func Walk(value []byte) Walker {
	w := Walker{value}
	w.space()
	w.rest = w.rest[1:] // the bracket
	return w
}

// More steps over a comma and reports whether another member or element follows.
func (w *Walker) More() bool {
	w.space()
	if w.rest[0] == ',' {
		w.rest = w.rest[1:]
		w.space()
	}
	return w.rest[0] != '}' && w.rest[0] != ']'
}

// Member returns the next name, in its quotation marks, and its value.
func (w *Walker) Member() (name, value []byte) {
	name = w.Element()
	w.space()
	w.rest = w.rest[1:] // the colon
	w.space()
	return name, w.Element()
}

// Element returns the next value.
func (w *Walker) Element() []byte {
	n := valueBytes(w.rest)
	value := w.rest[:n:n]
	w.rest = w.rest[n:]
	return value
}

func (w *Walker) space() { w.rest = w.rest[leadingSpace(w.rest):] }

func leadingSpace(p []byte) (n int) {
	for n < len(p) && (p[n] == ' ' || p[n] == '\t' || p[n] == '\n' || p[n] == '\r') {
		n++
	}
	return n
}

// IsObject reports whether p is one JSON object. White space may surround it.
func IsObject(p []byte) bool {
	n := leadingSpace(p)
	return n < len(p) && p[n] == '{' && json.Valid(p)
}

// valueBytes returns the length of the value that p begins with.
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

// stringBytes returns the length of the string, quotes included, that p begins
// with.
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

// Depth returns how deep p nests objects and arrays: 0 for a number or a text. p
// need not be JSON; the result means nothing then.
func Depth(p []byte) (most int) {
	depth, quoted := 0, false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			most = max(most, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return most
}

// Kind names the type of a value in error texts.
func Kind(value []byte) string {
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

// IsNull reports whether a value is null.
func IsNull(value []byte) bool { return value[0] == 'n' }

// Text returns the text that a value is. One without escapes is a part of the
// value. Halves of surrogate pairs are refused: they would become U+FFFD, and two
// names could be one.
func Text(value []byte) ([]byte, error) {
	if value[0] != '"' {
		return nil, fmt.Errorf("is %s: want a string", Kind(value))
	}
	plain := value[1 : len(value)-1]
	if bytes.IndexByte(plain, '\\') < 0 {
		if !utf8.Valid(plain) {
			return nil, errors.New("is not valid UTF-8")
		}
		return plain, nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, err
	}
	if strings.Count(s, "\uFFFD") != bytes.Count(plain, []byte("\uFFFD"))+countEscaped(plain, "fffd") {
		return nil, errors.New("has an escape that is half of a surrogate pair, or is not valid UTF-8")
	}
	return []byte(s), nil
}

// countEscaped counts the escapes \uHEX in what stands between the quotes of a
// string.
func countEscaped(plain []byte, hex string) (n int) {
	for i := 0; i+5 < len(plain); i++ {
		if plain[i] == '\\' {
			if i++; plain[i] == 'u' && i+5 <= len(plain) && strings.EqualFold(string(plain[i+1:i+5]), hex) {
				n++
			}
		}
	}
	return n
}
