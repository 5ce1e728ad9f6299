// Package native is the codec of the native protocol, WebSocket subprotocol
// roost.v1.json, which docs/protocol.md specifies: functions on byte slices,
// without I/O, clock or state.
//
//	codec.go     Codec, close codes
//	command.go   what clients send
//	reply.go     what the server replies
//	push.go      what the server sends by itself
//	text.go      writing JSON
//
// encoding/json checks messages, which are then read in place: its own
// Unmarshal takes "ID" for "id" and the last of two members of one name, and
// allocates. Nothing here allocates but the strings of a command, and packets
// that outgrow their buffer.
package native
