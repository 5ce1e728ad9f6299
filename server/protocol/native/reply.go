package native

import (
	"math"
	"strconv"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/protocol"
)

// begin opens a message, with the id of a reply.
func begin(dst []byte, id uint64) builder {
	b := builder(append(dst, '{'))
	if id != 0 {
		b = b.number("id", id)
	}
	return b
}

// Error appends an error.
func (Codec) Error(out *protocol.Packets, id uint64, e *protocol.Error) {
	b := begin(out.Begin(), id).open("error").number("code", uint64(e.Code)).text("message", e.Message)
	if e.RetryAfter > 0 {
		// Never less than was meant, and milliseconds are fine enough.
		seconds := math.Ceil(float64(e.RetryAfter)/float64(time.Millisecond)) / 1000
		b = strconv.AppendFloat(b.name("retry"), seconds, 'f', -1, 64)
	}
	out.Text(b.close().close())
}

// Reply appends the reply to a command.
func (Codec) Reply(out *protocol.Packets, c *protocol.Command, r *protocol.Result) {
	b := begin(out.Begin(), c.ID).open(c.Kind.String())
	switch c.Kind {
	case protocol.Connect:
		b = b.connected(&r.Connected)
	case protocol.Subscribe:
		b = b.state(&r.Channel)
	case protocol.Publish:
		b = b.position(r.Position)
	case protocol.Presence:
		b = b.members(&r.Members)
	case protocol.History:
		b = b.page(&r.Page)
	case protocol.Call:
		b = b.raw("data", r.Data)
	case protocol.Refresh:
		b = b.expires(r.Expires)
	}
	out.Text(b.close().close())
}

// expires rounds down, for a client must not believe itself safe for longer than it
// is, but not to 0, which many languages take for nothing.
func (b builder) expires(e protocol.Expiry) builder {
	if !e.Set {
		return b
	}
	return b.number("expires", uint64(max(e.Left/time.Second, 1)))
}

// state appends what a client learns of a subscription.
func (b builder) state(s *protocol.ChannelState) builder {
	b = b.position(s.Position)
	if s.Resumed {
		b = b.boolean("recovered", s.Recovered)
	}
	return b.expires(s.Expires)
}

func (b builder) connected(c *protocol.Connected) builder {
	b = b.text("client", c.Client).optional("user", c.User).expires(c.Expires)
	b = b.number("ping", uint64((c.Ping+time.Second-1)/time.Second))
	b = b.open("limits").number("message", uint64(c.MessageMaxBytes)).number("channels", uint64(c.SubscriptionsMax)).close()
	b = b.raw("data", c.Data)
	if len(c.Channels) == 0 {
		return b
	}
	b = b.open("channels")
	for i := range c.Channels {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsonx.AppendText(b, c.Channels[i].Channel), ':', '{')
		b = b.state(&c.Channels[i]).close()
	}
	return b.close()
}

func (b builder) members(p *protocol.ChannelMembers) builder {
	b = append(b.number("clients", uint64(p.Clients)).name("members"), '[')
	for i := range p.Members {
		if i > 0 {
			b = append(b, ',')
		}
		m := &p.Members[i]
		b = append(b, '{').text("client", m.Client).optional("user", m.User).raw("info", m.Info).close()
	}
	return append(b, ']').flag("truncated", p.Truncated).flag("incomplete", p.Incomplete)
}

func (b builder) page(p *history.Page) builder {
	b = append(b.position(p.Position).name("messages"), '[')
	for i := range p.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		m := &p.Messages[i]
		b = strconv.AppendInt(append(b, '{').number("offset", m.Offset).name("time"), m.Time.UnixMilli(), 10)
		b = b.data(m.Payload, m.Type == frame.OpBinary).optional("key", m.Key).optional("from", m.From).close()
	}
	return append(b, ']').flag("more", p.More).flag("gap", p.Gap)
}
