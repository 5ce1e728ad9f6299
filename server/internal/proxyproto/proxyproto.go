// Package proxyproto reads the PROXY protocol, versions 1 and 2: the line or
// block with which a TCP balancer (HAProxy, AWS NLB, nginx stream) names the
// client whose connection it passes on. Functions on byte slices; no I/O, no allocation.
//
// Use it only on a listener that the balancer alone can reach, or after checking
// the peer's address: a peer that may send the header may claim any address. Where it is expected it must come: a missing header is an error, as
// the specification wants it (section 2), for a server that guesses can be lied
// to.
//
// Specification: https://www.haproxy.org/download/3.1/doc/proxy-protocol.txt
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"
)

// A version 1 line has 107 bytes at most (section 2.1).
const maxLine = 107

// MaxParseBytes is how many bytes Parse needs at most. A version 2 header may
// be longer, up to 65,551 bytes: what follows its addresses are extensions
// (TLVs), of which none is used or has to be kept.
const MaxParseBytes = maxLine

// A Header is what the balancer says.
type Header struct {
	// Source is the client, Destination what it connected to. Both are the
	// zero AddrPort if the balancer names no IP addresses: the connection is
	// its own (Local), or came over a unix socket or something unknown. The
	// addresses of the socket hold then.
	Source, Destination netip.AddrPort
	// Local: the connection is the balancer's own, a health check.
	Local bool
}

// Errors of Parse. All of them mean: close the connection.
var (
	ErrNoHeader  = errors.New("proxyproto: the connection does not begin with a PROXY header")
	ErrMalformed = errors.New("proxyproto: malformed PROXY header")
	ErrTooLong   = errors.New("proxyproto: the PROXY line has no end")
	ErrVersion   = errors.New("proxyproto: unknown version, command or address family")
)

const (
	lineStart  = "PROXY "
	blockStart = "\r\n\r\n\x00\r\nQUIT\n"
)

// Parse reads the header at the beginning of p and returns the number of its
// bytes, n; the connection's own bytes follow. n may be greater than len(p): the
// bytes of the header that are still to come are extensions, for the caller to
// drop. With n 0 and no error p is only a beginning: call again with more. Parse
// returns as soon as it can know, and needs no more than MaxParseBytes.
func Parse(p []byte) (h Header, n int, err error) {
	switch {
	case hasStart(p, lineStart):
		if len(p) < len(lineStart) {
			return h, 0, nil
		}
		return parseLine(p)
	case hasStart(p, blockStart):
		if len(p) < blockFixed {
			return h, 0, checkFixed(p)
		}
		return parseBlock(p)
	}
	return h, 0, ErrNoHeader
}

// Begins reports whether p begins with a PROXY header, however that goes on.
func Begins(p []byte) bool {
	return len(p) >= len(lineStart) && (hasStart(p, lineStart) || len(p) >= len(blockStart) && hasStart(p, blockStart))
}

// hasStart reports whether p begins with s, as far as p goes.
func hasStart(p []byte, s string) bool {
	n := min(len(p), len(s))
	return string(p[:n]) == s[:n]
}

// parseLine: section 2.1, "PROXY TCP4 source destination port port CR LF".
func parseLine(p []byte) (h Header, n int, err error) {
	end := bytes.IndexByte(p[:min(len(p), maxLine)], '\n')
	switch {
	case end < 0 && len(p) >= maxLine:
		return h, 0, ErrTooLong
	case end < 0:
		return h, 0, nil
	case p[end-1] != '\r':
		return h, 0, ErrMalformed
	}
	// A view, not a copy: what is made from it (an error of netip's, too) does
	// not outlive this call.
	b := p[len(lineStart) : end-1]
	line := unsafe.String(unsafe.SliceData(b), len(b))
	n = end + 1
	var f [5]string
	if f[0], line = cut(line); f[0] == "UNKNOWN" {
		return h, n, nil // the rest of the line is to be ignored
	}
	for i := 1; i < len(f); i++ {
		f[i], line = cut(line)
	}
	if line != "" || f[0] != "TCP4" && f[0] != "TCP6" {
		return h, 0, ErrMalformed
	}
	v4 := f[0] == "TCP4"
	src, ok1 := parseAddr(f[1], f[3], v4)
	dst, ok2 := parseAddr(f[2], f[4], v4)
	if !ok1 || !ok2 {
		return h, 0, ErrMalformed
	}
	return Header{Source: src, Destination: dst}, n, nil
}

// cut splits at the first space. A space at the end leaves " ", which is no
// end: it does not pass for a complete line.
func cut(s string) (field, rest string) {
	for i := range len(s) {
		if s[i] == ' ' {
			if i+1 == len(s) {
				return s[:i], " "
			}
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func parseAddr(addr, port string, v4 bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, false
	}
	n, ok := parsePort(port)
	return netip.AddrPortFrom(a.Unmap(), n), ok
}

// parsePort: decimal, without leading zeros.
func parsePort(s string) (uint16, bool) {
	if s == "" || len(s) > 5 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return uint16(n), n <= 65535
}

// A version 2 block begins with 12 bytes of signature, version and command,
// family and transport, and the length of what follows: section 2.2.
const (
	atVersion  = 12
	atFamily   = 13
	atLength   = 14
	blockFixed = 16

	commandLocal = 0x20 // version 2, LOCAL
	commandProxy = 0x21 // version 2, PROXY

	familyInet  = 1
	familyInet6 = 2
	familyUnix  = 3

	inetBytes  = 4 + 4 + 2 + 2
	inet6Bytes = 16 + 16 + 2 + 2
	unixBytes  = 108 + 108
)

// checkFixed looks at version, command and family as soon as they are there.
func checkFixed(p []byte) error {
	if len(p) > atVersion && p[atVersion] != commandLocal && p[atVersion] != commandProxy {
		return ErrVersion
	}
	// Transport: 0 unspecified, 1 stream, 2 datagram (HTTP/3 passed on).
	if len(p) > atFamily && (p[atFamily]>>4 > familyUnix || p[atFamily]&0xf > 2) {
		return ErrVersion
	}
	return nil
}

func parseBlock(p []byte) (h Header, n int, err error) {
	if err := checkFixed(p); err != nil {
		return h, 0, err
	}
	n = blockFixed + int(binary.BigEndian.Uint16(p[atLength:]))
	if p[atVersion] == commandLocal {
		return Header{Local: true}, n, nil // addresses are to be ignored
	}
	// The addresses fit, or the block is wrong: known before they are there.
	family := p[atFamily] >> 4
	if n-blockFixed < addressBytes(family) {
		return h, 0, ErrMalformed
	}
	if family != familyUnix && len(p) < blockFixed+addressBytes(family) {
		return h, 0, nil
	}
	switch a := p[blockFixed:]; family {
	case familyInet:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[0:4])), binary.BigEndian.Uint16(a[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), binary.BigEndian.Uint16(a[10:]))
	case familyInet6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[0:16])).Unmap(), binary.BigEndian.Uint16(a[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[16:32])).Unmap(), binary.BigEndian.Uint16(a[34:]))
	}
	return h, n, nil
}

func addressBytes(family byte) int {
	switch family {
	case familyInet:
		return inetBytes
	case familyInet6:
		return inet6Bytes
	case familyUnix:
		return unixBytes
	}
	return 0 // AF_UNSPEC
}
