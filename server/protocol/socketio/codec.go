package socketio

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/protocol"
)

// ChannelNamespace is the namespace, in the server's settings, of the channels of
// namespaces and rooms of Socket.IO: see Channel.
const ChannelNamespace = "io"

// Channel returns the name of the channel of a namespace ("/chat"), or, with a room, of
// that.
func Channel(namespace, room string) string {
	if room == "" {
		return ChannelNamespace + ":" + namespace
	}
	return ChannelNamespace + ":" + namespace + "#" + room
}

// splitChannel undoes Channel; ok is false for one that is none of these: that of a user, say.
func splitChannel(channel string) (namespace, room string, ok bool) {
	name, ok := strings.CutPrefix(channel, ChannelNamespace+":")
	namespace, room, _ = strings.Cut(name, "#")
	return namespace, room, ok && strings.HasPrefix(namespace, "/")
}

var _ protocol.Keeper = (*Server)(nil)

// Message appends a publication as an event: what is no array with a name is the
// argument of the event "message". What is published elsewhere than in a namespace or a room,
// to a user, say, is an event in all namespaces.
func (io *Server) Message(out *protocol.Packets, p *protocol.Message) {
	m := message{data: p.Data}
	switch binary, ok := readBinary(p.Data); {
	case p.Binary && ok:
		m = binary
	case p.Binary:
		m, _ = newMessage("message", []any{p.Data})
	case !isEvent(p.Data):
		m.data = append(jsonText([]byte(`["message",`), p.Data), ']')
	}
	if len(io.options.Namespaces) > 0 && len(m.blobs) == 0 {
		m = readMarked(m.data)
	}
	if name, room, ok := splitChannel(p.Channel); ok {
		if ns := io.find(name); room == "" && p.Offset > 0 && ns != nil && ns.recovers() {
			m.data = appendPlace(m.data, p.Place)
		}
		m.appendTo(out, typeEvent, name, nil)
		return
	}
	io.mu.RLock()
	names := io.names
	io.mu.RUnlock()
	for _, name := range names { // a client has no ear for those that it is not in
		m.appendTo(out, typeEvent, name, nil)
	}
}

// isEvent reports whether data is the arguments of an event.
func isEvent(data []byte) bool {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || data[0] != '[' || !json.Valid(data) {
		return false
	}
	_, ok := eventName(data)
	return ok
}

// jsonText appends data, as a text unless it is JSON.
func jsonText(dst, data []byte) []byte {
	if json.Valid(data) {
		return append(dst, data...)
	}
	return jsonx.AppendText(dst, string(data))
}

// appendTo appends the message as packets.
func (m *message) appendTo(out *protocol.Packets, kind byte, namespace string, id *uint64) {
	out.Text(append(appendHead(out.Begin(), kind, namespace, len(m.blobs), id), m.data...))
	for _, blob := range m.blobs {
		out.Binary(append(out.Begin(), blob...))
	}
}

// What the other methods of a Codec say has no counterpart in Socket.IO.

// Subprotocol is none: the path tells the protocol.
func (*Server) Subprotocol() string { return "" }

// Decode is not called.
func (*Server) Decode([]byte, bool, *protocol.Command) ([]byte, error) {
	return nil, protocol.EndMalformed
}

// Reply is not called.
func (*Server) Reply(*protocol.Packets, *protocol.Command, *protocol.Result) {}

// Error is not called.
func (*Server) Error(*protocol.Packets, uint64, *protocol.Error) {}

// Membership appends nothing.
func (*Server) Membership(*protocol.Packets, *protocol.Membership) {}

// Gap appends nothing.
func (*Server) Gap(*protocol.Packets, string, string, uint64, uint64) {}

// Reset appends nothing.
func (*Server) Reset(*protocol.Packets, string, history.Position) {}

// Subscribed appends nothing.
func (*Server) Subscribed(*protocol.Packets, *protocol.ChannelState) {}

// Unsubscribed appends nothing.
func (*Server) Unsubscribed(*protocol.Packets, string, *protocol.Error) {}

// Close returns the code and the reason of a Close frame.
func (*Server) Close(protocol.Ending) (frame.CloseCode, string) {
	return frame.ClosePolicyViolation, "no connect packet in time"
}
