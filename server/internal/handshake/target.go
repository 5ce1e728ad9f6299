package handshake

import "bytes"

// splitTarget finds path and query. RFC 9112 section 3.2 knows four forms:
// origin-form (/path?query), absolute-form (http://host/path?query), which a
// server must take too, authority-form, for CONNECT only, and * for OPTIONS.
func (r *Request) splitTarget() *Error {
	t := r.Target
	switch {
	case string(r.Method) == "CONNECT":
		return errConnect
	case t[0] == '/':
	case len(t) == 1 && t[0] == '*':
		if string(r.Method) != "OPTIONS" {
			return errTarget
		}
		r.Path = t
		return nil
	default:
		var authority []byte
		var ok bool
		if authority, t, ok = cutAuthority(t); !ok {
			return errTarget
		}
		// Section 3.2.2: the target's host replaces the Host header, whatever
		// that says.
		r.Host = authority
	}
	r.Path = t
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		r.Path, r.RawQuery = t[:i], t[i+1:]
	}
	if len(r.Path) == 0 { // http://host, http://host?query
		r.Path = rootPath
	}
	return checkPercent(r.Path)
}

var rootPath = []byte("/")

// cutAuthority splits http://host:port/path?query before the path. ws and wss
// are what a client has in its URL (RFC 6455 section 3).
func cutAuthority(t []byte) (authority, rest []byte, ok bool) {
	i := bytes.IndexByte(t, ':')
	if i < 0 || defaultPort(t[:i]) == "" || !bytes.HasPrefix(t[i:], []byte("://")) {
		return nil, nil, false
	}
	t = t[i+len("://"):]
	i = bytes.IndexAny(t, "/?")
	if i < 0 {
		i = len(t)
	}
	authority, rest = t[:i], t[i:]
	return authority, rest, len(authority) > 0 && validHost(authority)
}

// checkPercent: in a path, % is followed by two hexadecimal digits which are
// not 00: nothing is named with a NUL, and what reads C strings stops there.
// (The query is the application's business; browsers leave it as typed.)
func checkPercent(path []byte) *Error {
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return nil
		}
		path = path[i+1:]
		switch {
		case len(path) < 2 || outside(path[:2], classHex) < 2:
			return errPercent
		case path[0] == '0' && path[1] == '0':
			return errPercentNUL
		}
	}
}

// validHost: RFC 9110 section 7.2, uri-host [ ":" port ], where the host is a
// name of letters, digits and -._~ or an address. RFC 3986 would allow more in
// a name (sub-delims, percent-encoding): no name on the net has it. Empty is
// legal, for targets that have no authority.
func validHost(p []byte) bool {
	host, port := splitPort(p)
	if len(port) > 5 {
		return false
	}
	if n, ok := parseLength(port); len(port) > 0 && (!ok || n > 65535) {
		return false
	}
	if len(host) > 0 && host[0] == '[' {
		return len(host) > 3 && host[len(host)-1] == ']' && validIPv6(host[1:len(host)-1])
	}
	if len(host) == 0 {
		return len(p) == 0
	}
	return outside(host, classHost) == len(host)
}

// validIPv6 is about the characters only: the text is compared, never resolved.
func validIPv6(p []byte) bool {
	for _, c := range p {
		if c != ':' && c != '.' && classes[c]&classHex == 0 {
			return false
		}
	}
	return true
}

// splitPort cuts host:port at the colon that is not inside brackets; port is
// empty where there is none.
func splitPort(p []byte) (host, port []byte) {
	i := bytes.LastIndexByte(p, ':')
	if i < 0 || bytes.IndexByte(p[i:], ']') >= 0 {
		return p, nil
	}
	return p[:i], p[i+1:]
}
