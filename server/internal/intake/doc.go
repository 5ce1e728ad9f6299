// Package intake holds what a connection passes before it is open:
//
//	PROXY header ──► TLS handshake ──► request head ──► admission ──► open
//
// Each step is a type that knows no shard, so that a test needs no event loop. A
// shard drives them: it has the connections' rows, the deadlines and the sockets.
//
//	address.go  whose a connection is, and Limits by address
//	rates.go    how often an address may connect
//	refusals.go what a wrong setting refuses, for the log
//	admission.go  who comes in now, who waits, who comes back
//	places.go   how many connections may be in the middle of something
//	tls.go      TLS on an event loop
//	trim.go     what an idle TLS connection need not keep
//	carrier.go  taking the socket from below a TLS connection of net/http
//
// Except where noted, a value belongs to the goroutine of one event loop.
package intake
