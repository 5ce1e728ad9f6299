package frame

import "strings"

// An extension is one element of Sec-WebSocket-Extensions.
type extension struct {
	name   string
	params []extensionParam
}

// An extensionParam is "name" or "name=value".
type extensionParam struct {
	name, value string
	hasValue    bool
}

// parseExtensions reads the grammar of RFC 6455, section 9.1, with the list rule
// of RFC 2616, section 2.1 (elements may be empty). An empty header has no
// extensions.
func parseExtensions(header string) ([]extension, error) {
	s := extensionScanner{rest: header}
	var list []extension
	for {
		s.space()
		if s.take(',') {
			continue
		}
		if s.rest == "" {
			return list, nil
		}
		e, ok := s.extension()
		if !ok {
			return nil, ErrExtensionSyntax
		}
		list = append(list, e)
		if s.space(); s.rest != "" && !s.take(',') {
			return nil, ErrExtensionSyntax
		}
	}
}

// An extensionScanner walks over a header value.
type extensionScanner struct{ rest string }

func (s *extensionScanner) space() {
	s.rest = strings.TrimLeft(s.rest, " \t")
}

func (s *extensionScanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// token takes the longest token (RFC 2616, section 2.2).
func (s *extensionScanner) token() (string, bool) {
	n := 0
	for n < len(s.rest) && isTokenByte(s.rest[n]) {
		n++
	}
	token := s.rest[:n]
	s.rest = s.rest[n:]
	return token, n > 0
}

func isTokenByte(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, rune(c))
}

func (s *extensionScanner) extension() (e extension, ok bool) {
	if e.name, ok = s.token(); !ok {
		return e, false
	}
	for s.space(); s.take(';'); s.space() {
		s.space()
		var p extensionParam
		if p.name, ok = s.token(); !ok {
			return e, false
		}
		if s.space(); s.take('=') {
			s.space()
			p.hasValue = true
			if p.value, ok = s.value(); !ok {
				return e, false
			}
		}
		e.params = append(e.params, p)
	}
	return e, true
}

// value takes a token or a quoted string: "When using the quoted-string syntax
// variant, the value after quoted-string unescaping MUST conform to the 'token'
// ABNF".
func (s *extensionScanner) value() (string, bool) {
	if !s.take('"') {
		return s.token()
	}
	var value []byte
	for s.rest != "" && !s.take('"') {
		s.take('\\')
		if s.rest == "" || !isTokenByte(s.rest[0]) {
			return "", false
		}
		value = append(value, s.rest[0])
		s.rest = s.rest[1:]
		if s.rest == "" {
			return "", false // no closing quote
		}
	}
	return string(value), len(value) > 0
}
