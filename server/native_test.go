package server_test

import (
	"strings"
	"testing"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// speaking connects a client of the native protocol.
func speaking(t *testing.T, s *server.Server) *client {
	t.Helper()
	c := connect(t, s)
	c.Put(wstest.Upgrade("Sec-WebSocket-Protocol: " + native.Subprotocol))
	wantHeader(t, c.WantStatus(101), "Sec-WebSocket-Protocol", native.Subprotocol)
	return c
}

// epochOf is the epoch of a channel's history.
func epochOf(t *testing.T, s *server.Server, channel string) string {
	t.Helper()
	page, err := s.History(channel, history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return page.Epoch
}

// A connection's life in the native protocol, from nothing to a resume.
func TestNativeLife(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := notifier(t, engine, func(c *server.Config) {
			c.Application = &protocol.Application{Anonymous: true}
			c.Namespaces[0].Publish = protocol.AccessAnyone
			c.Namespaces[0].Presence = true
			c.Handler = server.Handler{}
		})
		epoch := ""
		first := speaking(t, s)
		first.Send(`{"id":1,"subscribe":{"channel":"news:1"}}`)
		first.Want(`{"id":1,"error":{"code":101,"message":"connect first"}}`)
		first.Send(`{"id":2,"connect":{}}`)
		if text := first.Text(); !strings.HasPrefix(text, `{"id":2,"connect":{"client":"`) || !strings.HasSuffix(text, `","ping":45,"limits":{"message":65536,"channels":128}}}`) {
			t.Fatalf("connect was answered %s", text)
		}
		first.Send(`{"id":3,"subscribe":{"channel":"news:1"}}`)
		text := first.Text()
		epoch, _, _ = strings.Cut(strings.TrimPrefix(text, `{"id":3,"subscribe":{"epoch":"`), `"`)
		if text != `{"id":3,"subscribe":{"epoch":"`+epoch+`","offset":0}}` || epoch == "" {
			t.Fatalf("subscribe was answered %s", text)
		}
		first.Send(`{"id":4,"publish":{"channel":"news:1","data":{"a":1},"key":"k"}}`)
		got := map[string]bool{first.Text(): true, first.Text(): true} // the reply may come before or behind
		if !got[`{"id":4,"publish":{"epoch":"`+epoch+`","offset":1}}`] || !got[`{"pub":{"channel":"news:1","epoch":"`+epoch+`","offset":1,"data":{"a":1},"key":"k"}}`] {
			t.Fatalf("publish was answered %v", got)
		}
		first.Send(`{"id":5,"presence":{"channel":"news:1"}}`)
		if text := first.Text(); !strings.HasPrefix(text, `{"id":5,"presence":{"clients":1,"members":[{"client":"`) {
			t.Fatalf("presence was answered %s", text)
		}
		first.Send(`{}`)
		first.Want(`{}`)
		for _, text := range []string{"two", "three"} {
			if err := s.Publish("news:1", server.Text, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		first.Want(`{"pub":{"channel":"news:1","offset":2,"data":"two"}}`)
		first.Want(`{"pub":{"channel":"news:1","offset":3,"data":"three"}}`)

		second := speaking(t, s)
		second.Send(`{"id":1,"connect":{}}`)
		_ = second.Text()
		second.Send(`{"id":2,"subscribe":{"channel":"news:1","resume":{"epoch":"` + epoch + `","offset":1}}}`)
		second.Want(`{"id":2,"subscribe":{"epoch":"` + epoch + `","offset":3,"recovered":true}}`)
		second.Want(`{"pub":{"channel":"news:1","offset":2,"data":"two"}}`)
		second.Want(`{"pub":{"channel":"news:1","offset":3,"data":"three"}}`)
		second.Send(`{"id":3,"unsubscribe":{"channel":"news:1"}}`)
		second.Want(`{"id":3,"unsubscribe":{}}`)
		second.Send(`[]`)
		second.WantClose(4400, "bad request: want one JSON object a message")
	})
}
