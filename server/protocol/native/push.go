package native

import (
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

// Heartbeat is what either side sends to find out whether the other one is there,
// and the answer to it.
const Heartbeat = "{}"

// Message appends the push of a message.
func (Codec) Message(out *protocol.Packets, m *protocol.Message) {
	b := builder(append(out.Begin(), '{'))
	if m.Channel == "" {
		out.Text(b.open("message").data(m.Data, m.Binary).close().close())
		return
	}
	b = b.open("pub").text("channel", m.Channel)
	if m.Offset != 0 {
		b = b.optional("epoch", m.Epoch).number("offset", m.Offset)
	}
	out.Text(b.data(m.Data, m.Binary).optional("key", m.Key).optional("from", m.From).close().close())
}

// Membership appends a join or a leave.
func (Codec) Membership(out *protocol.Packets, m *protocol.Membership) {
	push := "join"
	if m.Left {
		push = "leave"
	}
	b := builder(append(out.Begin(), '{')).open(push)
	out.Text(b.text("channel", m.Channel).text("client", m.Client).optional("user", m.User).close().close())
}

// Gap appends that messages will not come.
func (Codec) Gap(out *protocol.Packets, channel, epoch string, from, to uint64) {
	b := builder(append(out.Begin(), '{')).open("gap").text("channel", channel).text("epoch", epoch)
	out.Text(b.number("from", from).number("to", to).close().close())
}

// Reset appends that a channel has a new epoch.
func (Codec) Reset(out *protocol.Packets, channel string, at history.Position) {
	b := builder(append(out.Begin(), '{')).open("reset").text("channel", channel)
	out.Text(b.position(at).close().close())
}

// Subscribed appends that the server has subscribed the connection.
func (Codec) Subscribed(out *protocol.Packets, s *protocol.ChannelState) {
	b := builder(append(out.Begin(), '{')).open("subscribed").text("channel", s.Channel)
	out.Text(b.position(s.Position).close().close())
}

// Unsubscribed appends that the server has ended a subscription.
func (Codec) Unsubscribed(out *protocol.Packets, channel string, why *protocol.Error) {
	b := builder(append(out.Begin(), '{')).open("unsubscribed").text("channel", channel)
	out.Text(b.number("code", uint64(why.Code)).text("message", why.Message).close().close())
}
