package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// The messages of roost.v1.json as a client writes and reads them: see docs/protocol.md.

// A Position is a place in a channel's history: directly after the message Offset.
type Position struct {
	// Epoch identifies one life of a history. Empty: the channel has no history.
	Epoch string `json:"epoch"`
	// Offset numbers the messages of a channel, one by one.
	Offset uint64 `json:"offset"`
}

type connectCommand struct {
	Token  string              `json:"token,omitempty"`
	Name   string              `json:"name,omitempty"`
	Data   json.RawMessage     `json:"data,omitempty"`
	Resume map[string]Position `json:"resume,omitempty"`
}

type connectReply struct {
	Client   string                 `json:"client"`
	User     string                 `json:"user"`
	Expires  float64                `json:"expires"`
	Ping     float64                `json:"ping"`
	Data     json.RawMessage        `json:"data"`
	Channels map[string]wirePlacing `json:"channels"`
	Limits   struct {
		Message int `json:"message"`
	} `json:"limits"`
}

type channelCommand struct {
	Channel string `json:"channel"`
}

type subscribeCommand struct {
	Channel string    `json:"channel"`
	Token   string    `json:"token,omitempty"`
	Resume  *Position `json:"resume,omitempty"`
}

// A wirePlacing is where a subscription begins.
type wirePlacing struct {
	Position
	Recovered bool    `json:"recovered"`
	Expires   float64 `json:"expires"`
}

type publishCommand struct {
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data"`
	Key     string          `json:"key,omitempty"`
}

type presenceCommand struct {
	Channel string `json:"channel"`
	Limit   int    `json:"limit"`
}

type historyCommand struct {
	Channel string    `json:"channel"`
	Since   *Position `json:"since,omitempty"`
	Limit   int       `json:"limit"`
	Reverse bool      `json:"reverse,omitempty"`
}

type historyReply struct {
	Position
	Messages []wirePub `json:"messages"`
	More     bool      `json:"more"`
	Gap      bool      `json:"gap"`
}

type callCommand struct {
	Method string          `json:"method"`
	Data   json.RawMessage `json:"data,omitempty"`
}

type dataReply struct {
	Data json.RawMessage `json:"data"`
}

type refreshCommand struct {
	Channel string `json:"channel,omitempty"`
	Token   string `json:"token"`
}

type refreshReply struct {
	Expires float64 `json:"expires"`
}

type ackCommand struct {
	Channel string `json:"channel"`
	Position
}

// An incoming is a message of the server, without the member of a reply that is named
// after its command.
type incoming struct {
	ID           uint64       `json:"id"`
	Error        *wireError   `json:"error"`
	Pub          *wirePub     `json:"pub"`
	Message      *wirePub     `json:"message"`
	Join         *wireMember  `json:"join"`
	Leave        *wireMember  `json:"leave"`
	Gap          *wireGap     `json:"gap"`
	Reset        *wireStarted `json:"reset"`
	Subscribed   *wireStarted `json:"subscribed"`
	Unsubscribed *wireEnded   `json:"unsubscribed"`
}

type wireError struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`
	Retry   float64   `json:"retry"`
}

func (e *wireError) err() error {
	return &ServerError{e.Code, e.Message, seconds(e.Retry)}
}

type wirePub struct {
	Channel string `json:"channel"`
	// Epoch is set in the first message of a history only.
	Epoch    string          `json:"epoch"`
	Offset   uint64          `json:"offset"`
	Data     json.RawMessage `json:"data"`
	Key      string          `json:"key"`
	From     string          `json:"from"`
	Encoding string          `json:"encoding"`
	Time     int64           `json:"time"`
}

// message returns p as a Message.
func (p *wirePub) message(channel, epoch string) (*Message, error) {
	m := &Message{Channel: channel, Data: p.Data, Key: p.Key, From: p.From}
	if epoch != "" {
		m.Position = Position{epoch, p.Offset}
	}
	switch p.Encoding {
	case "":
		return m, nil
	case "base64":
		var text string
		if err := json.Unmarshal(p.Data, &text); err != nil {
			return nil, fmt.Errorf("base64 data: %w", err)
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("base64 data: %w", err)
		}
		m.Data, m.Binary = data, true
		return m, nil
	}
	return nil, fmt.Errorf("data has the unknown encoding %q", p.Encoding)
}

type wireMember struct {
	Channel string `json:"channel"`
	Client  string `json:"client"`
	User    string `json:"user"`
}

type wireGap struct {
	Channel string `json:"channel"`
	Epoch   string `json:"epoch"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
}

type wireStarted struct {
	Channel string `json:"channel"`
	Position
}

type wireEnded struct {
	Channel string    `json:"channel"`
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`
}

// heartbeat is the whole message of a heartbeat, and of the reply to one.
const heartbeat = "{}"

// appendCommand appends {"id":id,"name":body}.
func appendCommand(dst []byte, id uint64, name string, body any) ([]byte, error) {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	data, err := encode(body)
	if err != nil {
		return nil, err
	}
	return append(append(dst, data...), '}'), nil
}

// encode is json.Marshal without the escapes for HTML, which would change the data.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// seconds returns a duration of the protocol. Nonsense is zero; a year is the most.
func seconds(s float64) time.Duration {
	const year = 365 * 24 * 3600
	if !(s > 0) {
		return 0
	}
	return time.Duration(min(s, year) * float64(time.Second))
}
