package jsonx

import (
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"
)

// Base64 is the encoding that AppendData names for binary data.
const Base64 = "base64"

// AppendData appends a message as clients and the publish API see it: a text that
// is JSON as it is, any other text as a JSON string, and binary data as a string
// in base64, for which encoding is Base64.
func AppendData(dst, payload []byte, binary bool) (b []byte, encoding string) {
	switch {
	case binary:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, payload)
		return append(dst, '"'), Base64
	case json.Valid(payload) && utf8.Valid(payload):
		return append(dst, payload...), ""
	}
	return AppendText(dst, payload), ""
}

const hexDigits = "0123456789abcdef"

// AppendText appends s as a JSON string. What is not UTF-8 in it becomes U+FFFD.
func AppendText[T ~string | ~[]byte](dst []byte, s T) []byte {
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
