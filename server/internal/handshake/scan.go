package handshake

import "bytes"

// DefaultMaxHeadBytes bounds a request head, blank line included. Browsers send
// 500 to 1,000 bytes; what makes a head long is cookies, which browsers bound
// at 4 KiB each. A caller that has this many bytes and no HeadEnd answers
// ErrHeadTooLarge.
const DefaultMaxHeadBytes = 8 << 10

// HeadEnd returns the index just behind the blank line that ends the request
// head in p, or 0 if the head is not complete. from is how many bytes of p an
// earlier call has already searched (its len(p)); 0 the first time. So a head
// that comes one byte at a time is still read once.
//
// A line that ends with a bare LF counts as a line here, so that Parse can
// refuse it at once; a client that waits for a CR that never comes would see a
// timeout instead of the reason.
func HeadEnd(p []byte, from int) int {
	// The longest ending is LF CR LF: two of its bytes may have been searched.
	for i := max(from-2, 0); ; {
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		switch {
		case i < len(p) && p[i] == '\n':
			return i + 1
		case i+1 < len(p) && p[i] == '\r' && p[i+1] == '\n':
			return i + 2
		}
	}
}

// CheckStart refuses first bytes that cannot begin an HTTP request, such as a
// TLS client hello, which may never contain a blank line. It is worth calling
// once, when the first bytes of an incomplete head are there. p may be empty.
func CheckStart(p []byte) error {
	switch {
	case len(p) == 0 || p[0] == '\r' || p[0] == '\n' || isToken(p[0]):
		return nil
	case p[0] == 0x16: // TLS: ContentType handshake.
		return errTLS
	}
	return errNotHTTP
}
