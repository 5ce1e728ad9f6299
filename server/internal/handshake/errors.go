package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// An Error is a refusal: an HTTP status, and what to say to the client. Those that
// this package returns are package variables, so refusing allocates nothing and
// Reason can label a counter. An application makes its own.
type Error struct {
	// Status is the HTTP status, 300 to 599.
	Status int
	// Reason says what was wrong, without a full stop.
	Reason string
	// Advice says what to do about it. May be empty.
	Advice string
	// JSON: Reason is a JSON document, and the content of the response, without Advice.
	JSON bool
	// RetryAfter asks the client to stay away that long. If zero, it is not
	// mentioned.
	RetryAfter time.Duration
	// Header are more header lines for the response. Those that CheckHeader
	// refuses are left out.
	Header []Header
}

// Error is the status and the reason.
func (e *Error) Error() string {
	return fmt.Sprintf("handshake: %d %s: %s", e.Status, http.StatusText(e.Status), e.Reason)
}

// Refusals that a caller finds out by itself, or tells apart.
var (
	// ErrTimeout: no complete head in time.
	ErrTimeout = &Error{Status: http.StatusRequestTimeout,
		Reason: "the request head did not come in time"}
	// ErrTLS: TLS where plain HTTP is spoken. CheckStart returns it.
	ErrTLS = bad("this is TLS, and the port takes plain HTTP", "Connect with ws:// or http://, or to the TLS port.")
	// ErrProxyHeader: a PROXY header from an address that is not trusted with one.
	ErrProxyHeader = bad("the connection begins with a PROXY header, and its address is not one that may send it",
		"Tell the server to take PROXY headers from the balancer's address (--proxy-protocol), or the balancer not to send them.")
	// ErrBodyTooLarge: the request's body is longer than it may be.
	ErrBodyTooLarge = &Error{Status: http.StatusRequestEntityTooLarge, Reason: "the request body is too large"}
	// ErrPlainHTTP: plain HTTP where TLS is spoken.
	ErrPlainHTTP = bad("this is plain HTTP, and the port takes TLS", "Connect with wss:// or https://.")
	// ErrUpgradeRequired: a plain HTTP request where only WebSockets are served.
	ErrUpgradeRequired = &Error{Status: http.StatusUpgradeRequired,
		Reason: "this address serves WebSockets, and the request did not ask for one",
		Advice: "Connect with ws:// or wss://. If you did, a proxy in between has dropped the Upgrade header."}
)

func bad(reason, advice string) *Error {
	return &Error{Status: http.StatusBadRequest, Reason: reason, Advice: advice}
}

// What CheckStart, TooLong and Parse refuse.
var (
	errTargetTooLong = &Error{Status: http.StatusRequestURITooLong,
		Reason: "the request target is too long", Advice: "Send a shorter path and query."}
	// ErrHeadTooLarge: no end of the head within the limit, but of the request line.
	ErrHeadTooLarge = &Error{Status: http.StatusRequestHeaderFieldsTooLarge,
		Reason: "the request head is too long",
		Advice: "Send fewer or shorter headers; cookies are the usual cause. The server's limit is HandshakeMaxBytes (--handshake-max-bytes)."}
	errNotHTTP = bad("this is not HTTP", "Send an HTTP/1.1 request.")

	errIncomplete = bad("the request head has no end", "End it with an empty line.")
	errBehindHead = bad("there are bytes behind the request head", "")
	errBlankLines = bad("more than one empty line comes before the request", "")

	errBareLF  = bad("a line ends with LF alone", "End each line with CR LF.")
	errBareCR  = bad("a CR has no LF behind it", "Use CR only to end a line, with LF.")
	errNUL     = bad("there is a NUL in the head", "")
	errControl = bad("there is a control character in a header value", "")

	errMethod      = bad("the request line does not begin with a method and a space", "Begin with a line like: GET /ws HTTP/1.1")
	errTarget      = bad("the request target is malformed", "Send /path?query, percent-encoded ASCII, with one space before and behind, and without a #fragment.")
	errVersion     = bad("the request line does not end with an HTTP version", "End it with a space and HTTP/1.1.")
	errHTTPVersion = &Error{Status: http.StatusHTTPVersionNotSupported,
		Reason: "this port speaks HTTP/1.1 only", Advice: "Send the request as HTTP/1.1."}
	errConnect = &Error{Status: http.StatusMethodNotAllowed,
		Reason: "CONNECT is for proxies, and this is none", Advice: "Send GET with a path.",
		Header: allowGET}
	errPercent    = bad("a % in the path has no two hexadecimal digits behind it", "Write % as %25.")
	errPercentNUL = bad("there is an encoded NUL in the path", "Leave %00 out.")

	errFold          = bad("a header line begins with white space", "Send each header in one line; folding is obsolete.")
	errNoColon       = bad("a header line has no colon", "Send Name: value.")
	errEmptyName     = bad("a header line has no name", "Send Name: value.")
	errSpaceInName   = bad("there is white space in a header's name or before its colon", "Put the colon right behind the name.")
	errName          = bad("there is a forbidden character in a header's name", "Use letters, digits and hyphens.")
	errTooManyFields = &Error{Status: http.StatusRequestHeaderFieldsTooLarge,
		Reason: "there are more than " + strconv.Itoa(MaxFields) + " headers", Advice: "Send fewer."}

	errNoHost    = bad("the Host header is missing", "Send it; HTTP/1.1 demands it.")
	errManyHosts = bad("the Host header comes more than once", "Send it once.")
	errHost      = bad("the Host header is malformed", "Send name:port, or name.")

	errLength            = bad("the Content-Length is not a number", "")
	errManyLengths       = bad("the Content-Length comes more than once", "Send it once.")
	errManyEncodings     = bad("the Transfer-Encoding comes more than once", "Send it once.")
	errLengthAndEncoding = bad("Content-Length and Transfer-Encoding come together", "Send one of them.")
	errEncodingIn10      = bad("HTTP/1.0 has no Transfer-Encoding", "Send Content-Length.")
	errEncoding          = &Error{Status: http.StatusNotImplemented,
		Reason: "this Transfer-Encoding is not supported", Advice: "Send chunked, or Content-Length."}
)

// What Upgrade refuses.
var (
	errUpgradeMethod = &Error{Status: http.StatusMethodNotAllowed,
		Reason: "a WebSocket begins with GET", Header: allowGET}
	errUpgradeVersion = &Error{Status: http.StatusUpgradeRequired,
		Reason: "a WebSocket begins with HTTP/1.1, and this was HTTP/1.0",
		Advice: "A proxy in between may need to be told (nginx: proxy_http_version 1.1)."}
	errEmptyHost    = bad("the Host header is empty", "Send the server's name and port.")
	errUpgradeBody  = bad("a WebSocket request has no body", "Leave Content-Length and Transfer-Encoding out.")
	errNoConnection = bad("the Connection header does not list upgrade",
		"Send Connection: Upgrade. If you did, a proxy in between has dropped it (nginx: proxy_set_header Connection \"upgrade\").")
	errConnection = bad("the Connection header is malformed", "Send Connection: Upgrade.")
	errWSVersion  = &Error{Status: http.StatusUpgradeRequired,
		Reason: "Sec-WebSocket-Version is not 13", Advice: "Send Sec-WebSocket-Version: 13."}
	errManyWSVersions = bad("Sec-WebSocket-Version comes more than once", "Send it once.")
	errNoKey          = bad("Sec-WebSocket-Key is missing", "Send 16 random bytes in base64.")
	errKey            = bad("Sec-WebSocket-Key is not 16 bytes in base64", "Send 22 characters of base64 and ==.")
	errManyKeys       = bad("Sec-WebSocket-Key comes more than once", "Send it once.")
	errSubprotocol    = bad("Sec-WebSocket-Protocol is malformed", "Send a comma-separated list of names.")
	errManyOrigins    = bad("the Origin header comes more than once", "Send it once.")
	errExtensions     = bad("Sec-WebSocket-Extensions is malformed", "Send permessage-deflate, or leave the header out.")
	// ErrOrigin: the policy does not allow the page's origin.
	ErrOrigin = &Error{Status: http.StatusForbidden,
		Reason: "web pages of this origin may not connect",
		Advice: "If they should, add the Origin header's value to the server's allowed origins (--origins)."}
	errExtensionReply = &Error{Status: http.StatusInternalServerError,
		Reason: "the server's answer to the offered extensions is malformed"}
)

var allowGET = []Header{{"Allow", "GET"}}

// AppendError appends the complete HTTP response for err to dst; the connection
// closes behind it. An err that is no *Error becomes a 500 that does not give its
// text away.
func AppendError(dst []byte, err error, env Envelope) []byte {
	e, ok := err.(*Error)
	if !ok {
		e, _ = errors.AsType[*Error](err) // not at once: it allocates
	}
	if e == nil || e.Status < 300 || e.Status > 599 {
		e = errInternal
	}
	return appendRefusal(dst, e, env)
}

func appendRefusal(dst []byte, e *Error, env Envelope) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(e.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(e.Status)...)
	if e.Status == http.StatusUpgradeRequired {
		// RFC 9110 section 15.5.22: 426 names the protocol to upgrade to, and
		// section 7.8: a sender of Upgrade lists it in Connection. RFC 6455
		// section 4.4: and the versions.
		dst = append(dst, "\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"...)
	} else {
		dst = append(dst, "\r\nConnection: close\r\n"...)
	}
	dst = append(appendDate(dst, env.Date), env.Header...)
	if e.RetryAfter > 0 {
		dst = append(dst, "Retry-After: "...)
		dst = strconv.AppendInt(dst, ceilSeconds(e.RetryAfter), 10)
		dst = append(dst, "\r\n"...)
	}
	for _, h := range e.Header {
		if CheckHeader(h) == nil {
			dst = appendHeader(dst, h)
		}
	}
	if env.Unread {
		return append(dst, "Content-Length: 0\r\n\r\n"...)
	}
	if e.JSON {
		dst = append(dst, "Content-Type: application/json\r\nContent-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(e.Reason)), 10)
		if dst = append(dst, "\r\n\r\n"...); env.Head {
			return dst
		}
		return append(dst, e.Reason...)
	}
	// The length: reason, full stop, LF; advice, LF.
	n := len(e.Reason) + 2
	if e.Advice != "" {
		n += len(e.Advice) + 1
	}
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, "\r\n\r\n"...)
	if env.Head {
		return dst
	}
	dst = append(dst, e.Reason...)
	dst = append(dst, ".\n"...)
	if e.Advice != "" {
		dst = append(dst, e.Advice...)
		dst = append(dst, '\n')
	}
	return dst
}

var errInternal = &Error{Status: http.StatusInternalServerError, Reason: "something went wrong in the server"}

// Seconds are what Retry-After counts in. Rounding up keeps a herd from coming
// back early.
func ceilSeconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// AppendUnavailable appends the response to a client that finds no room at the
// moment: 503, come back after retryAfter (rounded up to seconds; at
// least one).
func AppendUnavailable(dst []byte, retryAfter time.Duration, env Envelope) []byte {
	return appendRefusal(dst, &Error{Status: http.StatusServiceUnavailable, RetryAfter: max(retryAfter, time.Second),
		Reason: "the server is full or stopping", Advice: "Come back after the seconds in Retry-After."}, env)
}

// AppendTooManyRequests appends the response to a client that comes too often:
// 429, come back after retryAfter (rounded up to seconds; at least one).
func AppendTooManyRequests(dst []byte, retryAfter time.Duration, env Envelope) []byte {
	return appendRefusal(dst, &Error{Status: http.StatusTooManyRequests, RetryAfter: max(retryAfter, time.Second),
		Reason: "too many connections in too short a time", Advice: "Come back after the seconds in Retry-After."}, env)
}

// AppendHealthy appends the response to a health check that finds the server
// well: 200.
func AppendHealthy(dst []byte, env Envelope) []byte {
	dst = append(dst, "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\n"...)
	dst = appendDate(dst, env.Date)
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\n"...)
	if env.Head {
		return dst
	}
	return append(dst, "ok\n"...)
}
