package handshake

import "bytes"

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

// TooLong returns the refusal of a head that does not end within as many bytes
// as are allowed, which p are: of the target if not even the request line ends
// there (RFC 9112 section 3), of the headers otherwise.
func TooLong(p []byte) error {
	if bytes.IndexByte(bytes.TrimPrefix(p, crlf), '\n') < 0 {
		return errTargetTooLong
	}
	return ErrHeadTooLarge
}

// IsHEAD reports whether p, the beginning of a request, says HEAD: its response
// has no content, whatever else is wrong with it (RFC 9110 section 9.3.2).
func IsHEAD(p []byte) bool { return bytes.HasPrefix(bytes.TrimPrefix(p, crlf), headMethod) }

var crlf, headMethod = []byte("\r\n"), []byte("HEAD ")

// CheckStart refuses first bytes that cannot begin an HTTP request, such as a
// TLS client hello, which may never contain a blank line. It is worth calling
// once, when the first bytes of an incomplete head are there. p may be empty.
func CheckStart(p []byte) error {
	switch {
	case len(p) == 0 || p[0] == '\r' || p[0] == '\n' || isToken(p[0]):
		return nil
	case p[0] == 0x16: // TLS: ContentType handshake.
		return ErrTLS
	}
	return errNotHTTP
}
