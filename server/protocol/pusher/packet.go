package pusher

import (
	"strconv"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/jsonx"
)

// The heartbeats, as the client libraries write them.
const (
	pingText = `{"event":"pusher:ping","data":{}}`
	pongText = `{"event":"pusher:pong","data":{}}`
)

// A packet is a message of a client. What it points to is a part of the message.
type packet struct {
	event, channel string
	data           []byte // JSON; nil for none
}

// A request is the data of a subscription, or of a sign-in.
type request struct {
	channel, auth, channelData, userData string
}

// parse reads a message. It returns ok false for what is none.
func parse(p []byte) (k packet, ok bool) {
	if !jsonx.IsObject(p) {
		return k, false
	}
	for w := jsonx.Walk(p); w.More(); {
		name, value := w.Member()
		switch label, _ := jsonx.Text(name); string(label) {
		case "event":
			ok = setText(&k.event, value) && k.event != ""
			if !ok {
				return k, false
			}
		case "channel":
			if !jsonx.IsNull(value) && !setText(&k.channel, value) {
				return k, false
			}
		case "data":
			k.data = value
		}
	}
	return k, ok
}

func setText(to *string, value []byte) bool {
	text, err := jsonx.Text(value)
	*to = string(text)
	return err == nil
}

// request reads the packet's data: an object, or a text that holds one.
func (k *packet) request() (r request, ok bool) {
	data := k.data
	if len(data) > 0 && data[0] == '"' {
		data, _ = jsonx.Text(data)
	}
	if !jsonx.IsObject(data) {
		return r, false
	}
	for w := jsonx.Walk(data); w.More(); {
		name, value := w.Member()
		var to *string
		switch label, _ := jsonx.Text(name); string(label) {
		case "channel":
			to = &r.channel
		case "auth":
			to = &r.auth
		case "channel_data":
			to = &r.channelData
		case "user_data":
			to = &r.userData
		}
		if to != nil && !jsonx.IsNull(value) && !setText(to, value) {
			return r, false
		}
	}
	return r, true
}

// textOf returns a member of an object as a text: numbers are taken for the text that they
// are written as, because back ends use both for users' IDs.
func textOf(object []byte, member string) (text string, raw []byte, ok bool) {
	for w := jsonx.Walk(object); w.More(); {
		name, value := w.Member()
		if label, _ := jsonx.Text(name); string(label) != member {
			continue
		}
		switch value[0] {
		case '"':
			t, err := jsonx.Text(value)
			return string(t), value, err == nil
		case 't', 'f', 'n', '{', '[':
			return "", value, false
		}
		return string(value), value, true
	}
	return "", nil, false
}

// memberOf returns a member of an object, nil if there is none.
func memberOf(object []byte, member string) []byte {
	for w := jsonx.Walk(object); w.More(); {
		name, value := w.Member()
		if label, _ := jsonx.Text(name); string(label) == member {
			return value
		}
	}
	return nil
}

// appendPacket appends a message to a client. data is JSON, or nil for none.
func appendPacket(dst []byte, event, channel string, data []byte) []byte {
	dst = jsonx.AppendText(append(dst, `{"event":`...), event)
	if channel != "" {
		dst = jsonx.AppendText(append(dst, `,"channel":`...), channel)
	}
	if data != nil {
		dst = append(append(dst, `,"data":`...), data...)
	}
	return append(dst, '}')
}

// inText returns JSON as a text that holds it, which is how the protocol sends most data.
func inText(data []byte) []byte { return jsonx.AppendText(nil, data) }

// Error codes, which are close codes as well. They tell clients what to do: up to 4099 they
// don't come back, up to 4199 after a second or more, up to 4299 at once.
const (
	codeNoApp       = 4001
	codeOverQuota   = 4004
	codeVersion     = 4006
	codeProtocol    = 4007
	codeNoProtocol  = 4008
	codeNotAllowed  = 4009
	codeStopping    = 4100
	codeMalformed   = 4200
	codeNoPong      = 4201
	codeClientEvent = 4301
)

// appendError appends an error. code 0 is none.
func appendError(dst []byte, code int, message string) []byte {
	dst = append(dst, `{"event":"pusher:error","data":{"code":`...)
	if code == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, int64(code), 10)
	}
	return append(jsonx.AppendText(append(dst, `,"message":`...), message), "}}"...)
}

// A socket ID is two numbers: that of the server, another one each time that it starts, and
// that of the connection.

func appendSocketID(dst []byte, node uint32, id netpoll.ID) []byte {
	dst = append(strconv.AppendUint(dst, uint64(node), 10), '.')
	return strconv.AppendUint(dst, uint64(id), 10)
}
