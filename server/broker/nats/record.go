package nats

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/internal/wire"
	"github.com/roostws/roost/server/history"
)

// A record is what is sent to NATS, and what a stream keeps: a byte for the version, one
// for the kind, then what the kind has.
type record struct {
	kind byte
	// Of kindHistory: messages that follow each other, from first on, in one epoch. Without
	// messages it says that the channel stands before first.
	epoch string
	first uint64
	items []item
	// Of kindPlain: items[0], and of all but kindHistory the digest of the publication.
	digest uint64
	// Of kindClaim: where the channel stood when the key was claimed. Of kindPlaced: the
	// position of the message, and seq is 0.
	offset, seq uint64

	// What the stream adds.
	at   uint64 // sequence in the stream
	time time.Time
}

// An item is one message of a record, with the hash of its idempotency key, or nothing.
type item struct {
	key     string
	message *broker.Message
}

const (
	version = 1

	kindHistory = 0 // messages of a channel with history
	kindPlain   = 1 // a message of a channel without history
	kindClaim   = 2 // an idempotency key whose message has no place yet
	kindPlaced  = 3 // an idempotency key whose message has one
)

// last returns the offset of a record's newest message.
func (r *record) last() uint64 { return r.first + uint64(len(r.items)) - 1 }

// find returns the position of the message with the key.
func (r *record) find(key string) (history.Position, bool) {
	for i := range r.items {
		if r.items[i].key == key {
			return history.Position{Epoch: r.epoch, Offset: r.first + uint64(i)}, true
		}
	}
	return history.Position{}, false
}

// append appends the record's bytes.
func (r *record) append(dst []byte) []byte {
	dst = append(dst, version, r.kind)
	switch r.kind {
	case kindHistory:
		dst = appendText(dst, r.epoch)
		dst = binary.AppendUvarint(dst, r.first)
		dst = binary.AppendUvarint(dst, uint64(len(r.items)))
		for i := range r.items {
			dst = appendText(dst, r.items[i].key)
			dst = appendText(dst, string(wire.Append(nil, r.items[i].message)))
		}
	case kindPlain:
		dst = binary.BigEndian.AppendUint64(dst, r.digest)
		dst = wire.Append(dst, r.items[0].message)
	default:
		dst = binary.BigEndian.AppendUint64(dst, r.digest)
		dst = appendText(dst, r.epoch)
		dst = binary.AppendUvarint(dst, r.offset)
		dst = binary.AppendUvarint(dst, r.seq)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errRecord = errors.New("nats: what came is not a record of this version")

// parse reads a record. Its payloads are parts of b.
func parse(channel string, b []byte) (*record, error) {
	if len(b) < 2 || b[0] != version || b[1] > kindPlaced {
		return nil, errRecord
	}
	r := &record{kind: b[1]}
	in := reader{rest: b[2:]}
	if r.kind != kindHistory {
		r.digest = in.fixed()
	}
	switch r.kind {
	case kindHistory:
		r.epoch, r.first = string(in.text()), in.number()
		for n := in.number(); n > 0 && in.err == nil; n-- {
			key := string(in.text())
			r.items = append(r.items, item{key, in.message(channel, in.text())})
		}
		if r.first == 0 {
			in.err = errRecord
		}
	case kindPlain:
		r.items = []item{{"", in.message(channel, in.rest)}}
	default:
		r.epoch, r.offset, r.seq = string(in.text()), in.number(), in.number()
	}
	return r, in.err
}

// place gives the messages of a record their positions and their time.
func (r *record) place() {
	for i := range r.items {
		m := r.items[i].message
		m.Position = history.Position{Epoch: r.epoch, Offset: r.first + uint64(i)}
		m.Time = r.time.UnixMilli()
	}
}

// A reader reads from bytes until an error.
type reader struct {
	rest []byte
	err  error
}

func (in *reader) number() uint64 {
	n, size := binary.Uvarint(in.rest)
	if size <= 0 {
		in.rest, in.err = nil, errRecord
		return 0
	}
	in.rest = in.rest[size:]
	return n
}

func (in *reader) fixed() uint64 {
	if len(in.rest) < 8 {
		in.rest, in.err = nil, errRecord
		return 0
	}
	n := binary.BigEndian.Uint64(in.rest)
	in.rest = in.rest[8:]
	return n
}

func (in *reader) text() []byte {
	n := in.number()
	if n > uint64(len(in.rest)) {
		in.rest, in.err = nil, errRecord
		return nil
	}
	s := in.rest[:n:n]
	in.rest = in.rest[n:]
	return s
}

func (in *reader) message(channel string, b []byte) *broker.Message {
	if in.err != nil {
		return nil
	}
	m, err := wire.Parse(b)
	if err != nil {
		in.err = errRecord
		return nil
	}
	m.Channel = channel
	return m
}

// token returns a channel's name as one token of a subject: letters, digits and -_: are
// themselves, every other byte is = and two hexadecimal digits. The empty name is a single =.
func token(channel string) string {
	if channel == "" {
		return "="
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(channel) {
		switch c := channel[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == ':':
			b.WriteByte(c)
		default:
			b.Write([]byte{'=', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// channelOf undoes token.
func channelOf(token string) (string, bool) {
	if token == "=" {
		return "", true
	}
	if !strings.Contains(token, "=") {
		return token, token != ""
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", false
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}

// hash returns what an idempotency key of a channel is called at the broker: a token of a
// subject.
func hash(channel, key string) string {
	sum := sha256.Sum256(binary.AppendUvarint([]byte(channel+"\x00"+key), uint64(len(channel))))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}
