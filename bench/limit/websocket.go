//go:build linux

package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// The opcodes this server knows (RFC 6455, section 5.2).
const (
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

var (
	errNoKey    = errors.New("no Sec-WebSocket-Key")
	errBadFrame = errors.New("frame not masked, or longer than the read buffer")
)

const (
	acceptGUID      = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	upgradeResponse = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)

// appendUpgrade appends the answer to a whole upgrade request to dst. It
// checks nothing but the key: the least that a client can be content with.
func appendUpgrade(dst, request []byte) ([]byte, error) {
	key := headerValue(request, "sec-websocket-key")
	if len(key) != 24 {
		return dst, errNoKey
	}
	var salted [24 + len(acceptGUID)]byte
	copy(salted[copy(salted[:], key):], acceptGUID)
	sum := sha1.Sum(salted[:])
	dst = append(dst, upgradeResponse...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	return append(dst, "\r\n\r\n"...), nil
}

// headerValue finds the value of the header with the given lower-case name.
func headerValue(request []byte, name string) []byte {
	for len(request) > 0 {
		line, rest, _ := bytes.Cut(request, []byte("\r\n"))
		request = rest
		if len(line) > len(name) && line[len(name)] == ':' && equalFold(line[:len(name)], name) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}

func equalFold(p []byte, lower string) bool {
	for i, c := range p {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// serverOffset is where the server's frame starts inside a client's frame:
// both have the same header and payload, the client's has 4 bytes of masking
// key between them.
const serverOffset = 4

// unmaskFrame turns the client frame at the start of p into a server frame, in
// place: p[serverOffset:n] is then ready to send. n is 0 where p holds no
// whole frame yet.
func unmaskFrame(p []byte) (opcode byte, n int, err error) {
	if len(p) < 2 {
		return 0, 0, nil
	}
	if p[1]&0x80 == 0 {
		return 0, 0, errBadFrame
	}
	header, size := 2, uint64(p[1]&0x7f)
	switch size {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	if len(p) < header+serverOffset {
		return 0, 0, nil
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		size = binary.BigEndian.Uint64(p[2:])
	}
	if size > maxFrameBytes {
		return 0, 0, errBadFrame
	}
	n = header + serverOffset + int(size)
	if len(p) < n {
		return 0, 0, nil
	}
	opcode = p[0] & 0xf
	unmask(p[header+serverOffset:n], [4]byte(p[header:]))
	for i := header - 1; i >= 0; i-- { // overlaps: from the end
		p[serverOffset+i] = p[i]
	}
	p[serverOffset+1] &^= 0x80
	return opcode, n, nil
}

func unmask(payload []byte, key [4]byte) {
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	k |= k << 32
	for len(payload) >= 8 {
		binary.LittleEndian.PutUint64(payload, binary.LittleEndian.Uint64(payload)^k)
		payload = payload[8:]
	}
	for i := range payload {
		payload[i] ^= key[i&3]
	}
}
