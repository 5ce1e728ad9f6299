package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/protocol"
)

// While the application is asked, pings and heartbeats are answered, and what a
// client has sent meanwhile is carried out after it, in order, however much it is.
func TestNativeOrderWhileAsked(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		release := make(chan struct{})
		s := nativeServer(t, engine, protocol.Application{Anonymous: true, Subscribe: func(context.Context, *protocol.SubscribeRequest) error {
			<-release
			return nil
		}}, nil)
		c := connected(t, s, "")
		c.Send(`{"id":2,"subscribe":{"channel":"granted:room"}}`)
		c.Send(`{}`)
		c.Want(`{}`)
		c.Put(wstest.Masked(ws.OpPing, "there?"))
		c.WantFrame(ws.OpPong, "there?")
		const many = 200 // beyond what is queued: the connection is not read for a while
		padding := strings.Repeat("x", 500)
		for i := range many {
			c.Send(fmt.Sprintf(`{"id":%d,"publish":{"channel":"open:room","data":%q}}`, 3+i, padding))
		}
		c.Send(`{"id":1000,"unsubscribe":{"channel":"granted:room"}}`)
		close(release)
		c.Want(`{"id":2,"subscribe":{}}`)
		for i := range many {
			if got, want := c.Text(), fmt.Sprintf(`{"id":%d,"publish":{`, 3+i); !strings.HasPrefix(got, want) {
				t.Fatalf("got %.80s, want %s", got, want)
			}
		}
		c.Want(`{"id":1000,"unsubscribe":{}}`)
		c.Send(" { }\n") // as some libraries write it
		c.Want(`{}`)
	})
}

// Calls of one connection run side by side, 16 at a time. What follows waits for
// none of them, but a further call for its place.
func TestNativeParallelCalls(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		begun, release := make(chan string), make(chan struct{})
		s := nativeServer(t, engine, protocol.Application{Anonymous: true, Call: func(_ context.Context, r *protocol.CallRequest) error {
			begun <- r.Method
			<-release
			return nil
		}}, nil)
		c := connected(t, s, "")
		for i := range 16 {
			c.Send(fmt.Sprintf(`{"id":%d,"call":{"method":"m"}}`, 10+i))
			<-begun
		}
		c.Send(`{"id":2,"subscribe":{"channel":"open:room"}}`)
		if got := c.Text(); !strings.HasPrefix(got, `{"id":2,"subscribe":{"epoch":"`) {
			t.Fatalf("got %s, want the subscription", got)
		}
		c.Text() // its join
		c.Send(`{"id":30,"call":{"method":"seventeenth"}}`)
		c.Send(`{"id":31,"unsubscribe":{"channel":"open:room"}}`)
		c.Send(`{}`)
		c.Want(`{}`)
		release <- struct{}{} // one ends
		if got := <-begun; got != "seventeenth" {
			t.Fatalf("%q has begun", got)
		}
		ended := map[string]bool{}
		for len(ended) < 2 {
			got := c.Text()
			if strings.HasPrefix(got, `{"leave"`) {
				continue
			}
			ended[got] = true
		}
		if !ended[`{"id":31,"unsubscribe":{}}`] {
			t.Errorf("got %v, want the unsubscribe behind the first call", ended)
		}
		close(release)
		for range 16 {
			if got := c.Text(); !strings.HasSuffix(got, `"call":{}}`) {
				t.Errorf("got %s, want the end of a call", got)
			}
		}
	})
}
