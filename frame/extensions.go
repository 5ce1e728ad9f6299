package frame

import "strings"

// tokenBytes are the characters of a token (RFC 9110, section 5.6.2; RFC 2616,
// section 2.2, which RFC 6455 refers to, has the same).
var tokenBytes = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		t[c] = true
	}
	return t
}()

// IsToken reports whether s is a token: the form of a subprotocol, of an
// extension's name and of an HTTP header's name. The empty string is none.
func IsToken(s string) bool {
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

// CheckExtensions reads a value of Sec-WebSocket-Extensions and returns the
// number of extensions in it. A header in several lines is one list: a line may
// be empty, all of them together may not (RFC 6455, section 9.1). The only error
// is ErrExtensionSyntax, which fails the handshake. It keeps nothing of header.
func CheckExtensions(header string) (n int, err error) {
	s := extensionScanner{rest: header}
	for more := s.nextElement(); more; more = s.nextElement() {
		if _, ok := s.extension(nil); !ok || !s.endElement() {
			return 0, ErrExtensionSyntax
		}
		n++
	}
	return n, nil
}

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
	for s.nextElement() {
		var e extension
		var ok bool
		e.name, ok = s.extension(func(p extensionParam) { e.params = append(e.params, p) })
		if !ok || !s.endElement() {
			return nil, ErrExtensionSyntax
		}
		list = append(list, e)
	}
	return list, nil
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

// nextElement skips empty elements. It reports whether another one follows.
func (s *extensionScanner) nextElement() bool {
	for s.space(); s.take(','); s.space() {
	}
	return s.rest != ""
}

// endElement takes what stands between two elements.
func (s *extensionScanner) endElement() bool {
	s.space()
	return s.rest == "" || s.take(',')
}

// token takes the longest token.
func (s *extensionScanner) token() (string, bool) {
	n := 0
	for n < len(s.rest) && tokenBytes[s.rest[n]] {
		n++
	}
	token := s.rest[:n]
	s.rest = s.rest[n:]
	return token, n > 0
}

// extension takes one element and gives each of its parameters to param, which
// may be nil.
func (s *extensionScanner) extension(param func(extensionParam)) (name string, ok bool) {
	if name, ok = s.token(); !ok {
		return "", false
	}
	for s.space(); s.take(';'); s.space() {
		s.space()
		var p extensionParam
		if p.name, ok = s.token(); !ok {
			return "", false
		}
		if s.space(); s.take('=') {
			s.space()
			p.hasValue = true
			if p.value, ok = s.value(); !ok {
				return "", false
			}
		}
		if param != nil {
			param(p)
		}
	}
	return name, true
}

// value takes a token or a quoted string: "When using the quoted-string syntax
// variant, the value after quoted-string unescaping MUST conform to the 'token'
// ABNF".
func (s *extensionScanner) value() (string, bool) {
	if !s.take('"') {
		return s.token()
	}
	whole := s.rest
	var unescaped []byte // only if there is anything to unescape
	n := 0
	for s.rest != "" && !s.take('"') {
		if s.take('\\') && unescaped == nil {
			unescaped = append(make([]byte, 0, len(whole)), whole[:n]...)
		}
		if s.rest == "" || !tokenBytes[s.rest[0]] {
			return "", false
		}
		if unescaped != nil {
			unescaped = append(unescaped, s.rest[0])
		}
		n++
		s.rest = s.rest[1:]
		if s.rest == "" {
			return "", false // no closing quote
		}
	}
	if unescaped != nil {
		return string(unescaped), n > 0
	}
	return whole[:n], n > 0
}
