package redis

import (
	"errors"
	"strconv"
	"strings"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/internal/wire"
)

// appendMessage appends m without its place. On its way to a node its place comes before
// it, "epoch offset milliseconds" or nothing, and a line feed.
func appendMessage(dst []byte, m *broker.Message) []byte { return wire.Append(dst, m) }

var errMessage = errors.New("redis: what came is not a message of this version")

// parse returns a message with its place.
func parse(channel, text string) (*broker.Message, error) {
	place, body, ok := strings.Cut(text, "\n")
	if !ok {
		return nil, errMessage
	}
	m, err := wire.Parse([]byte(body))
	if err != nil {
		return nil, errMessage
	}
	m.Channel = channel
	if place != "" {
		fields := strings.Split(place, " ")
		if len(fields) != 3 {
			return nil, errMessage
		}
		var err1, err2 error
		m.Position.Epoch = fields[0]
		m.Position.Offset, err1 = strconv.ParseUint(fields[1], 10, 64)
		m.Time, err2 = strconv.ParseInt(fields[2], 10, 64)
		if errors.Join(err1, err2) != nil {
			return nil, errMessage
		}
	}
	return m, nil
}
