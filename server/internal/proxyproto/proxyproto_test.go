package proxyproto

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

// block builds a version 2 header.
func block(command, family byte, body []byte) string {
	b := append([]byte(blockStart), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(append(b, body...))
}

// inet builds an address part: both addresses, then both ports.
func inet(src, dst string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := append(s.Addr().AsSlice(), d.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, s.Port())
	return binary.BigEndian.AppendUint16(b, d.Port())
}

var (
	v4   = inet("203.0.113.7:56324", "192.0.2.1:443")
	v6   = inet("[2001:db8::7]:56324", "[2001:db8::1]:443")
	tlvs = []byte{0x02, 0, 3, 'a', '.', 'b', 0xEA, 0, 2, 1, 2}
)

const longestLine = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"

var good = []struct {
	name, header string
	src, dst     string // empty: the zero AddrPort
	local        bool
}{
	{"v1 TCP4", "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", "203.0.113.7:56324", "192.0.2.1:443", false},
	{"v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", "[2001:db8::7]:0", "[2001:db8::1]:65535", false},
	{"v1 TCP6, mapped", "PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7:1", "[::1]:2", false},
	{"v1 longest TCP6", longestLine, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", false},
	{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", "", "", false},
	{"v1 longest UNKNOWN", "PROXY UNKNOWN" + strings.TrimPrefix(longestLine, "PROXY TCP6"), "", "", false},
	{"v2 TCP4", block(0x21, 0x11, v4), "203.0.113.7:56324", "192.0.2.1:443", false},
	{"v2 UDP4", block(0x21, 0x12, v4), "203.0.113.7:56324", "192.0.2.1:443", false},
	{"v2 TCP6", block(0x21, 0x21, v6), "[2001:db8::7]:56324", "[2001:db8::1]:443", false},
	{"v2 TCP4 with TLVs", block(0x21, 0x11, append(bytes.Clone(v4), tlvs...)), "203.0.113.7:56324", "192.0.2.1:443", false},
	{"v2 TCP4, as long as can be said", block(0x21, 0x11, append(bytes.Clone(v4), make([]byte, 65535-12)...)), "203.0.113.7:56324", "192.0.2.1:443", false},
	{"v2 TCP6, as long as can be said", block(0x21, 0x21, append(bytes.Clone(v6), make([]byte, 65535-36)...)), "[2001:db8::7]:56324", "[2001:db8::1]:443", false},
	{"v2 unix, as long as can be said", block(0x21, 0x31, make([]byte, 65535)), "", "", false},
	{"v2 LOCAL, as long as can be said", block(0x20, 0x00, make([]byte, 65535)), "", "", true},
	{"v2 unix", block(0x21, 0x31, make([]byte, 216)), "", "", false},
	{"v2 unspecified", block(0x21, 0x00, nil), "", "", false},
	{"v2 unspecified with TLVs", block(0x21, 0x00, tlvs), "", "", false},
	{"v2 LOCAL", block(0x20, 0x00, nil), "", "", true},
	{"v2 LOCAL with addresses", block(0x20, 0x11, v4), "", "", true},
	{"v2 LOCAL, addresses cut", block(0x20, 0x11, v4[:3]), "", "", true},
}

func addrPort(s string) (a netip.AddrPort) {
	if s != "" {
		a = netip.MustParseAddrPort(s)
	}
	return a
}

func TestParse(t *testing.T) {
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			want := Header{addrPort(c.src), addrPort(c.dst), c.local}
			// Of a block the addresses are enough, of a line all of it.
			enough := len(c.header)
			if strings.HasPrefix(c.header, blockStart) {
				switch family := c.header[atFamily] >> 4; {
				case c.local || family == 0 || family == familyUnix:
					enough = blockFixed
				default:
					enough = blockFixed + addressBytes(family)
				}
			}
			for n := range min(len(c.header), 4096) {
				h, got, err := Parse([]byte(c.header[:n]))
				if n < enough && (got != 0 || err != nil || h != (Header{})) {
					t.Fatalf("the first %d bytes: %v, %d, %v", n, h, got, err)
				}
				if n >= enough && (h != want || got != len(c.header) || err != nil) {
					t.Fatalf("the first %d bytes: %v, %d, %v; want %v, %d", n, h, got, err, want, len(c.header))
				}
			}
			for _, behind := range []string{"", "GET / HTTP/1.1\r\n", "\x00"} {
				h, n, err := Parse([]byte(c.header + behind))
				if h != want || n != len(c.header) || err != nil {
					t.Errorf("%v, %d, %v; want %v, %d", h, n, err, want, len(c.header))
				}
			}
		})
	}
}

var wrong = []struct {
	name, header string
	want         error
}{
	{"HTTP", "GET / HTTP/1.1\r\n\r\n", ErrNoHeader},
	{"one byte of something else", "G", ErrNoHeader},
	{"nearly a line", "PROXZ", ErrNoHeader},
	{"lower case", "proxy TCP4", ErrNoHeader},
	{"nearly a block", "\r\n\r\n\x00\r\nQUIX", ErrNoHeader},

	{"LF alone", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", ErrMalformed},
	{"no protocol", "PROXY \r\n", ErrMalformed},
	{"other protocol", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", ErrMalformed},
	{"no addresses", "PROXY TCP4\r\n", ErrMalformed},
	{"no ports", "PROXY TCP4 1.2.3.4 1.2.3.4\r\n", ErrMalformed},
	{"one port", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", ErrMalformed},
	{"more", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", ErrMalformed},
	{"space at the end", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", ErrMalformed},
	{"two spaces", "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", ErrMalformed},
	{"tab", "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n", ErrMalformed},
	{"IPv6 as TCP4", "PROXY TCP4 ::1 ::1 1 2\r\n", ErrMalformed},
	{"IPv4 as TCP6", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", ErrMalformed},
	{"zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", ErrMalformed},
	{"name", "PROXY TCP4 localhost 1.2.3.4 1 2\r\n", ErrMalformed},
	{"leading zero in an address", "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", ErrMalformed},
	{"port too high", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", ErrMalformed},
	{"port with a leading zero", "PROXY TCP4 1.2.3.4 1.2.3.4 080 2\r\n", ErrMalformed},
	{"port negative", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", ErrMalformed},
	{"NUL", "PROXY TCP4 1.2.3.4\x00 1.2.3.4 1 2\r\n", ErrMalformed},
	{"CR in the middle", "PROXY TCP4 1.2.3.4\r 1.2.3.4 1 2\r\n", ErrMalformed},
	{"line of 108 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 108-16) + "\r\n", ErrTooLong},
	{"line without end", "PROXY UNKNOWN " + strings.Repeat("x", 107-14), ErrTooLong},

	{"version 1 in a block", block(0x11, 0x11, v4), ErrVersion},
	{"version 3, known at its byte", blockStart + "\x31", ErrVersion},
	{"command 2", block(0x22, 0x11, v4), ErrVersion},
	{"family 4, known at its byte", blockStart + "\x21\x41", ErrVersion},
	{"transport 3", block(0x21, 0x13, v4), ErrVersion},
	{"IPv4 addresses cut", block(0x21, 0x11, v4[:11]), ErrMalformed},
	{"IPv6 addresses cut", block(0x21, 0x21, v6[:35]), ErrMalformed},
	{"unix addresses cut", block(0x21, 0x31, make([]byte, 215)), ErrMalformed},
}

func TestParseRefuses(t *testing.T) {
	for _, c := range wrong {
		if h, n, err := Parse([]byte(c.header)); err != c.want || n != 0 || h != (Header{}) {
			t.Errorf("%s: %v, %d, %v; want %v", c.name, h, n, err, c.want)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	for _, c := range good {
		p := []byte(c.header)
		if n := testing.AllocsPerRun(20, func() { Parse(p) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// FuzzParse: no panic, no header longer than can be said, no wait for more than
// MaxParseBytes, and an answer that does not depend on what follows or on how
// the bytes arrive.
func FuzzParse(f *testing.F) {
	for _, c := range good {
		f.Add([]byte(c.header + "GET"))
	}
	for _, c := range wrong {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := Parse(p)
		switch {
		case n > blockFixed+65535:
			t.Fatalf("%d bytes of %d", n, len(p))
		case err != nil && n != 0:
			t.Fatalf("%d bytes and %v", n, err)
		case err == nil && n == 0 && len(p) >= MaxParseBytes:
			t.Fatalf("asks for more than %d bytes", len(p))
		}
		// Byte by byte: more is asked for until the same answer comes.
		for i := range len(p) + 1 {
			h2, n2, err2 := Parse(p[:i:i])
			if n2 == 0 && err2 == nil {
				continue
			}
			if h2 != h || n2 != n || err2 != err {
				t.Fatalf("after %d bytes %v, %d, %v; after all %v, %d, %v", i, h2, n2, err2, h, n, err)
			}
			break
		}
	})
}
