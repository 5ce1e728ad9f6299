//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

// RFC 6455, section 1.3: the example key and its answer.
func TestAppendUpgrade(t *testing.T) {
	request := "GET / HTTP/1.1\r\nHost: x\r\nSEC-WebSocket-Key:  dGhlIHNhbXBsZSBub25jZQ== \r\n"
	got, err := appendUpgrade(nil, []byte(request))
	if err != nil {
		t.Fatal(err)
	}
	if want := "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; !strings.HasSuffix(string(got), want) {
		t.Errorf("appendUpgrade = %q, want suffix %q", got, want)
	}
	if _, err := appendUpgrade(nil, []byte("GET / HTTP/1.1\r\nHost: x\r\n")); err != errNoKey {
		t.Errorf("appendUpgrade without a key: %v, want %v", err, errNoKey)
	}
}

func TestUnmaskFrame(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for _, size := range []int{0, 1, 5, 7, 8, 9, 125, 126, 127, 65535, 65536, 70000} {
		payload := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		var header []byte
		switch {
		case size < 126:
			header = []byte{0x81, byte(size)}
		case size < 65536:
			header = []byte{0x81, 126, byte(size >> 8), byte(size)}
		default:
			header = []byte{0x81, 127, 0, 0, 0, 0, 0, byte(size >> 16), byte(size >> 8), byte(size)}
		}
		want := append(bytes.Clone(header), payload...)
		client := bytes.Clone(header)
		client[1] |= 0x80
		client = append(client, key[:]...)
		for i, c := range payload {
			client = append(client, c^key[i&3])
		}
		for _, cut := range []int{0, 1, len(header), len(client) - 1} {
			if _, n, err := unmaskFrame(bytes.Clone(client[:cut])); n != 0 || err != nil {
				t.Errorf("unmaskFrame of %d of %d bytes = %d, %v, want 0, nil", cut, len(client), n, err)
			}
		}
		opcode, n, err := unmaskFrame(client)
		if opcode != 1 || n != len(client) || err != nil {
			t.Fatalf("unmaskFrame of %d = %d, %d, %v", size, opcode, n, err)
		}
		if got := client[serverOffset:n]; !bytes.Equal(got, want) {
			t.Errorf("unmaskFrame of %d: the server frame differs", size)
		}
	}
	if _, _, err := unmaskFrame([]byte{0x81, 0x05, 1, 2}); err != errBadFrame {
		t.Errorf("unmaskFrame of an unmasked frame: %v, want %v", err, errBadFrame)
	}
}
