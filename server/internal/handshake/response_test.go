package handshake

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAppendResponse(t *testing.T) {
	p := Policy{Subprotocols: []string{"chat"}, Negotiate: func([]byte) string { return "permessage-deflate" }}
	_, res, err := openHead(ok("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"), &p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := AppendResponse([]byte("before"), &res, []Header{{"Set-Cookie", "a=b"}, {"X-Empty", ""}}, nil)
	want := "before" + crlfLines("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: "+testAccept, "Sec-WebSocket-Protocol: chat",
		"Sec-WebSocket-Extensions: permessage-deflate", "Set-Cookie: a=b", "X-Empty: ")
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %q\nwant %q", err, got, want)
	}
}

// A value that the application took from a client must not begin a line.
func TestAppendResponseTakesNoInjection(t *testing.T) {
	for _, h := range []Header{
		{"X", "a\r\nSet-Cookie: b"}, {"X", "a\nb"}, {"X", "a\rb"}, {"X", "a\x00b"}, {"X", "\x7f"},
		{"", "a"}, {"X Y", "a"}, {"X:", "a"}, {"X\r\nY", "a"}, {"X\u00e9", "a"},
		{"connection", "close"}, {"Upgrade", "h2c"}, {"Content-Length", "5"}, {"TRANSFER-ENCODING", "chunked"},
		{"sec-websocket-accept", "x"}, {"Sec-WebSocket-Protocol", "x"}, {"Sec-WebSocket-Extensions", "x"},
	} {
		got, err := AppendResponse([]byte("before"), new(Result), []Header{{"Fine", "x"}, h}, nil)
		if err == nil || string(got) != "before" {
			t.Errorf("%q: %v, %q", h, err, got)
		}
		e := &Error{Status: 401, Reason: "no", Header: []Header{h, {"WWW-Authenticate", "Bearer"}}}
		if r, body := readResponse(t, AppendError(nil, e, Envelope{})); r.Header.Get("Set-Cookie") != "" ||
			r.Header.Get("WWW-Authenticate") != "Bearer" || body != "no.\n" {
			t.Errorf("%q: AppendError let it through: %v", h, r.Header)
		}
	}
}

func TestAppendResponseChecksTheResult(t *testing.T) {
	for _, res := range []Result{{Subprotocol: "a\r\nb"}, {Subprotocol: "a b"}, {Subprotocol: "a,b"}, {Extensions: "a\nb"}} {
		if got, err := AppendResponse([]byte("before"), &res, nil, nil); err == nil || string(got) != "before" {
			t.Errorf("%q %q: %v, %q", res.Subprotocol, res.Extensions, err, got)
		}
	}
}

// readResponse reads a response as net/http's client does, and demands that
// nothing is left behind it.
func readResponse(t *testing.T, p []byte) (*http.Response, string) {
	t.Helper()
	br := bufio.NewReader(bytes.NewReader(p))
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("%v in %q", err, p)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || int64(len(body)) != r.ContentLength {
		t.Fatalf("body of %d bytes, Content-Length %d: %v", len(body), r.ContentLength, err)
	}
	if left := br.Buffered(); left != 0 {
		t.Fatalf("%d bytes behind the response", left)
	}
	return r, string(body)
}

func TestAppendError(t *testing.T) {
	for _, c := range hostileHeads {
		response := AppendError(nil, c.want, Envelope{})
		r, body := readResponse(t, response)
		if r.StatusCode != c.want.Status || !r.Close || !strings.HasPrefix(body, c.want.Reason+".\n") ||
			!strings.Contains(body, c.want.Advice) || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %v %v %q", c.name, r.Status, r.Header, body)
		}
		if r.StatusCode == 426 && (r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-WebSocket-Version") != "13" ||
			!strings.Contains(string(response), "\r\nConnection: Upgrade, close\r\n")) {
			t.Errorf("%s: 426 with %v", c.name, r.Header)
		}
		if r.StatusCode == 405 && r.Header.Get("Allow") != "GET" {
			t.Errorf("%s: 405 with %v", c.name, r.Header)
		}
	}
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{ErrHeadTooLarge, 431, "too long"},
		{errTargetTooLong, 414, "too long"},
		{ErrTimeout, 408, "in time"},
		{ErrUpgradeRequired, 426, "ws://"},
		{fmt.Errorf("hook: %w", &Error{Status: 401, Reason: "who are you"}), 401, "who are you.\n"},
		{errors.New("password of the database: 123"), 500, "something went wrong in the server.\n"},
		{&Error{Status: 101, Reason: "x"}, 500, "something"},
		{&Error{Status: 1000, Reason: "x"}, 500, "something"},
		{nil, 500, "something"},
		{(*Error)(nil), 500, "something"},
	} {
		r, body := readResponse(t, AppendError(nil, c.err, Envelope{}))
		if r.StatusCode != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%v: %s %q", c.err, r.Status, body)
		}
	}
	r, body := readResponse(t, AppendError(nil, &Error{Status: 400, JSON: true, Reason: `{"code":1}`}, Envelope{}))
	if r.StatusCode != 400 || body != `{"code":1}` || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("JSON: %s %v %q", r.Status, r.Header, body)
	}
}

// A refusal to a request that was not read has no content, and says so: it may be HEAD.
func TestRefusalOfAnUnreadRequest(t *testing.T) {
	for _, e := range []*Error{ErrTimeout, {Status: 429, Reason: "too many", Advice: "Come back."}} {
		p := AppendError(nil, e, Envelope{Unread: true})
		if r, body := readResponse(t, p); r.StatusCode != e.Status || r.ContentLength != 0 || body != "" || !bytes.HasSuffix(p, []byte("\r\n\r\n")) {
			t.Errorf("%s", p)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1", -time.Second: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Minute: "60",
	} {
		for status, p := range map[int][]byte{503: AppendUnavailable(nil, d, Envelope{}), 429: AppendTooManyRequests(nil, d, Envelope{})} {
			r, _ := readResponse(t, p)
			if got := r.Header.Get("Retry-After"); r.StatusCode != status || got != want || !r.Close {
				t.Errorf("%v: %s, Retry-After %q, want %d, %q", d, r.Status, got, status, want)
			}
		}
	}
}
