package handshake

// A Policy is what the server wants of those who connect. It is not changed by
// Upgrade: any number of loops may share one.
type Policy struct {
	// Origins are the web pages that may connect. The zero value allows those
	// of the same host.
	Origins OriginPolicy
	// Subprotocols are the names that the server speaks, in any order: the
	// client's order decides. A client that offers only others is connected
	// without, as RFC 6455 section 4.2.2 has it, and may then hang up.
	Subprotocols []string
	// Negotiate answers an offer of extensions: the value of one
	// Sec-WebSocket-Extensions header as sent (commas, parameters and all),
	// valid until it returns. The first answer that is not empty becomes the
	// response's header value: an offer in several headers is one list,
	// most wanted first. The last header line that Upgrade looks at: when it
	// runs, all else is in order. If nil, no extension is agreed on.
	Negotiate func(offers []byte) (response string)
}

// A Result is what a valid request agreed on. It holds nothing of the head.
type Result struct {
	// Subprotocol is one of the Policy's, or empty.
	Subprotocol string
	// Extensions is what Negotiate answered.
	Extensions string

	key [keyBytes]byte
}

// keyBytes is the length of 16 bytes in base64.
const keyBytes = 24

// IsUpgrade tells if the request asks for a WebSocket. If not, it is a plain
// HTTP request. If so, Upgrade tells whether it does it well.
func IsUpgrade(r *Request) bool { return r.HasToken("Upgrade", "websocket") }

// Upgrade checks a parsed request against RFC 6455 section 4.2.1 and the
// policy, and settles what section 4.2.2 leaves to the server. Errors are
// *Error.
func Upgrade(r *Request, p *Policy) (Result, error) {
	var u upgrade
	if e := u.check(r, p); e != nil {
		return Result{}, e
	}
	return u.Result, nil
}

// upgrade gathers what one pass over the header lines finds.
type upgrade struct {
	Result
	origin                                 []byte
	websocket, connection                  bool
	hasKey, hasVersion, hasOrigin, version bool
}

func (u *upgrade) check(r *Request, p *Policy) *Error {
	for i := range r.fields[:r.count] {
		if e := u.note(&r.fields[i], p); e != nil {
			return e
		}
	}
	// Ordered by what helps the client most: is this meant to be a WebSocket
	// at all, does it arrive whole, is it right, is it allowed.
	switch {
	case !u.websocket:
		return ErrUpgradeRequired
	case string(r.Method) != "GET":
		return errUpgradeMethod
	case r.Minor == 0:
		return errUpgradeVersion
	case len(r.Host) == 0:
		return errEmptyHost
	case r.BodyBytes != 0:
		return errUpgradeBody
	case !u.connection:
		return errNoConnection
	case !u.version:
		return errWSVersion
	case !u.hasKey:
		return errNoKey
	case u.hasOrigin && !p.Origins.Allows(u.origin, r.Host):
		return errOrigin
	}
	return u.negotiate(r, p)
}

func (u *upgrade) note(f *Field, p *Policy) *Error {
	switch {
	case f.Is("Upgrade"):
		u.websocket = u.websocket || listHas(f.Value, "websocket")
	case f.Is("Connection"):
		// One list, possibly over several lines: RFC 9110 section 5.3.
		return u.noteConnection(f.Value)
	case f.Is("Sec-WebSocket-Version"):
		if u.hasVersion {
			return errManyWSVersions
		}
		u.hasVersion = true
		u.version = string(f.Value) == "13"
	case f.Is("Sec-WebSocket-Key"):
		if u.hasKey {
			return errManyKeys
		}
		u.hasKey = true
		if !validKey(f.Value) {
			return errKey
		}
		copy(u.key[:], f.Value)
	case f.Is("Sec-WebSocket-Protocol"):
		return u.selectSubprotocol(f.Value, p)
	case f.Is("Origin"):
		if u.hasOrigin {
			return errManyOrigins
		}
		u.hasOrigin = true
		u.origin = f.Value
	}
	return nil
}

func (u *upgrade) noteConnection(list []byte) *Error {
	for len(list) > 0 {
		var option []byte
		option, list = nextItem(list)
		if outside(option, classToken) < len(option) {
			return errConnection
		}
		u.connection = u.connection || equalFold(option, "upgrade")
	}
	return nil
}

// selectSubprotocol takes the first of the client's names that the server
// speaks. Names are compared exactly (RFC 6455 section 11.5 has no other way).
// The list may be spread over several headers (section 11.3.4), none of which
// is empty: 1#token.
func (u *upgrade) selectSubprotocol(list []byte, p *Policy) *Error {
	names := 0
	for len(list) > 0 {
		var name []byte
		name, list = nextItem(list)
		if outside(name, classToken) < len(name) {
			return errSubprotocol
		}
		if len(name) == 0 {
			continue
		}
		names++
		for _, s := range p.Subprotocols {
			if u.Subprotocol == "" && s == string(name) {
				u.Subprotocol = s
			}
		}
	}
	if names == 0 {
		return errSubprotocol
	}
	return nil
}

// validKey: base64 of 16 bytes, the unused bits of its last character zero.
// 16 bytes are 21 characters, one that carries 2 bits, and padding.
func validKey(p []byte) bool {
	if len(p) != keyBytes || outside(p, classBase64) != 22 || p[22] != '=' || p[23] != '=' {
		return false
	}
	c := p[21]
	return c == 'A' || c == 'Q' || c == 'g' || c == 'w'
}

func (u *upgrade) negotiate(r *Request, p *Policy) *Error {
	if p.Negotiate == nil {
		return nil
	}
	for i := range r.fields[:r.count] {
		f := &r.fields[i]
		if !f.Is("Sec-WebSocket-Extensions") {
			continue
		}
		if u.Extensions = p.Negotiate(f.Value); u.Extensions != "" {
			break
		}
	}
	if !validValue(u.Extensions) {
		return errExtensionReply
	}
	return nil
}
