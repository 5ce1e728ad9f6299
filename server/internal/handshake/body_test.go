package handshake

import (
	"bytes"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
)

// A chunked body may arrive in any pieces.
func TestChunked(t *testing.T) {
	const body = "5\r\nhello\r\n00B;name=\"value\"\r\n, chunked!\n\r\n0\r\nX-Trailer: 1\r\nY: 2\r\n\r\n"
	const want = "hello, chunked!\n"
	for cut := range len(body) {
		var d Chunked
		var got []byte
		for i, part := range []string{body[:cut], body[cut:] + "behind"} {
			p, n, done, err := d.Decode(got, []byte(part), len(want))
			got = p
			if err != nil || done != (i == 1) || done && part[n:] != "behind" || !done && n != len(part) {
				t.Fatalf("cut at %d: %d bytes of %q, done %v, %v", cut, n, part, done, err)
			}
		}
		if string(got) != want {
			t.Fatalf("cut at %d: got %q", cut, got)
		}
	}
	var d Chunked
	if _, _, _, err := d.Decode(nil, []byte(body), len(want)-1); err != ErrBodyTooLarge {
		t.Errorf("a body longer than the limit: %v", err)
	}
}

// What is taken is what net/http takes for the same; net/http takes more, but no space
// before an extension, which RFC 9112, section 7.1.1, allows.
func FuzzChunked(f *testing.F) {
	for _, seed := range []string{"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5;x\r\nhello\r\n0\r\nA: b\r\n\r\n", "-1\r\n", "5\nhello\n0\n\n", "1 \r\nx\r\n0\r\n\r\n", "0 0\r\n\r\n", "0 ;x\r\n\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var d Chunked
		got, n, done, err := d.Decode(nil, []byte(body), 1<<16)
		if err != nil || !done || strings.Contains(body, " ;") || strings.Contains(body, "\t;") {
			return
		}
		if n > len(body) {
			t.Fatalf("%d bytes of %q", n, body)
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(body)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q is %q, net/http says %q, %v", body, got, want, err)
		}
	})
}
