package redis

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/broker"
)

// A message in Redis: a byte for the version, one for the type, the tag in 8 bytes, then as
// varints the spread and the lengths of key and sender, then these two and the payload. On
// its way to a node its place comes before it, "epoch offset milliseconds" or nothing, and a
// line feed.
const version = 1

// appendMessage appends m without its place.
func appendMessage(dst []byte, m *broker.Message) []byte {
	dst = append(dst, version, byte(m.Type))
	dst = binary.BigEndian.AppendUint64(dst, m.Tag)
	dst = binary.AppendUvarint(dst, uint64(m.Spread))
	dst = binary.AppendUvarint(dst, uint64(len(m.Key)))
	dst = binary.AppendUvarint(dst, uint64(len(m.From)))
	dst = append(append(dst, m.Key...), m.From...)
	return append(dst, m.Payload...)
}

var errMessage = errors.New("redis: what came is not a message of this version")

// parse returns a message with its place.
func parse(channel, text string) (*broker.Message, error) {
	place, body, ok := strings.Cut(text, "\n")
	if !ok || len(body) < 10 || body[0] != version {
		return nil, errMessage
	}
	m := &broker.Message{Channel: channel, Type: frame.Opcode(body[1])}
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
	rest := []byte(body)
	m.Tag = binary.BigEndian.Uint64(rest[2:])
	rest = rest[10:]
	var numbers [3]uint64
	for i := range numbers {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return nil, errMessage
		}
		numbers[i], rest = n, rest[size:]
	}
	if numbers[1] > uint64(len(rest)) || numbers[2] > uint64(len(rest))-numbers[1] {
		return nil, errMessage
	}
	m.Spread = time.Duration(numbers[0])
	m.Key, rest = string(rest[:numbers[1]]), rest[numbers[1]:]
	m.From, m.Payload = string(rest[:numbers[2]]), rest[numbers[2]:]
	return m, nil
}
