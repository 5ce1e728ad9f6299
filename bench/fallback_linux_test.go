//go:build linux

package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// startResponder runs a server that gives each request the same bytes, and hands the
// request to look first.
func startResponder(t *testing.T, response string, look func(*http.Request)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for br := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					if look(r); strings.HasSuffix(response, "]") && r.URL.Query().Has("wait") {
						continue // a poll that waits gets nothing
					}
					if _, err := io.WriteString(c, response); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// What a server of a fallback does wrong is a fault of the result.
func TestFallbackIsChecked(t *testing.T) {
	t.Parallel()
	const (
		streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
		replies    = "data: {\"id\":1,\"connect\":{}}\n\n:\n\nid: news@e.1\ndata: {\"id\":2,\"subscribe\":{}}\n\n"
	)
	pollOf := func(length, body string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: " + length + "\r\nLast-Event-ID: news@e.1\r\n\r\n" + body
	}
	for _, tc := range []struct {
		name      string
		transport Transport
		response  string
		want      string // "" for none
	}{
		{"stream", TransportSSE, streamHead + ": ok\n\nretry: 5\n\n" + replies, ""},
		{"silent", TransportSSE, streamHead + ": ok\n\n", "0 of 6 replies"},
		{"refused", TransportSSE, streamHead + "data: {\"id\":1,\"error\":{\"code\":101}}\n\n", "3 commands of the native protocol were refused"},
		{"told to go", TransportSSE, streamHead + replies + "event: close\ndata: {\"code\":1013}\n\n", `3 connections were closed: close {"code":1013}`},
		{"no stream", TransportSSE, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", "no event stream"},
		{"in chunks", TransportSSE, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", "in chunks"},
		{"not found", TransportSSE, "HTTP/1.1 404 Not Found\r\n\r\n", "404 Not Found"},
		{"another field", TransportSSE, streamHead + replies + "dato: x\n\n", "3 events or responses were malformed"},
		{"data twice", TransportSSE, streamHead + replies + "data: x\ndata: y\n\n", "3 events or responses were malformed"},
		{"damaged", TransportSSE, streamHead + replies + "data: RBM1" + strings.Repeat("0", 60) + "\n\n", "3 messages arrived damaged"},

		{"poll", TransportPoll, pollOf("48", `[{"id":1,"connect":{}} ,{"id":2,"subscribe":{}}]`), ""},
		{"no length", TransportPoll, "HTTP/1.1 200 OK\r\n\r\n[]", "Content-Length"},
		{"too much", TransportPoll, pollOf("2", "[][]"), "3 events or responses were malformed"},
		{"no array", TransportPoll, pollOf("3", "[}]"), "3 events or responses were malformed"},
		{"poll told to go", TransportPoll, pollOf("23", `[{"close":{"code":13}}]`), `3 connections were closed: close {"close":{"code":13}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url := startResponder(t, tc.response, func(*http.Request) {})
			r, err := RunIdle(context.Background(), IdleConfig{Options: Options{
				URL: url, Connections: 3, Settle: 100 * time.Millisecond, Timeout: time.Minute, Native: "news",
				GeneratorCommand: []string{os.Args[0], "generator"},
			}, Transport: tc.transport, Period: 100 * time.Millisecond})
			if tc.want == "" {
				wantHeld(t, r, err)
				return
			}
			said := ""
			if r != nil {
				said = strings.Join(r.Faults, "; ")
			}
			if err != nil {
				said += err.Error()
			}
			if !strings.Contains(said, tc.want) {
				t.Errorf("said %q, want %q", said, tc.want)
			}
		})
	}
}

// A poll that waits names what the client has, and each client its channel.
func TestPollsAskForMore(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 100)
	const body = `[{"id":1,"connect":{}},{"id":2,"subscribe":{}}]`
	url := startResponder(t, "HTTP/1.1 200 OK\r\nContent-Length: 47\r\nLast-Event-ID: news@e.7\r\n\r\n"+body, func(r *http.Request) {
		asked <- r.URL.String() + " " + r.Header.Get("Last-Event-ID") + " " + r.Header.Get("X")
	})
	r, err := RunIdle(context.Background(), IdleConfig{Options: Options{
		URL: url + "/prefix?a=b", Connections: 2, Settle: 100 * time.Millisecond, Timeout: time.Minute, Native: "news:{{.N}}", Headers: []string{"X: {{.N}}"},
		GeneratorCommand: []string{os.Args[0], "generator"},
	}, Transport: TransportPoll, Period: 100 * time.Millisecond})
	wantHeld(t, r, err)
	seen := map[string]bool{}
	for len(asked) > 0 {
		seen[<-asked] = true
	}
	for _, want := range []string{
		"/prefix?a=b&channel=news%3A1  1", "/prefix?a=b&channel=news%3A1&wait=25 news@e.7 1", "/prefix?a=b&channel=news%3A0&wait=25 news@e.7 0",
	} {
		if !seen[want] {
			t.Errorf("nobody asked %q: %v", want, seen)
		}
	}
}

// What can't be measured together is refused before anything is opened.
func TestTransportsThatAreRefused(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"add --native":           {},
		"are for WebSockets":     {Native: "news", Subscribe: []string{"x"}},
		"want ws, sse or poll":   {Native: "news", Label: "carrier pigeon"},
		"--compression are for ": {Native: "news", Compression: true},
	} {
		transport := TransportSSE
		if o.Label != "" {
			transport = "pigeon"
		}
		o.URL = "ws://127.0.0.1:1/"
		if _, err := RunIdle(context.Background(), IdleConfig{Options: o, Transport: transport}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
