// Package frame is the wire format of WebSocket as functions on byte slices:
// RFC 6455's framing and RFC 7692's compression. It has no I/O, clock,
// goroutine or log, so an event loop can feed it whatever a socket gave.
//
// Where each part of the RFCs lives:
//
//	RFC 6455  5.2   base framing, minimal lengths       header.go
//	          5.3   masking                             mask.go
//	          5.4   fragmentation                       decoder.go
//	          5.5   control frames                      decoder.go, closecode.go
//	          5.8   RSV bits and extensions             decoder.go
//	          7.4   close codes and their registry      closecode.go
//	          8.1   UTF-8, checked as bytes arrive      utf8.go
//	          9.1   the extensions header               extensions.go
//	          10.4  limits                              decoder.go
//	          -     moving an unfinished message        handover.go
//	RFC 7692  5, 7.1  negotiation                       deflate_negotiate.go
//	          7.1.1   context takeover                  deflate_window.go
//	          7.2.1   compression                       deflate_compress.go
//	          7.2.2   decompression, bounded            deflate_inflate.go
//
// # Reading
//
// A [Decoder] takes bytes in pieces of any size and gives messages and control
// frames. Any way of cutting the same bytes gives the same result. A frame that
// lies whole in the given bytes is unmasked in place and not copied; only what
// is incomplete is held, in a pooled buffer (buffers.go) that grows as bytes
// arrive, never by the length that a header merely declares.
//
// # Writing
//
// The Append functions encode one frame for one peer. A [Prepared] encodes a
// message once for any number of peers and goroutines, and its compressed twin
// when the first peer asks for it.
//
// # Memory
//
// Between messages nothing is held for a connection: compressors (about 800
// KiB), decompressors (about 50 KiB) and buffers are pooled. Only where context
// takeover was negotiated, which is not the default, a connection keeps a
// [Window] of up to 32 KiB for each direction.
//
// # Errors
//
// What a peer must not send is a [*ProtocolError], with the close code and a
// reason to send back. [*CloseError] says that the peer closed. Nothing that a
// peer sends makes this package panic.
package frame
