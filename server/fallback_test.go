package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// events is an event stream as net/http reads it.
type events struct {
	*bufio.Scanner
	t    *testing.T
	head *http.Response
	// id is the ID of the last block that had one.
	id string
	// retry is the last one.
	retry string
}

// streamed opens an event stream; lines are header lines "Name: value".
func streamed(t *testing.T, s *server.Server, query string, lines ...string) *events {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://"+s.Addrs()[0].String()+"/v1/sse?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return newEvents(t, w)
}

func newEvents(t *testing.T, w *http.Response) *events {
	t.Helper()
	t.Cleanup(func() { _ = w.Body.Close() })
	if w.StatusCode != 200 || w.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Fatalf("the stream was answered %v", w)
	}
	return &events{Scanner: bufio.NewScanner(w.Body), t: t, head: w}
}

// next returns the next event, "NAME: " before its data if it has a name, and "end"
// at the end of the stream.
func (s *events) next() string {
	s.t.Helper()
	name, data := "", ""
	for s.Scan() {
		switch field, value, _ := strings.Cut(s.Text(), ": "); field {
		case "":
			if data != "" {
				return name + data
			}
		case "id":
			s.id = value
		case "retry":
			s.retry = value
		case "event":
			name = value + ": "
		case "data":
			data += value
		}
	}
	if err := s.Err(); err != nil {
		s.t.Fatal(err)
	}
	return "end"
}

func (s *events) want(want string) {
	s.t.Helper()
	if got := s.next(); got != want {
		s.t.Fatalf("got %s, want %s", got, want)
	}
}

func (s *events) wantPrefix(want string) {
	s.t.Helper()
	if got := s.next(); !strings.HasPrefix(got, want) {
		s.t.Fatalf("got %s, want %s…", got, want)
	}
}

// tokenUsers is an application to which a token is the name of a user. "slow" is busy.
var tokenUsers = &protocol.Application{Anonymous: true, Connect: func(_ context.Context, r *protocol.ConnectRequest) error {
	switch r.User, _, _ = strings.Cut(r.Token, "/"); r.User {
	case "", "bad":
		return &protocol.Error{Code: protocol.CodeUnauthorized, Message: "no such user"}
	case "slow":
		return &protocol.Error{Code: protocol.CodeBusy, Message: "later"}
	}
	return nil
}}

// fallbacks starts a server with an open native protocol.
func fallbacks(t *testing.T, engine netpoll.Driver, adjust func(*server.Config)) *server.Server {
	return notifier(t, engine, func(c *server.Config) {
		c.Handler = server.Handler{}
		c.Application = tokenUsers
		c.Namespaces[0].Publish = protocol.AccessAnyone
		c.Namespaces[0].Presence = true
		if adjust != nil {
			adjust(c)
		}
	})
}

// A plain EventSource gets what the native protocol says.
func TestEventStream(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := fallbacks(t, engine, nil)
		c := streamed(t, s, "channel=news:1&channel=room&channel=news:%22odd%22&channel=wrong:1&name=page&token=ann")
		c.wantPrefix(`{"id":1,"connect":{"client":"`)
		epoch := epochOf(t, s, "news:1")
		c.want(`{"id":2,"subscribe":{"epoch":"` + epoch + `","offset":0}}`)
		c.want(`{"id":3,"subscribe":{}}`)
		c.want(`{"id":4,"subscribe":{"epoch":"` + epoch + `","offset":0}}`)
		c.want(`{"id":5,"error":{"code":104,"message":"there is no namespace \"wrong\""}}`)
		if n := statsOf(s).Get("event_streams"); n != 1 {
			t.Errorf("%d event streams are counted", n)
		}
		for i := range 3 {
			if err := s.Publish("news:1", server.Text, []byte(`{"n":`+fmt.Sprint(i)+"\n}")); err != nil {
				t.Fatal(err)
			}
		}
		c.want(`{"pub":{"channel":"news:1","epoch":"` + epoch + `","offset":1,"data":{"n":0}}}`)
		c.want(`{"pub":{"channel":"news:1","offset":2,"data":{"n":1}}}`)
		c.want(`{"pub":{"channel":"news:1","offset":3,"data":{"n":2}}}`)
		if err := s.PublishUser("ann", server.Text, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		c.want(`{"pub":{"channel":"user:ann","epoch":"` + epoch + `","offset":1,"data":"hi"}}`)
		if err := disconnect(s, server.Audience{User: "ann"}, 4403, "out"); err != nil {
			t.Fatal(err)
		}
		c.want(`close: {"code":4403,"reason":"out"}`)
		if c.retry != "3600000" {
			t.Errorf("retry is %s", c.retry)
		}
		c.want("end")
	})
}

// The token comes from where the client can put one.
func TestEventStreamTokens(t *testing.T) {
	s := fallbacks(t, nil, func(c *server.Config) {
		c.Handshake.TokenCookie = "session"
		c.Handshake.Origins = []string{"https://a.example"}
	})
	for _, test := range []struct {
		query string
		lines []string
		user  string
	}{
		{"token=ann", nil, "ann"},
		{"token=ann", []string{"Authorization: Bearer bob"}, "bob"},
		{"", []string{"Cookie: x=1; session=eve; y=2"}, "eve"},
		{"token=ann", []string{"Cookie: session=eve"}, "ann"},
		{"", []string{"Cookie: session=eve", "Origin: https://a.example"}, "eve"},
		{"", []string{"Cookie: session=eve", "Origin: https://a.example", "Sec-Fetch-Site: cross-site"}, "eve"},
		{"", []string{"Cookie: session=eve", "Sec-Fetch-Site: same-origin"}, "eve"},
		{"", []string{"Cookie: session=eve", "Sec-Fetch-Site: cross-site"}, ""}, // an image of another page
		{"", []string{"Cookie: session=eve", "Sec-Fetch-Site: same-site"}, ""},
	} {
		c := streamed(t, s, test.query, test.lines...)
		if got := c.next(); strings.Contains(got, `,"user":`) != (test.user != "") || test.user != "" && !strings.Contains(got, `,"user":"`+test.user+`",`) {
			t.Errorf("%v: connect was answered %s", test, got)
		}
	}
}

// What is refused is told in the stream, and the stream ends.
func TestEventStreamRefusals(t *testing.T) {
	s := fallbacks(t, nil, nil)
	c := streamed(t, s, "channel=room&token=bad")
	c.want(`{"id":1,"error":{"code":101,"message":"no such user"}}`)
	c.want(`close: {"code":4401,"reason":"unauthorized"}`)
	if c.retry != "3600000" {
		t.Errorf("retry is %s", c.retry)
	}
	c.want("end")
	c = streamed(t, s, "channel=room&token=slow")
	c.want(`{"id":1,"error":{"code":111,"message":"later"}}`)
	c.want(`close: {"code":1013,"reason":"connect refused for now: come back"}`)
	c.want("end")
}

// A stream whose connect could not even be asked about ends at once, and its client
// comes back soon: it can send no other connect.
func TestEventStreamOverload(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s := fallbacks(t, nil, func(c *server.Config) {
		c.Limits.AuthorizeMaxPending = 1
		c.Application = &protocol.Application{Connect: func(_ context.Context, r *protocol.ConnectRequest) error {
			close(asked)
			<-release
			r.User = r.Token
			return nil
		}}
	})
	first := streamed(t, s, "token=ann")
	<-asked
	c := streamed(t, s, "token=bob&channel=room")
	c.want(`{"id":1,"error":{"code":111,"message":"the server is busy","retry":1}}`)
	c.want(`close: {"code":1013,"reason":"connect refused for now: come back"}`)
	c.want("end")
	if len(c.retry) != 4 {
		t.Errorf("retry is %s, want 1 to 5 s", c.retry)
	}
	close(release)
	first.wantPrefix(`{"id":1,"connect":`)
}

// An EventSource that the server has no room for, to ask the application whether it may
// connect, learns when to come back.
func TestEventStreamAuthorizeOverload(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s := fallbacks(t, nil, func(c *server.Config) {
		c.Limits.AuthorizeMaxPending = 1
		c.Handler.Authorize = func(context.Context, *server.UpgradeRequest) error {
			close(asked)
			<-release
			return nil
		}
	})
	defer close(release)
	first := connect(t, s)
	first.Put("GET /v1/sse?token=ann HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	c := streamed(t, s, "token=bob")
	c.want(`{"error":{"code":111,"message":"the server is full or stopping","retry":5}}`)
	c.want(`close: {"code":1013,"reason":"the server is full or stopping","retry":5}`)
	if c.want("end"); c.retry != "5000" {
		t.Errorf("retry is %s", c.retry)
	}
}

// A client that waits for Authorize longer than it may, or that the application refuses
// for now, is told in its stream when to come back; the page may read it.
func TestFallbackAuthorizeBusy(t *testing.T) {
	release := make(chan struct{})
	s := fallbacks(t, nil, func(c *server.Config) {
		c.Timeouts.HandshakeTimeout = time.Second
		c.Handler.Authorize = func(_ context.Context, r *server.UpgradeRequest) error {
			if strings.Contains(r.RawQuery(), "refused") {
				return &server.Rejection{Status: http.StatusServiceUnavailable, RetryAfter: 42 * time.Second}
			}
			<-release
			return nil
		}
	})
	defer close(release)
	for _, tc := range []struct {
		query string
		retry int
	}{{"token=slow", 5}, {"token=refused", 42}} {
		busy := fmt.Sprintf(`{"error":{"code":111,"message":"the server is full or stopping","retry":%d}}`, tc.retry)
		end := fmt.Sprintf(`{"code":1013,"reason":"the server is full or stopping","retry":%d}`, tc.retry)
		c := connect(t, s)
		c.Put("GET /v1/poll?" + tc.query + " HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n")
		r := c.WantStatus(200)
		wantHeader(t, r, "Access-Control-Allow-Origin", "http://x")
		wantBody(t, r, "["+busy+`,{"close":`+end+"}]")

		stream := streamed(t, s, tc.query)
		stream.want(busy)
		stream.want("close: " + end)
		if stream.want("end"); stream.retry != strconv.Itoa(tc.retry*1000) {
			t.Errorf("retry is %s", stream.retry)
		}
	}
}

// A client that cannot enter a channel for now keeps its position there, so that it
// resumes when it comes back with nothing but the ID of its last event.
func TestFallbackKeepsPositions(t *testing.T) {
	var open atomic.Bool
	s := fallbacks(t, nil, func(c *server.Config) {
		c.Namespaces[0].Subscribe = protocol.AccessGranted
		c.Application = &protocol.Application{Anonymous: true, Subscribe: func(_ context.Context, r *protocol.SubscribeRequest) error {
			switch {
			case r.Channel == "news:never":
				return &protocol.Error{Code: protocol.CodePermissionDenied, Message: "never"}
			case r.Channel == "news:later" && !open.Load():
				return &protocol.Error{Code: protocol.CodeBusy, Message: "later"}
			}
			return nil
		}}
	})
	say := func(channel string) {
		t.Helper()
		if err := s.Publish(channel, server.Text, []byte("hi")); err != nil {
			t.Fatal(err)
		}
	}
	say("news:later")
	say("news:never")
	first := connect(t, s)
	first.Put("GET /v1/poll?channel=news:a HTTP/1.1\r\nHost: x\r\n\r\n")
	_, cursor := first.answer()
	epoch, _, _ := strings.Cut(strings.TrimPrefix(cursor, "news:a@"), ".")
	at := func(channel string, offset int) string { return fmt.Sprintf("%s@%s.%d", channel, epoch, offset) }
	const query = "channel=news:a&channel=news:later&channel=news:never"
	old := strings.Join([]string{at("news:a", 0), at("news:later", 0), at("news:never", 0), at("news:other", 0)}, ",")

	first.Put("GET /v1/poll?" + query + "&last_event_id=" + old + " HTTP/1.1\r\nHost: x\r\n\r\n")
	want := at("news:a", 0) + "," + at("news:later", 0)
	if _, got := first.answer(); got != want {
		t.Errorf("a poll's next ID is %q, want %q", got, want)
	}
	stream := streamed(t, s, query, "Last-Event-ID: "+old)
	for range 4 { // connect, and three subscribes
		stream.wantPrefix(`{"id":`)
	}
	say("news:a")
	stream.wantPrefix(`{"pub":{"channel":"news:a"`)
	if want := at("news:a", 1) + "," + at("news:later", 0); stream.id != want {
		t.Errorf("the event's ID is %q, want %q", stream.id, want)
	}
	open.Store(true)
	again := streamed(t, s, query, "Last-Event-ID: "+stream.id)
	for text := ""; !strings.HasPrefix(text, `{"pub":{"channel":"news:later"`); {
		if text = again.next(); text == "end" {
			t.Fatal("the stream ended before what was missed came")
		}
	}
}

// A connect that is malformed ends its stream, too.
func TestEventStreamMalformed(t *testing.T) {
	s := fallbacks(t, nil, nil)
	c := streamed(t, s, "token=ann&channel=room&last_event_id=news:1@e.1,news:1@e.2")
	c.want(`{"id":1,"error":{"code":105,"message":"connect.resume has the channel \"news:1\" twice"}}`)
	c.wantPrefix(`close: {"code":4400,`)
	c.want("end")
}

// With NoFallback, and without the native protocol, there are no event streams.
func TestNoFallback(t *testing.T) {
	for _, s := range []*server.Server{fallbacks(t, nil, func(c *server.Config) { c.Handshake.NoFallback = true }), notifier(t, nil, nil)} {
		c := connect(t, s)
		c.Put("GET /v1/sse HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.WantStatus(426)
	}
}

// Last-Event-ID alone resumes all channels exactly: as a header, as an EventSource
// sends it, and as a parameter.
func TestEventStreamResume(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := fallbacks(t, engine, nil)
		channels := "token=ann&channel=news:1&channel=room&channel=" + url.QueryEscape("news:a,b@c é")
		c := streamed(t, s, channels)
		for range 4 {
			_ = c.next() // connect and the three subscriptions
		}
		epoch := epochOf(t, s, "news:1")
		if want := "news:a%2Cb%40c%20%C3%A9@" + epoch + ".0,news:1@" + epoch + ".0,user:ann@" + epoch + ".0"; c.id != want {
			t.Errorf("the ID is %s, want %s", c.id, want)
		}
		say := func(channel, text string) {
			t.Helper()
			if err := s.Publish(channel, server.Text, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		say("news:1", "one")
		c.want(`{"pub":{"channel":"news:1","epoch":"` + epoch + `","offset":1,"data":"one"}}`)
		say("room", "not kept")
		c.want(`{"pub":{"channel":"room","data":"not kept"}}`)
		id := c.id
		if want := "news:a%2Cb%40c%20%C3%A9@" + epoch + ".0,news:1@" + epoch + ".1,user:ann@" + epoch + ".0"; id != want {
			t.Errorf("the ID is %s, want %s", id, want)
		}
		_ = c.head.Body.Close()

		say("news:1", "two")
		say("news:a,b@c é", "three")
		if err := s.PublishUser("ann", server.Text, []byte("four")); err != nil {
			t.Fatal(err)
		}
		for _, again := range []*events{
			streamed(t, s, channels, "Last-Event-ID: "+id),
			streamed(t, s, channels+"&last_event_id="+url.QueryEscape(id)),
			streamed(t, s, channels+"&last_event_id=news:1@"+epoch+".0", "Last-Event-ID: "+id), // the header counts
		} {
			if got := again.next(); !strings.HasSuffix(got, `"channels":{"user:ann":{"epoch":"`+epoch+`","offset":1,"recovered":true}}}}`) {
				t.Errorf("connect was answered %s", got)
			}
			again.want(`{"id":2,"subscribe":{"epoch":"` + epoch + `","offset":2,"recovered":true}}`)
			again.want(`{"id":3,"subscribe":{}}`)
			again.want(`{"id":4,"subscribe":{"epoch":"` + epoch + `","offset":1,"recovered":true}}`)
			got := map[string]bool{again.next(): true, again.next(): true, again.next(): true}
			for _, want := range []string{
				`{"pub":{"channel":"news:1","offset":2,"data":"two"}}`,
				`{"pub":{"channel":"news:a,b@c é","epoch":"` + epoch + `","offset":1,"data":"three"}}`,
				`{"pub":{"channel":"user:ann","epoch":"` + epoch + `","offset":1,"data":"four"}}`,
			} {
				if !got[want] {
					t.Errorf("%s did not come: %v", want, got)
				}
			}
			if want := "news:a%2Cb%40c%20%C3%A9@" + epoch + ".1,news:1@" + epoch + ".2,user:ann@" + epoch + ".1"; again.id != want {
				t.Errorf("the ID is %s, want %s", again.id, want)
			}
		}
		c = streamed(t, s, channels, "Last-Event-ID: news:1@other.1")
		_ = c.next()
		c.want(`{"id":2,"subscribe":{"epoch":"` + epoch + `","offset":2,"recovered":false}}`)
	})
}

// A cursor that is none of ours is a mistake of the client.
func TestEventStreamBadCursor(t *testing.T) {
	s := fallbacks(t, nil, nil)
	for _, id := range []string{"7", "news:1@x", "news:1@x.y", "%zz@x.1", ","} {
		c := connect(t, s)
		c.Put("GET /v1/sse?channel=news:1 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: " + id + "\r\n\r\n")
		_ = c.WantStatus(400)
	}
	// As a parameter it may hold bytes that no header has: none may get into an ID.
	for _, id := range []string{"news:1@e\n\ndata: forged\n\n.1", "x\rdata: forged@e.1", "x\x00@e.1", "x y@e.1", "é@e.1", "x@\xff.1"} {
		c := connect(t, s)
		c.Put("GET /v1/sse?token=ann&last_event_id=" + url.QueryEscape(id) + " HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.WantStatus(400)
	}
}

// A stream whose next request could not carry its positions gets no more channels.
func TestEventStreamManyNames(t *testing.T) {
	s := fallbacks(t, nil, func(c *server.Config) { c.Limits.HandshakeMaxBytes = 1024; c.Limits.ChannelNameMaxBytes = 200 })
	c := streamed(t, s, "channel=news:"+strings.Repeat("a", 150)+"&channel=news:"+strings.Repeat("b", 150)+"&channel=room")
	_ = c.next()
	c.wantPrefix(`{"id":2,"subscribe":{"epoch":`)
	c.wantPrefix(`{"id":3,"error":{"code":108,`)
	c.want(`{"id":4,"subscribe":{}}`)
}
