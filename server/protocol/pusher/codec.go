package pusher

import (
	"bytes"
	"encoding/json"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

var _ protocol.Registrar = (*Server)(nil)

// eventStart is how the payload of each event begins that this package publishes: it is the
// message to the clients without the channel, which has another name on the server.
const eventStart = `{"event":"`

// Message appends an event. What was published by others becomes the event "message".
func (p *Server) Message(out *protocol.Packets, m *protocol.Message) {
	_, channel, _ := p.channelOf(m.Channel)
	b := append(out.Begin(), '{')
	if channel != "" {
		b = append(jsonx.AppendText(append(b, `"channel":`...), channel), ',')
	}
	if !m.Binary && bytes.HasPrefix(m.Data, []byte(eventStart)) && json.Valid(m.Data) {
		out.Text(append(b, m.Data[1:]...))
		return
	}
	b = append(b, `"event":"message","data":`...)
	if m.Binary {
		b, _ = jsonx.AppendData(b, m.Data, true)
	} else {
		b = jsonx.AppendText(b, m.Data)
	}
	out.Text(append(b, '}'))
}

// Membership appends that a user has joined a presence channel, or left it.
func (p *Server) Membership(out *protocol.Packets, m *protocol.Membership) {
	_, channel, ok := p.channelOf(m.Channel)
	if !ok {
		return
	}
	event, data := "pusher_internal:member_added", jsonx.AppendText([]byte(`{"user_id":`), m.User)
	switch {
	case m.Left:
		event = "pusher_internal:member_removed"
	case len(m.Info) > 0:
		data = append(append(data, `,"user_info":`...), m.Info...)
	}
	out.Text(appendPacket(out.Begin(), event, channel, inText(append(data, '}'))))
}

// Unsubscribed appends nothing: the protocol has no word for it.
func (*Server) Unsubscribed(*protocol.Packets, string, *protocol.Error) {}

// Heartbeat returns the heartbeats, which are the same in both directions.
func (*Server) Heartbeat() protocol.Heartbeat {
	return protocol.Heartbeat{Ask: pingText, Answer: pongText}
}

// Stopping makes the clients of a server that stops come back after a second or more, so
// that they are spread by the drain and by that.
func (*Server) Stopping() frame.CloseCode { return codeStopping }

// Silent is the code for clients that have not answered.
func (*Server) Silent() frame.CloseCode { return codeNoPong }

// Name is what lists of connections call the protocol.
func (*Server) Name() string { return "pusher" }

// Path is that of the connections: /app/KEY.
func (*Server) Path() string { return "/app/*" }

// Mailboxes are none: clients that can't open a WebSocket are not served.
func (*Server) Mailboxes() shard.Mailboxes { return shard.Mailboxes{} }

// Admit keeps what the request says. It refuses nothing: clients understand only what they
// are told over the WebSocket.
func (*Server) Admit(r *handshake.Request) (kept any, err error) {
	return opening{key: string(r.Path[len("/app/"):]), query: string(r.RawQuery)}, nil
}

// Close returns the code and the reason of a Close frame.
func (*Server) Close(protocol.Ending) (frame.CloseCode, string) {
	return codeNotAllowed, "the connection is unauthorized"
}

// What the other methods of a Codec say has no counterpart in the protocol.

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

// Gap appends nothing.
func (*Server) Gap(*protocol.Packets, string, string, uint64, uint64) {}

// Reset appends nothing.
func (*Server) Reset(*protocol.Packets, string, history.Position) {}

// Subscribed appends nothing.
func (*Server) Subscribed(*protocol.Packets, *protocol.ChannelState) {}
