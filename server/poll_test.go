package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// poll sends a poll whose body is these commands, and the method and lines of the head.
func (c *client) poll(query, body string, lines ...string) {
	c.T.Helper()
	c.Put(fmt.Sprintf("POST /v1/poll?%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s", query, len(body), strings.Join(append(lines, ""), "\r\n"), body))
}

// answer reads the response to a poll.
func (c *client) answer() (elements, cursor string) {
	c.T.Helper()
	r := c.WantStatus(200)
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Content-Type") != "application/json" {
		c.T.Fatalf("%v: %v", r.Header, err)
	}
	return string(body), r.Header.Get("Last-Event-ID")
}

func (c *client) wantAnswer(want string) {
	c.T.Helper()
	if got, _ := c.answer(); got != want {
		c.T.Fatalf("got %s, want %s", got, want)
	}
}

// Long polls, one after the other over one connection: with positions in commands and
// in a cursor, with bodies of all kinds, answered at once and when there is something.
func TestPoll(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := fallbacks(t, engine, func(c *server.Config) {
			c.Application = &protocol.Application{Anonymous: true}
			c.Events = func(e *protocol.Event) {
				if e.Type != protocol.EventOccupied && e.Type != protocol.EventVacated && e.Type != protocol.EventMessage {
					t.Errorf("a poll causes the event %+v", e)
				}
			}
		})
		say := func(text string) {
			t.Helper()
			if err := s.Publish("news:1", server.Text, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		const hello = `{"connect":{}}` + "\n"
		c := connect(t, s)
		c.poll("wait=20", hello+`{"id":2,"subscribe":{"channel":"news:1"}}`)
		got, cursor := c.answer() // at once, because the client has to learn the position
		epoch := epochOf(t, s, "news:1")
		if got != `[{"id":2,"subscribe":{"epoch":"`+epoch+`","offset":0}}]` || cursor != "news:1@"+epoch+".0" {
			t.Fatalf("got %s, %s", got, cursor)
		}
		resume := func(offset int) string {
			return fmt.Sprintf(`{"subscribe":{"channel":"news:1","resume":{"epoch":%q,"offset":%d}}}`, epoch, offset)
		}
		say("one")
		// Chunked, in pieces.
		c.Put("POST /v1/poll HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x;a=b\r\n%s\r\n", len(hello), hello))
		c.Put(fmt.Sprintf("%X\r\n%s", len(resume(0)), resume(0)[:10]))
		c.Put(resume(0)[10:] + "\r\n0\r\nTrailer: x\r\n\r\n")
		one := `{"pub":{"channel":"news:1","epoch":"` + epoch + `","offset":1,"data":"one"}}`
		c.wantAnswer(`[` + one + `]`)

		c.poll("wait=30", hello+resume(1)+"\r\n") // nothing is behind it: it waits
		eventually(t, "a poll waits", func() bool { return statsOf(s).Get("polls") == 1 })
		say("two")
		got, cursor = c.answer()
		if got != `[{"pub":{"channel":"news:1","offset":2,"data":"two"}}]` || cursor != "news:1@"+epoch+".2" {
			t.Fatalf("got %s, %s", got, cursor)
		}
		c.poll("wait=0.1", hello+resume(2))
		c.wantAnswer(`[]`)

		// A query, as curl has it.
		c.Put("GET /v1/poll?channel=news:1 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: news:1@" + epoch + ".1\r\n\r\n")
		if got, _ := c.answer(); !strings.HasPrefix(got, `[{"id":1,"connect":{"client":"`) || !strings.HasSuffix(got, `,{"id":2,"subscribe":{"epoch":"`+epoch+`","offset":2,"recovered":true}},{"pub":{"channel":"news:1","offset":2,"data":"two"}}]`) {
			t.Fatalf("got %s", got)
		}
		// Commands need no subscription; requests may come together.
		publish := hello + `{"id":7,"publish":{"channel":"news:1","data":3}}`
		c.Put(fmt.Sprintf("POST /v1/poll HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%sPOST /v1/poll HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
			len(publish), publish, len(publish), publish))
		c.wantAnswer(`[{"id":7,"publish":{"epoch":"` + epoch + `","offset":3}}]`)
		c.wantAnswer(`[{"id":7,"publish":{"epoch":"` + epoch + `","offset":4}}]`)
		if st := statsOf(s); st.Get("polls") != 0 || st.Get("subscriptions") != 0 || st.Get("polls_answered") != 7 {
			t.Errorf("polls = %d, subscriptions = %d, polls_answered = %d", st.Get("polls"), st.Get("subscriptions"), st.Get("polls_answered"))
		}
		c.poll("", hello, "Connection: close")
		c.wantAnswer(`[]`)
		c.WantEnd()
	})
}

// Requests that come over one connection are of different users, and none gets what is
// another's.
func TestPollUsers(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := fallbacks(t, engine, nil)
		c := connect(t, s)
		for i := range 20 {
			user := fmt.Sprint("u", i%3)
			c.poll("", `{"id":1,"connect":{"token":"`+user+`"}}`)
			got, _ := c.answer()
			if !strings.Contains(got, `"user":"`+user+`"`) {
				t.Fatalf("got %s", got)
			}
			if err := s.PublishUser(user, server.Text, []byte("late")); err != nil {
				t.Fatal(err)
			}
		}
		c.poll("", `{"id":1,"connect":{}}`, "Authorization: Bearer eve")
		if got, _ := c.answer(); !strings.Contains(got, `"user":"eve"`) {
			t.Errorf("with a token in the head: got %s", got)
		}
		c.poll("", `{"id":1,"connect":{"token":"bad"}}`+"\n"+`{"id":2,"subscribe":{"channel":"room"}}`)
		c.wantAnswer(`[{"id":1,"error":{"code":101,"message":"no such user"}},{"close":{"code":4401,"reason":"unauthorized"}}]`)
		c.WantEnd()
	})
}

// While the application decides on one request, those behind it wait whole, however
// much of them came with the first.
func TestPollPipelineBehindAuthorize(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		begun, decide := make(chan struct{}, 3), make(chan struct{})
		s := fallbacks(t, engine, func(c *server.Config) {
			c.Handler.Authorize = func(context.Context, *server.UpgradeRequest) error {
				begun <- struct{}{}
				<-decide
				return nil
			}
		})
		request := func(user string) string {
			body := `{"id":1,"connect":{"token":"` + user + `"}}`
			return fmt.Sprintf("POST /v1/poll HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
		c := connect(t, s)
		second := request("bob") + request("eve")
		c.Put(request("ann") + second[:30])
		<-begun
		c.Put(second[30:])
		close(decide)
		for _, user := range []string{"ann", "bob", "eve"} {
			if got, _ := c.answer(); !strings.Contains(got, `"user":"`+user+`"`) {
				t.Fatalf("got %s, want the answer to %s", got, user)
			}
		}
	})
}

// The time of an opening handshake begins with the request, also on a connection that
// was kept.
func TestPollHandshakeTime(t *testing.T) {
	s := fallbacks(t, nil, nil)
	sum := func() time.Duration {
		for _, d := range s.Distributions() {
			if d.Name == "handshake_seconds" {
				return time.Duration(d.Sum * float64(time.Second))
			}
		}
		return 0
	}
	c := connect(t, s)
	c.poll("wait=0.1", `{"connect":{"token":"ann"}}`)
	_, _ = c.answer()
	before, begun := sum(), time.Now()
	c.poll("", `{"id":1,"connect":{"token":"ann"}}`)
	_, _ = c.answer()
	if took, counted := time.Since(begun), sum()-before; counted > took {
		t.Errorf("a handshake of %v is counted, and the request took %v", counted, took)
	}
}

// Waiting polls cost no goroutine, and all of them are answered when the server ends.
func TestPollGoroutines(t *testing.T) {
	s := fallbacks(t, nil, nil)
	before := runtime.NumGoroutine()
	const polls = 300
	var clients []*client
	for range polls {
		c := connect(t, s)
		c.poll("wait=50", `{"connect":{}}`)
		clients = append(clients, c)
	}
	eventually(t, "all wait", func() bool { return statsOf(s).Get("polls") == polls })
	if n := runtime.NumGoroutine() - before; n > polls/10 {
		t.Errorf("%d goroutines for %d polls", n, polls)
	}
	if err := s.Shutdown(within(t)); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if got, _ := c.answer(); !strings.HasPrefix(got, `[{"close":{"code":1001,"reason":"server is going away"`) {
			t.Fatalf("got %s", got)
		}
	}
}

// POST begins an event stream, too.
func TestEventStreamPost(t *testing.T) {
	s := fallbacks(t, nil, nil)
	w, err := http.Post("http://"+s.Addrs()[0].String()+"/v1/sse", "application/x-ndjson", strings.NewReader(`{"id":5,"connect":{"token":"ann"}}`+"\n"+`{"id":6,"subscribe":{"channel":"room"}}`))
	if err != nil {
		t.Fatal(err)
	}
	c := newEvents(t, w)
	c.wantPrefix(`{"id":5,"connect":{"client":"`)
	c.want(`{"id":6,"subscribe":{}}`)
	if err := s.Publish("room", server.Text, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	c.want(`{"pub":{"channel":"room","data":"hi"}}`)
}

// Bodies that must not be read.
func TestPollBadBodies(t *testing.T) {
	s := fallbacks(t, nil, func(c *server.Config) { c.Limits.MessageMaxBytes = 100 })
	for body, status := range map[string]int{
		"Content-Length: 101\r\n\r\n":                                         413,
		"Transfer-Encoding: chunked\r\n\r\n65\r\n":                            413,
		"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n":             413,
		"Transfer-Encoding: chunked\r\n\r\nx\r\n":                             400,
		"Transfer-Encoding: chunked\r\n\r\n2\nab":                             400,
		"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n":                      400,
		"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n":    400,
		"Transfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("a", 2000): 400,
	} {
		c := connect(t, s)
		c.Put("POST /v1/poll HTTP/1.1\r\nHost: x\r\n" + body)
		_ = c.WantStatus(status)
	}
}

// rawTLS connects with TLS.
func rawTLS(t *testing.T, s *server.Server) *client {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Addrs()[0].String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

// A TLS connection goes on from one poll to the next, and a stream needs no more than
// its socket.
func TestFallbacksTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := startTLS(t, server.Config{Engine: server.Engine{Driver: engine}, Application: tokenUsers, Namespaces: []server.Namespace{{Name: "news", HistoryMessages: 10}}})
		c := rawTLS(t, s)
		for i := range 5 {
			c.poll("", fmt.Sprintf(`{"id":%d,"connect":{}}`, i+1))
			if got, _ := c.answer(); !strings.HasPrefix(got, fmt.Sprintf(`[{"id":%d,"connect":`, i+1)) {
				t.Fatalf("got %s", got)
			}
		}
		c.poll("wait=30", `{"connect":{}}`+"\n"+`{"subscribe":{"channel":"room"}}`)
		stream := rawTLS(t, s)
		stream.Put("GET /v1/sse?channel=news:1 HTTP/1.1\r\nHost: x\r\n\r\n")
		head, err := stream.Response(http.MethodGet)
		if err != nil {
			t.Fatal(err)
		}
		e := newEvents(t, head)
		e.wantPrefix(`{"id":1,"connect":`)
		e.wantPrefix(`{"id":2,"subscribe":`)
		for _, channel := range []string{"room", "news:1"} {
			if err := s.Publish(channel, server.Text, []byte("hi")); err != nil {
				t.Fatal(err)
			}
		}
		c.wantAnswer(`[{"pub":{"channel":"room","data":"hi"}}]`)
		e.wantPrefix(`{"pub":{"channel":"news:1","epoch":`)
		if n := statsOf(s).Get("accepted"); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}
