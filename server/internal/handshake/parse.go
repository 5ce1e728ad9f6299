package handshake

import "bytes"

// Parse reads a request head, from its first byte to the blank line that
// HeadEnd found, into r. Errors are *Error, and r must not be used then.
//
// It is RFC 9112 without the latitude that the RFC leaves to recipients: what
// a proxy in front may have read differently is refused, not repaired.
func Parse(head []byte, r *Request) error {
	r.reset()
	if e := r.parse(head); e != nil {
		return e
	}
	return nil
}

// reset leaves the old fields where they are: clearing 4.8 KB would cost more
// than the parsing.
func (r *Request) reset() {
	r.Method, r.Target, r.Path, r.RawQuery, r.Host = nil, nil, nil, nil, nil
	r.Minor, r.BodyBytes, r.count = 0, 0, 0
}

func (r *Request) parse(head []byte) *Error {
	line, rest, e := cutLine(head)
	if e != nil {
		return e
	}
	if len(line) == 0 {
		// Section 2.2: at least one empty line before the request is ignored.
		if line, rest, e = cutLine(rest); e != nil {
			return e
		}
		if len(line) == 0 {
			return errBlankLines
		}
	}
	if e := r.parseRequestLine(line); e != nil {
		return e
	}
	var seen framing
	for {
		if line, rest, e = cutLine(rest); e != nil {
			return e
		}
		if len(line) == 0 {
			break
		}
		f, e := r.parseField(line)
		if e != nil {
			return e
		}
		if e := seen.note(r, f); e != nil {
			return e
		}
	}
	if len(rest) > 0 {
		return errBehindHead
	}
	if e := seen.check(r); e != nil {
		return e
	}
	return r.splitTarget()
}

// cutLine takes the first line off p, without its CR LF.
func cutLine(p []byte) (line, rest []byte, e *Error) {
	i := bytes.IndexByte(p, '\n')
	switch {
	case i < 0:
		return nil, nil, errIncomplete
	case i == 0 || p[i-1] != '\r':
		return nil, nil, errBareLF
	}
	return p[:i-1], p[i+1:], nil
}

// parseRequestLine: section 3, method SP request-target SP HTTP-version, with
// exactly these two spaces.
func (r *Request) parseRequestLine(line []byte) *Error {
	i := outside(line, classToken)
	if i == len(line) || line[i] != ' ' || i == 0 {
		return controlOr(line, i, errMethod)
	}
	r.Method, line = line[:i], line[i+1:]
	i = outside(line, classTarget)
	if i == len(line) || line[i] != ' ' || i == 0 {
		return controlOr(line, i, errTarget)
	}
	r.Target, line = line[:i], line[i+1:]

	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	switch {
	case len(line) != len("HTTP/1.1") || string(line[:5]) != "HTTP/" ||
		!digit(line[5]) || line[6] != '.' || !digit(line[7]):
		return controlOr(line, outside(line, classValue), errVersion)
	case line[5] != '1':
		return errHTTPVersion
	}
	r.Minor = int(line[7] - '0')
	return nil
}

// parseField: section 5, field-name ":" OWS field-value OWS.
func (r *Request) parseField(line []byte) (*Field, *Error) {
	i := outside(line, classToken)
	if i == len(line) {
		return nil, errNoColon
	}
	switch c := line[i]; {
	case i == 0 && (c == ' ' || c == '\t'):
		return nil, errFold
	case i == 0 && c == ':':
		return nil, errEmptyName
	case c == ' ' || c == '\t':
		return nil, errSpaceInName
	case c != ':':
		return nil, controlOr(line, i, errName)
	}
	value := line[i+1:]
	if j := outside(value, classValue); j < len(value) {
		return nil, controlOr(value, j, errControl)
	}
	if r.count == MaxFields {
		return nil, errTooManyFields
	}
	f := &r.fields[r.count]
	f.Name, f.Value = line[:i], trimOWS(value)
	r.count++
	return f, nil
}

// controlOr names the control character at line[i], where it is one that hides
// an attack; otherwise it returns e.
func controlOr(line []byte, i int, e *Error) *Error {
	if i < len(line) {
		switch line[i] {
		case 0:
			return errNUL
		case '\r':
			return errBareCR
		}
	}
	return e
}

// framing is which of the headers that decide where a request ends, and for
// whom it is, have been seen.
type framing struct{ host, length, encoding bool }

func (s *framing) note(r *Request, f *Field) *Error {
	switch {
	case f.Is("Host"):
		if s.host {
			return errManyHosts
		}
		s.host = true
		if !validHost(f.Value) {
			return errHost
		}
		r.Host = f.Value
	case f.Is("Content-Length"):
		// Section 6.3 lets a recipient take equal duplicates. It need not.
		if s.length {
			return errManyLengths
		}
		s.length = true
		n, ok := parseLength(f.Value)
		if !ok {
			return errLength
		}
		r.BodyBytes = n
	case f.Is("Transfer-Encoding"):
		if s.encoding {
			return errManyEncodings
		}
		s.encoding = true
		if !equalFold(f.Value, "chunked") {
			return errEncoding
		}
	}
	return nil
}

func (s *framing) check(r *Request) *Error {
	switch {
	case s.length && s.encoding:
		return errLengthAndEncoding
	case s.encoding && r.Minor == 0:
		return errEncodingIn10
	case !s.host && r.Minor > 0:
		return errNoHost
	}
	if s.encoding {
		r.BodyBytes = BodyChunked
	}
	return nil
}

// parseLength reads 1*DIGIT. 18 digits cannot overflow.
func parseLength(p []byte) (n int64, ok bool) {
	if len(p) == 0 || len(p) > 18 {
		return 0, false
	}
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
