package server_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// What the application has subscribed a user to is resumed by connect, also while
// the server still believes in the old connection, until the application ends it.
func TestNativeResumesWhatTheApplicationSubscribed(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Connect: anybody}, func(c *server.Config) {
			c.Namespaces[0].JoinLeave = false
		})
		first := connected(t, s, "ann")
		for _, channel := range []string{"open:room", "open:left", "open:ended", "plain"} {
			if err := subscribe(s, server.Audience{User: "ann"}, channel); err != nil {
				t.Fatal(err)
			}
		}
		epoch := ""
		for range 4 {
			got := first.Text()
			if m := regexp.MustCompile(`"epoch":"([^"]+)"`).FindStringSubmatch(got); m != nil {
				epoch = m[1]
			}
		}
		first.Send(`{"id":2,"unsubscribe":{"channel":"open:left"}}`)
		first.Want(`{"id":2,"unsubscribe":{}}`)
		if err := unsubscribe(s, server.Audience{User: "ann"}, "open:ended"); err != nil {
			t.Fatal(err)
		}
		first.Text()
		if err := s.Publish("open:room", server.Text, []byte("1")); err != nil {
			t.Fatal(err)
		}
		first.Text()

		at := `{"epoch":"` + epoch + `","offset":0}`
		resume := `{"open:room":` + at + `,"open:left":` + at + `,"open:ended":` + at + `,"plain":` + at + `,"open:never":` + at + `}`
		wantRoom := func(user string, want bool) *client {
			t.Helper()
			c := speaking(t, s)
			c.Send(`{"id":1,"connect":{"token":"` + user + `","resume":` + resume + `}}`)
			got := c.Text()
			if has := strings.Contains(got, `"open:room":{"epoch":"`+epoch+`","offset":1,"recovered":true}`); has != want {
				t.Fatalf("the reply to %s is %s; open:room in it should be %v", user, got, want)
			}
			if strings.Contains(got, "left") || strings.Contains(got, "ended") || strings.Contains(got, "never") || strings.Contains(got, "plain") {
				t.Fatalf("the reply to %s is %s: it has channels that nobody may resume", user, got)
			}
			if want {
				c.Want(`{"pub":{"channel":"open:room","epoch":"` + epoch + `","offset":1,"data":1}}`)
			}
			return c
		}
		second := wantRoom("ann", true) // the first one is still there
		wantRoom("bob", false)
		for _, c := range []*client{first, second} {
			c.Put(wstest.Masked(ws.OpClose, "\x03\xe8"))
			c.WantClose(1000, "")
		}
		third := wantRoom("ann", true)
		if err := unsubscribe(s, server.Audience{User: "ann"}, "open:room"); err != nil {
			t.Fatal(err)
		}
		third.Want(`{"unsubscribed":{"channel":"open:room","code":103,"message":"ended by the application"}}`)
		wantRoom("ann", false)
	})
}

// An ack is for a position that was.
func TestNativeAcksOfNoPosition(t *testing.T) {
	s := nativeServer(t, nil, protocol.Application{Anonymous: true}, nil)
	c := connected(t, s, "")
	c.Send(`{"id":2,"subscribe":{"channel":"open:room"}}`)
	epoch := strings.Split(c.Text(), `"`)[7]
	c.Text() // its join
	for _, at := range []string{`"epoch":"` + epoch + `","offset":1`, `"epoch":"other","offset":0`} {
		c.Send(`{"id":3,"ack":{"channel":"open:room",` + at + `}}`)
		c.Want(`{"id":3,"error":{"code":105,"message":"the channel was never at this position"}}`)
	}
	c.Send(`{"id":4,"ack":{"channel":"open:room","epoch":"` + epoch + `","offset":0}}`)
	c.Want(`{"id":4,"ack":{}}`)
	c.Send(`{"id":5,"subscribe":{"channel":"plain"}}`)
	c.Want(`{"id":5,"subscribe":{}}`)
	c.Send(`{"id":6,"ack":{"channel":"plain","epoch":"` + epoch + `","offset":0}}`)
	c.wantError(6, protocol.CodeNotAvailable)
}

// Clients of a server that stops are told when to come back, each its own moment.
func TestShutdownSpreadsClients(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Anonymous: true}, nil)
		clients := make([]*client, 8)
		for i := range clients {
			clients[i] = connected(t, s, "")
		}
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
			defer cancel()
			done <- s.Shutdown(ctx)
		}()
		reason := regexp.MustCompile(`^server is going away; retry=(\d+)$`)
		slots := map[string]bool{}
		for _, c := range clients {
			f, err := wstest.ReadFrame(c)
			if err != nil || f.Header.OpCode != ws.OpClose {
				t.Fatalf("got %v, %v, want a Close frame", f.Header.OpCode, err)
			}
			code, text := ws.ParseCloseFrameData(f.Payload)
			m := reason.FindStringSubmatch(text)
			if code != 1001 || m == nil {
				t.Fatalf("closed with %d %q", code, text)
			}
			if d, err := time.ParseDuration(m[1] + "ms"); err != nil || d > time.Second {
				t.Errorf("a client was told %q, want a second at most for few clients", text)
			}
			slots[m[1]] = true
			c.Put(wstest.Masked(ws.OpClose, "\x03\xe9"))
		}
		if len(slots) < 4 {
			t.Errorf("all clients were told the same: %v", slots)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
