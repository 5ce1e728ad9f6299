package native

import (
	"math"
	"strconv"
	"time"
)

// begin opens a message, with the id of a reply.
func begin(dst []byte, id uint64) builder {
	b := builder(append(dst, '{'))
	if id != 0 {
		b = b.number("id", id)
	}
	return b
}

// reply opens the reply to a command.
func reply(dst []byte, id uint64, k Kind) builder { return begin(dst, id).open(k.String()) }

// AppendError appends an error; id 0 tells one that was not in answer to an id.
// retry, if positive, is when to try again.
func AppendError(dst []byte, id uint64, code int, message string, retry time.Duration) []byte {
	b := begin(dst, id).open("error").number("code", uint64(code)).text("message", message)
	if retry > 0 {
		// Never less than was meant, and milliseconds are fine enough.
		seconds := math.Ceil(float64(retry)/float64(time.Millisecond)) / 1000
		b = strconv.AppendFloat(b.name("retry"), seconds, 'f', -1, 64)
	}
	return b.close().close()
}

// Connected is the reply to Connect.
type Connected struct {
	Client string
	// User may be empty.
	User string
	// Expires is how long the token is valid, if HasExpires.
	Expires    time.Duration
	HasExpires bool
	// Ping is the interval of heartbeats, 0 if there are none.
	Ping time.Duration
	// Data is the application's, JSON or nothing.
	Data []byte
	// Channels are those that the server has subscribed.
	Channels []ChannelState
}

// A ChannelState is what a reply tells of a subscription.
type ChannelState struct {
	Channel string
	// Position is empty without history.
	Position Position
	// Resumed: the client asked to resume; Recovered: and gets all that it missed.
	Resumed, Recovered bool
	// Expires is when the subscription ends unless a new token comes; 0: never.
	Expires time.Duration
}

func (b builder) state(s *ChannelState) builder {
	b = b.position(s.Position)
	if s.Resumed {
		b = b.boolean("recovered", s.Recovered)
	}
	if s.Expires > 0 {
		b = b.number("expires", wholeSeconds(s.Expires))
	}
	return b
}

// AppendConnected appends the reply to Connect.
func AppendConnected(dst []byte, id uint64, c *Connected) []byte {
	b := reply(dst, id, Connect).text("client", c.Client).optional("user", c.User)
	if c.HasExpires {
		b = b.number("expires", wholeSeconds(c.Expires))
	}
	b = b.number("ping", uint64((c.Ping+time.Second-1)/time.Second)).raw("data", c.Data)
	if len(c.Channels) > 0 {
		b = b.open("channels")
		for i := range c.Channels {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, c.Channels[i].Channel), ':', '{')
			b = b.state(&c.Channels[i]).close()
		}
		b = b.close()
	}
	return b.close().close()
}

// wholeSeconds rounds down: a client must not believe itself safe for longer
// than it is.
func wholeSeconds(d time.Duration) uint64 { return uint64(max(d, 0) / time.Second) }

// AppendSubscribe appends the reply to Subscribe.
func AppendSubscribe(dst []byte, id uint64, s *ChannelState) []byte {
	return reply(dst, id, Subscribe).state(s).close().close()
}

// AppendDone appends the empty reply of Unsubscribe and Ack.
func AppendDone(dst []byte, id uint64, k Kind) []byte { return reply(dst, id, k).close().close() }

// AppendPublish appends the reply to Publish.
func AppendPublish(dst []byte, id uint64, at Position) []byte {
	return reply(dst, id, Publish).position(at).close().close()
}

// A Member is one connection in a channel.
type Member struct {
	Client, User string
	Info         []byte // JSON or nothing
}

// AppendPresence appends the reply to Presence.
func AppendPresence(dst []byte, id uint64, clients int, members []Member, truncated bool) []byte {
	b := reply(dst, id, Presence).number("clients", uint64(clients))
	b = append(b.name("members"), '[')
	for i := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = b.text("client", members[i].Client).optional("user", members[i].User).raw("info", members[i].Info).close()
	}
	return append(b, ']').flag("truncated", truncated).close().close()
}

// Page is the reply to History.
type Page struct {
	Position  Position
	Messages  []PageMessage
	More, Gap bool
}

// A PageMessage is one message in it.
type PageMessage struct {
	Offset    uint64
	Time      int64 // Unix milliseconds
	Data      []byte
	Binary    bool
	Key, From string
}

// AppendHistory appends the reply to History: as many of the messages as fit into
// about maxBytes, but one at least.
func AppendHistory(dst []byte, id uint64, p *Page, maxBytes int) []byte {
	b := reply(dst, id, History).position(p.Position)
	b = append(b.name("messages"), '[')
	begun, more := len(b), p.More
	for i := range p.Messages {
		m := &p.Messages[i]
		if i > 0 {
			if len(b)-begun+len(m.Data) > maxBytes {
				more = true
				break
			}
			b = append(b, ',')
		}
		b = append(b, '{')
		b = strconv.AppendInt(b.number("offset", m.Offset).name("time"), m.Time, 10)
		b = b.data(m.Data, m.Binary).optional("key", m.Key).optional("from", m.From).close()
	}
	return append(b, ']').flag("more", more).flag("gap", p.Gap).close().close()
}

// AppendCall appends the reply to Call; data is JSON or nothing.
func AppendCall(dst []byte, id uint64, data []byte) []byte {
	return reply(dst, id, Call).raw("data", data).close().close()
}

// AppendRefresh appends the reply to Refresh.
func AppendRefresh(dst []byte, id uint64, expires time.Duration, hasExpires bool) []byte {
	b := reply(dst, id, Refresh)
	if hasExpires {
		b = b.number("expires", wholeSeconds(expires))
	}
	return b.close().close()
}
