// Package handshake reads the HTTP/1.1 request head that opens a WebSocket and
// writes the response: functions on byte slices, without I/O, clock,
// goroutine or, on the path of a connection that is accepted, allocation.
//
// The event loop calls them in this order, with its own read buffer:
//
//	n := HeadEnd(p, searched)          // 0: wait for more, up to a limit; beyond it err = TooLong(p)
//	err := Parse(p[:n], &req)          // one Request per loop, used again and again
//	if !IsUpgrade(&req) { … }          // a plain HTTP request, or err = RefusePlain(&req)
//	res, err := Upgrade(&req, &policy) // RFC 6455 section 4.2, Origin, subprotocol
//	out, err = AppendResponse(out, &res, extra, date)
//	out = AppendError(out, err, env)   // instead, wherever err is not nil
//
// What stands where:
//
//	scan.go        end of the head, first bytes that cannot be HTTP, heads that are too long
//	parse.go       RFC 9112: request line, header lines, framing of a body
//	target.go      the request target's three forms, the Host header
//	request.go     Request: what Parse found, as slices into the head
//	clone.go       a Request that outlives its head
//	chars.go       character classes, comparison without regard to case
//	upgrade.go     RFC 6455 section 4.2.1: what a WebSocket request must have
//	origin.go      which web pages may connect
//	response.go    the 101 response, header lines from the application
//	date.go        the Date header, and what else a response has beside its content
//	errors.go      refusals and their HTTP responses
//	clientaddr.go  the client's address behind trusted proxies
//
// Parsing is strict where two readers of one head could disagree (that is how
// requests are smuggled past a proxy), and each refusal says what was wrong and
// what to do. docs/decisions/0003-upgrade-parser.md says why this is not
// gobwas/ws's Upgrader, which the tests use as the oracle.
package handshake
