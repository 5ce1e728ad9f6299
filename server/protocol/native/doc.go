// Package native is the codec of the native protocol, WebSocket subprotocol
// roost.v1.json, which docs/protocol.md specifies: functions on byte slices,
// without I/O, clock or state.
//
//	command.go   what clients say: Decode
//	reply.go     what the server answers
//	push.go      what the server says by itself
//	object.go    reading JSON, member by member
//	text.go      writing JSON
//
// Messages are checked by encoding/json and then read in place: its own
// Unmarshal takes "ID" for "id" and the last of two members of one name, and
// allocates. Nothing here allocates but the strings of a command and the
// results of Append functions that do not fit into dst.
package native

// Subprotocol is the WebSocket subprotocol.
const Subprotocol = "roost.v1.json"

// A Position is a place in a channel's history, behind the message Offset.
type Position struct {
	// Epoch tells one life of a history from another; empty without history.
	Epoch  string
	Offset uint64
}
