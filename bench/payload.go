package bench

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
)

// A payload is plain ASCII, so that it survives text frames and JSON strings
// without escaping, and it describes itself, so that it is found again inside
// an envelope that a server wraps around it:
//
//	offset  bytes
//	     0      4  marker
//	     4      6  length of the whole payload, hex
//	    10      8  stream, hex
//	    18     12  sequence number, hex
//	    30     16  time of sending, nanoseconds of the monotonic clock, hex
//	    46      n  filler
//	 46 + n     8  CRC-32C of everything before, hex
const (
	payloadMarker     = "RBM1"
	payloadHead       = 46
	payloadChecksum   = 8
	MinPayloadBytes   = payloadHead + payloadChecksum
	MaxPayloadBytes   = 1 << 20
	payloadFillerText = "the quick brown fox jumps over the lazy dog 0123456789 "
)

// publishStream marks the streams of publishers; the other streams are those
// of echo, one per connection.
const publishStream = 1 << 31

// message is what a payload says.
type message struct {
	stream uint32
	seq    uint64
	sentNs int64
}

var (
	errNoPayload  = errors.New("no benchmark payload")
	errBadPayload = errors.New("benchmark payload damaged")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendPayload appends the payload of m, size bytes long; like JSON, if asked
// for.
func appendPayload(dst []byte, m message, size int, json bool) []byte {
	start := len(dst)
	dst = append(dst, payloadMarker...)
	dst = appendHex(dst, uint64(size), 6)
	dst = appendHex(dst, uint64(m.stream), 8)
	dst = appendHex(dst, m.seq, 12)
	dst = appendHex(dst, uint64(m.sentNs), 16)
	if json {
		dst = appendRecords(dst, m, size-MinPayloadBytes)
		return appendHex(dst, uint64(crc32.Checksum(dst[start:], castagnoli)), payloadChecksum)
	}
	// A different start for each message: bytes of a neighbour are noticed.
	at := int(m.seq % uint64(len(payloadFillerText)))
	for left := size - MinPayloadBytes; left > 0; {
		n := min(left, len(payloadFillerText)-at)
		dst = append(dst, payloadFillerText[at:at+n]...)
		left, at = left-n, 0
	}
	return appendHex(dst, uint64(crc32.Checksum(dst[start:], castagnoli)), payloadChecksum)
}

// recordWords are the words of records: a message's text compresses, but not to
// nothing.
var recordWords = strings.Fields("the order has been shipped and will arrive on monday please confirm your address " +
	"new reply from support in thread about invoice payment received thanks meeting moved to room price changed")

// appendRecords appends n bytes that compress like the JSON of notifications.
// The quotes are single ones, which need no escaping within JSON strings.
func appendRecords(dst []byte, m message, n int) []byte {
	end := len(dst) + n
	rng := rand.New(rand.NewPCG(uint64(m.stream), m.seq))
	for len(dst) < end {
		dst = fmt.Appendf(dst, "{'id':%d,'user':'u%d','room':'room-%d','at':%d,'price':%d.%02d,'read':%t,'text':'",
			rng.Uint32(), rng.IntN(10_000), rng.IntN(100), 1_700_000_000+rng.IntN(100_000_000), rng.IntN(1000), rng.IntN(100), rng.IntN(2) == 0)
		for range 3 + rng.IntN(6) {
			dst = append(append(dst, recordWords[rng.IntN(len(recordWords))]...), ' ')
		}
		dst = append(dst, "'},"...)
	}
	return dst[:end]
}

// parsePayload finds the payload in p, checks each byte of it, and returns what
// it says. errNoPayload means that p is some other message.
func parsePayload(p []byte) (message, error) {
	at := bytes.Index(p, []byte(payloadMarker))
	if at < 0 {
		return message{}, errNoPayload
	}
	p = p[at:]
	if len(p) < MinPayloadBytes {
		return message{}, errBadPayload
	}
	size, ok0 := parseHex(p[4:10])
	stream, ok1 := parseHex(p[10:18])
	seq, ok2 := parseHex(p[18:30])
	sent, ok3 := parseHex(p[30:46])
	if !ok0 || !ok1 || !ok2 || !ok3 || size < MinPayloadBytes || size > uint64(len(p)) {
		return message{}, errBadPayload
	}
	body := int(size) - payloadChecksum
	sum, ok := parseHex(p[body:size])
	if !ok || uint32(sum) != crc32.Checksum(p[:body], castagnoli) {
		return message{}, errBadPayload
	}
	return message{uint32(stream), seq, int64(sent)}, nil
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	const alphabet = "0123456789abcdef"
	for shift := (digits - 1) * 4; shift >= 0; shift -= 4 {
		dst = append(dst, alphabet[v>>shift&0xf])
	}
	return dst
}

func parseHex(p []byte) (v uint64, ok bool) {
	for _, c := range p {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

// checkPayloadBytes says whether size is possible.
func checkPayloadBytes(size int) error {
	if size < MinPayloadBytes || size > MaxPayloadBytes {
		return fmt.Errorf("payload of %d bytes: must be between %d and %d", size, MinPayloadBytes, MaxPayloadBytes)
	}
	return nil
}

// describePayload shows the start of an unexpected message in a report.
func describePayload(p []byte) string {
	if len(p) > 48 {
		p = p[:48]
	}
	for _, c := range p {
		if c < ' ' || c > '~' {
			return "0x" + hex.EncodeToString(p)
		}
	}
	return string(p)
}
