// Package wire has what brokers that keep or send bytes have in common: a message as bytes,
// and names that are new.
package wire

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/broker"
)

// A message is a byte for the version, one for the type, the tag in 8 bytes, then as varints
// the spread and the lengths of key and sender, then these two and the payload. Channel,
// position and time are not in it.
const version = 1

// Append appends m to dst.
func Append(dst []byte, m *broker.Message) []byte {
	dst = append(dst, version, byte(m.Type))
	dst = binary.BigEndian.AppendUint64(dst, m.Tag)
	dst = binary.AppendUvarint(dst, uint64(m.Spread))
	dst = binary.AppendUvarint(dst, uint64(len(m.Key)))
	dst = binary.AppendUvarint(dst, uint64(len(m.From)))
	dst = append(append(dst, m.Key...), m.From...)
	return append(dst, m.Payload...)
}

// ErrMessage: the bytes are not a message, or of another version.
var ErrMessage = errors.New("broker: what came is not a message of this version")

// Parse returns the message in b. Its payload is a part of b.
func Parse(b []byte) (*broker.Message, error) {
	if len(b) < 10 || b[0] != version {
		return nil, ErrMessage
	}
	m := &broker.Message{Type: frame.Opcode(b[1]), Tag: binary.BigEndian.Uint64(b[2:])}
	b = b[10:]
	var numbers [3]uint64
	for i := range numbers {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, ErrMessage
		}
		numbers[i], b = n, b[size:]
	}
	if numbers[1] > uint64(len(b)) || numbers[2] > uint64(len(b))-numbers[1] {
		return nil, ErrMessage
	}
	m.Spread = time.Duration(numbers[0])
	m.Key, b = string(b[:numbers[1]]), b[numbers[1]:]
	m.From, m.Payload = string(b[:numbers[2]]), b[numbers[2]:]
	return m, nil
}

var (
	idBase = func() string {
		var random [10]byte
		_, _ = rand.Read(random[:]) // never fails
		return strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	}()
	idCount atomic.Uint64
)

// NewID returns a name that was never used, of small letters and digits. Any goroutine.
func NewID() string { return idBase + strconv.FormatUint(idCount.Add(1), 36) }
