package native

// Heartbeat is what either side sends to learn whether the other one is there,
// and the answer to it.
const Heartbeat = "{}"

// A Pub is a message of a channel, the same for all its subscribers.
type Pub struct {
	Channel string
	// Offset is 0 in channels without history.
	Offset uint64
	// Data is the message; Binary if it is not text.
	Data   []byte
	Binary bool
	// Key and From may be empty.
	Key, From string
}

// AppendPub appends the push of a message.
func AppendPub(dst []byte, p *Pub) []byte {
	b := builder(append(dst, '{')).open("pub").text("channel", p.Channel)
	if p.Offset != 0 {
		b = b.number("offset", p.Offset)
	}
	return b.data(p.Data, p.Binary).optional("key", p.Key).optional("from", p.From).close().close()
}

// AppendMessage appends a message that is for no channel.
func AppendMessage(dst, data []byte, binary bool) []byte {
	return builder(append(dst, '{')).open("message").data(data, binary).close().close()
}

// AppendJoin tells a channel's subscribers that a connection has become one of
// them, AppendLeave that it is none any more.
func AppendJoin(dst []byte, channel, client, user string) []byte {
	return appendPresence(dst, "join", channel, client, user)
}

// AppendLeave is the counterpart of AppendJoin.
func AppendLeave(dst []byte, channel, client, user string) []byte {
	return appendPresence(dst, "leave", channel, client, user)
}

func appendPresence(dst []byte, push, channel, client, user string) []byte {
	b := builder(append(dst, '{')).open(push)
	return b.text("channel", channel).text("client", client).optional("user", user).close().close()
}

// AppendGap tells that the messages from and to, and all between them, will not
// come.
func AppendGap(dst []byte, channel, epoch string, from, to uint64) []byte {
	b := builder(append(dst, '{')).open("gap").text("channel", channel).text("epoch", epoch)
	return b.number("from", from).number("to", to).close().close()
}

// AppendSubscribed tells that the server has subscribed the connection.
func AppendSubscribed(dst []byte, channel string, at Position) []byte {
	return builder(append(dst, '{')).open("subscribed").text("channel", channel).position(at).close().close()
}

// AppendUnsubscribed tells that the server has ended a subscription, and why.
func AppendUnsubscribed(dst []byte, channel string, code int, message string) []byte {
	b := builder(append(dst, '{')).open("unsubscribed").text("channel", channel)
	return b.number("code", uint64(code)).text("message", message).close().close()
}
