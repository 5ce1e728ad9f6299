package handshake

import (
	"unsafe"

	"github.com/roostws/roost/frame"
)

// A Policy is what the server wants of clients that connect. It is not changed by
// Upgrade: any number of loops may share one.
type Policy struct {
	// Origins are the web pages that may connect. The zero value allows those
	// of the same host.
	Origins OriginPolicy
	// Subprotocols are the names that the server speaks, in any order: the
	// client's order decides. A client that offers only others is connected
	// without, as RFC 6455 section 4.2.2 has it, and may then hang up.
	Subprotocols []string
	// Negotiate decides on an offer of extensions: the value of one
	// Sec-WebSocket-Extensions header as sent (commas, parameters and all),
	// valid until it returns. The first result that is not empty becomes the
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

// IsUpgrade reports whether the request asks for a WebSocket. Otherwise it is a
// plain HTTP request, as with HTTP/1.0, in which Upgrade is to be ignored (RFC
// 9110 section 7.8). Upgrade decides whether it asks well.
func IsUpgrade(r *Request) bool { return r.Minor > 0 && r.HasToken("Upgrade", "websocket") }

// RefusePlain returns the refusal of a plain HTTP request where only WebSockets
// are served. A request for a WebSocket in HTTP/1.0 has one of its own.
func RefusePlain(r *Request) error {
	if r.HasToken("Upgrade", "websocket") {
		return errUpgradeVersion
	}
	return ErrUpgradeRequired
}

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
	origin                []byte // nil unless a web page sends it
	websocket, connection bool
	// version: the header says 13. hasX: the header was there.
	version, hasVersion, hasKey, hasOrigin, hasExtensions bool
	extensions                                            int
	fault                                                 *Error // the first of a header line
}

func (u *upgrade) check(r *Request, p *Policy) *Error {
	for i := range r.fields[:r.count] {
		if e := u.note(&r.fields[i], p); e != nil && u.fault == nil {
			u.fault = e
		}
	}
	// Ordered by what helps the client most: is this meant to be a WebSocket
	// at all, does it arrive whole, is it right, is it allowed. Nothing can be
	// said of the other headers of another version (RFC 6455 section 4.2.2).
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
	case !u.version && u.fault != errManyWSVersions:
		return errWSVersion
	case u.fault != nil:
		return u.fault
	case !u.connection:
		return errNoConnection
	case !u.hasKey:
		return errNoKey
	case u.hasExtensions && u.extensions == 0:
		return errExtensions
	case u.origin != nil && !p.Origins.Allows(u.origin, r.Host):
		return ErrOrigin
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
	case f.Is("Sec-WebSocket-Extensions"):
		// A view, not a copy: nothing of it is kept.
		n, err := frame.CheckExtensions(unsafe.String(unsafe.SliceData(f.Value), len(f.Value)))
		if err != nil {
			return errExtensions
		}
		u.hasExtensions = true
		u.extensions += n
	case f.Is("Origin"):
		if u.hasOrigin {
			return errManyOrigins
		}
		u.hasOrigin = true
		if fromWebPage(f.Value) {
			u.origin = f.Value
		}
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
// The list may be spread over several headers (section 11.3.4). One without a
// value says as much as none; commas without names (1#token) are malformed.
func (u *upgrade) selectSubprotocol(list []byte, p *Policy) *Error {
	names := 0
	if len(list) == 0 {
		return nil
	}
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

// validKey: base64 of 16 bytes, which is 22 characters and padding. Four bits of
// the last one are unused. They should be zero (RFC 4648 section 3.5), but are
// not in RFC 6455's own example (section 4.1) nor with clients that draw 22
// characters; no server needs to decode the key (section 4.2.2).
func validKey(p []byte) bool {
	return len(p) == keyBytes && outside(p, classBase64) == 22 && p[22] == '=' && p[23] == '='
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
