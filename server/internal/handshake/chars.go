package handshake

import (
	"bytes"

	"github.com/roostws/roost/frame"
)

// Character classes of RFC 9110, one bit each.
const (
	classToken  = 1 << iota // tchar, section 5.6.2
	classValue              // in a header value: VCHAR, obs-text, SP, HTAB, section 5.5
	classTarget             // in a request target: VCHAR but '#', which begins a fragment
	classHost               // in a host name, or between the brackets of an IPv6 address
	classBase64
	classHex
)

var classes = func() (t [256]byte) {
	set := func(class byte, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	const alnum = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	set(classHost, alnum+"-._~")
	set(classBase64, alnum+"+/")
	set(classHex, "0123456789ABCDEFabcdef")
	for c := range 256 {
		if frame.IsToken(string([]byte{byte(c)})) {
			t[c] |= classToken
		}
		if c >= 0x20 && c != 0x7f || c == '\t' {
			t[c] |= classValue
		}
		if c > 0x20 && c < 0x7f && c != '#' {
			t[c] |= classTarget
		}
	}
	return t
}()

func isToken(c byte) bool { return classes[c]&classToken != 0 }

// outside returns the index of the first byte of p that is not of the class,
// or len(p).
func outside[T string | []byte](p T, class byte) int {
	for i := range len(p) {
		if classes[p[i]]&class == 0 {
			return i
		}
	}
	return len(p)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// equalFold compares without regard to the case of ASCII letters, and of no
// others: bytes.EqualFold would take a Kelvin sign for a k.
func equalFold[P, S string | []byte](p P, s S) bool {
	if len(p) != len(s) {
		return false
	}
	for i := range len(p) {
		if p[i] != s[i] && lower(p[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

// trimOWS removes optional white space (RFC 9110 section 5.6.3) at both ends.
func trimOWS(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for n := len(p); n > 0 && (p[n-1] == ' ' || p[n-1] == '\t'); n-- {
		p = p[:n-1]
	}
	return p
}

// nextItem takes the first element off a comma-separated list. Empty elements
// are legal (RFC 9110 section 5.6.1.2) and come back as such.
func nextItem(list []byte) (item, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trimOWS(list[:i]), list[i+1:]
	}
	return trimOWS(list), nil
}
