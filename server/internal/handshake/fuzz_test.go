package handshake

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
)

// FuzzParse holds for any bytes: nothing panics; HeadEnd does not depend on how
// they arrive; net/http reads a head that we accept as we do; gobwas/ws opens
// the WebSocket that we open, with the same response.
func FuzzParse(f *testing.F) {
	for _, c := range realHeads {
		f.Add([]byte(c.head), uint64(1))
	}
	for _, c := range hostileHeads {
		f.Add([]byte(c.head), uint64(2))
	}
	f.Add([]byte(crlfLines("POST http://a:80/x?y HTTP/1.0", "Content-Length: 3", "Cookie: a", "cookie: b")), uint64(3))
	f.Add([]byte(crlfLines("OPTIONS * HTTP/1.1", "Host: [::1]:9", "Transfer-Encoding: chunked")), uint64(4))
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		_ = CheckStart(p)
		end := HeadEnd(p, 0)
		rng := rand.New(rand.NewPCG(seed, 0))
		if got := headEndInChunks(p, func() int { return 1 + rng.IntN(9) }); got != end {
			t.Fatalf("HeadEnd = %d at once, %d in chunks (seed %d)", end, got, seed)
		}
		var r Request
		head := bytes.Clone(p[:end])
		if Parse(head, &r) != nil {
			return
		}
		if !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			t.Fatalf("Parse took a head that does not end with CR LF CR LF: %q", head)
		}
		agreeWithNetHTTP(t, head, &r)
		agreeWithOracle(t, head)
		if !bytes.Equal(head, p[:end]) {
			t.Fatalf("the head was changed: %q", head)
		}
	})
}

// agreeWithNetHTTP demands that net/http reads the head, and the same from it.
func agreeWithNetHTTP(t *testing.T, head []byte, r *Request) {
	t.Helper()
	if r.Get("Trailer") != nil {
		return // net/http refuses some of its values; we leave it unread
	}
	// An empty line before the request: net/http's server would refuse it, and
	// RFC 9112 section 2.2 wants it ignored.
	want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(head, []byte("\r\n")))))
	if err != nil {
		t.Fatalf("net/http refuses what we accept: %v\n%q", err, head)
	}
	if want.Method != string(r.Method) || want.RequestURI != string(r.Target) ||
		want.URL.RawQuery != string(r.RawQuery) || want.ProtoMinor != r.Minor {
		t.Fatalf("request line: net/http has %s %s (%s) HTTP/1.%d, we %s %s (%s) HTTP/1.%d", want.Method, want.RequestURI,
			want.URL.RawQuery, want.ProtoMinor, r.Method, r.Target, r.RawQuery, r.Minor)
	}
	path, err := url.PathUnescape(string(r.Path))
	if want := want.URL.Path; err != nil || path != want && !(path == "/" && want == "") {
		t.Fatalf("path: net/http has %q, we %q (%v)", want, path, err)
	}
	if !equalFold([]byte(want.Host), r.Host) {
		t.Fatalf("host: net/http has %q, we %q", want.Host, r.Host)
	}
	if want.ContentLength != r.BodyBytes {
		t.Fatalf("body: net/http has %d bytes, we %d", want.ContentLength, r.BodyBytes)
	}
	counted := 0
	for name, values := range want.Header {
		if name == "Cache-Control" && r.Count(name) == 0 {
			continue // net/http makes it from Pragma
		}
		for i, v := range values {
			if got := nth(r, name, i); got != v {
				t.Fatalf("%s, line %d: net/http has %q, we %q", name, i, v, got)
			}
			counted++
		}
	}
	// net/http moves Host and Transfer-Encoding out of Header, Content-Length
	// stays.
	ours := len(r.Fields()) - r.Count("Host") - r.Count("Transfer-Encoding")
	if counted != ours {
		t.Fatalf("net/http has %d header lines, we %d", counted, ours)
	}
}

// nth is the value of the i-th header line of this name.
func nth(r *Request, name string, i int) string {
	for _, f := range r.Fields() {
		if f.Is(name) {
			if i == 0 {
				return string(f.Value)
			}
			i--
		}
	}
	return "(none)"
}

func TestAgreesWithNetHTTP(t *testing.T) {
	for _, c := range realHeads {
		var r Request
		if err := Parse([]byte(c.head), &r); err != nil {
			t.Fatal(err)
		}
		agreeWithNetHTTP(t, []byte(c.head), &r)
	}
}
