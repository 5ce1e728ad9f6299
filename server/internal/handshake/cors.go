package handshake

import (
	"net/http"
	"strconv"
)

// Requests by which pages use the fallbacks of WebSocket. To those browsers do apply
// the same-origin rule: a page of another origin reads a response only if that says
// so (https://fetch.spec.whatwg.org/#http-cors-protocol). The same policy decides.

// CheckOrigin returns the header lines with which a page may read the response to r,
// none if it comes from no page, or ErrOrigin. With credentials the page may use the
// user's cookies. The lines are appended to dst.
func CheckOrigin(dst []byte, r *Request, p *OriginPolicy, credentials bool) (lines []byte, err error) {
	dst = append(dst, "Vary: Origin\r\n"...)
	origin := r.Get("Origin")
	switch {
	case origin == nil || !fromWebPage(origin):
		return dst, nil
	case r.Count("Origin") > 1:
		return dst, errManyOrigins
	case !p.Allows(origin, r.Host):
		return dst, ErrOrigin
	}
	dst = append(append(append(dst, "Access-Control-Allow-Origin: "...), origin...), "\r\n"...)
	if credentials {
		dst = append(dst, "Access-Control-Allow-Credentials: true\r\n"...)
	}
	return append(dst, "Access-Control-Expose-Headers: Last-Event-ID, Retry-After\r\n"...), nil
}

// AppendPreflight appends the response to the question, OPTIONS, whether a page may
// send one of these methods. lines are what CheckOrigin returned.
func AppendPreflight(dst, lines []byte, methods string, env Envelope) []byte {
	dst = append(dst, "HTTP/1.1 204 No Content\r\nConnection: close\r\nAllow: "...)
	dst = append(append(dst, methods...), "\r\nAccess-Control-Allow-Methods: "...)
	dst = append(append(dst, methods...), "\r\nAccess-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\r\nAccess-Control-Max-Age: 7200\r\n"...)
	return append(append(appendDate(dst, env.Date), lines...), "\r\n"...)
}

// ErrMethod returns the refusal of a method where only those listed are served.
func ErrMethod(methods string) *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Reason: "this address is for other methods", Advice: "Send one of " + methods + ".",
		Header: []Header{{"Allow", methods}}}
}

// AppendJSON appends the head of a response whose content is JSON of this length; the
// connection ends behind it. lines are what CheckOrigin returned.
func AppendJSON(dst, lines []byte, length int, env Envelope) []byte {
	dst = append(dst, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"...)
	dst = append(appendDate(dst, env.Date), lines...)
	return append(strconv.AppendInt(append(dst, "Content-Length: "...), int64(length), 10), "\r\n\r\n"...)
}

// AppendEventStream appends the head of an event stream, which ends with its
// connection: its blocks delimit themselves. A proxy must neither gather nor compress
// them. lines are what CheckOrigin returned, extra the application's.
func AppendEventStream(dst, lines []byte, extra []Header, env Envelope) ([]byte, error) {
	for _, h := range extra {
		if err := CheckHeader(h); err != nil {
			return dst, err
		}
	}
	dst = append(dst, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n"...)
	dst = append(appendDate(dst, env.Date), lines...)
	for _, h := range extra {
		dst = appendHeader(dst, h)
	}
	return append(dst, "\r\n"...), nil
}
