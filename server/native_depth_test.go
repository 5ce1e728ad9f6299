package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// JSON that receivers could not read gets in on no way: not from clients, nor from
// publishers, nor in answers of the application.
func TestDataMaxDepth(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{
			Connect: func(_ context.Context, r *protocol.ConnectRequest) error {
				r.User = "ann"
				switch r.Token {
				case "reply":
					r.Reply = json.RawMessage(nested(65))
				case "info":
					r.Info = json.RawMessage(nested(65))
				}
				return nil
			},
			Publish: func(_ context.Context, r *protocol.PublishRequest) error {
				r.Data = json.RawMessage(nested(65))
				return nil
			},
			Call: func(_ context.Context, r *protocol.CallRequest) error {
				r.Reply = json.RawMessage(nested(65))
				if r.Method == "good" {
					r.Reply = json.RawMessage(nested(64))
				}
				return nil
			},
		}, nil)
		c := speaking(t, s)
		c.Send(`{"id":1,"connect":{"token":"good","data":` + nested(65) + `}}`)
		c.Want(`{"id":1,"error":{"code":105,"message":"connect.data is nested 65 deep: want at most 64"}}`)
		for i, token := range []string{"reply", "info"} {
			c.Send(fmt.Sprintf(`{"id":%d,"connect":{"token":%q}}`, 2+i, token))
			c.wantError(2+i, protocol.CodeInternal)
		}
		c.Send(`{"id":4,"connect":{"token":"good","data":` + nested(64) + `}}`)
		if got := c.Text(); !strings.HasPrefix(got, `{"id":4,"connect":{"client":"`) {
			t.Fatalf("connect was answered %s", got)
		}
		c.Send(`{"id":5,"publish":{"channel":"open:room","data":` + nested(65) + `}}`)
		c.Want(`{"id":5,"error":{"code":105,"message":"publish.data is nested 65 deep: want at most 64"}}`)
		c.Send(`{"id":6,"call":{"method":"m","data":` + nested(65) + `}}`)
		c.Want(`{"id":6,"error":{"code":105,"message":"call.data is nested 65 deep: want at most 64"}}`)
		c.Send(`{"id":7,"publish":{"channel":"granted:room","data":1}}`)
		c.wantError(7, protocol.CodeInternal)
		c.Send(`{"id":8,"call":{"method":"m"}}`)
		c.wantError(8, protocol.CodeInternal)
		c.Send(`{"id":9,"call":{"method":"good","data":` + nested(64) + `}}`)
		c.Want(`{"id":9,"call":{"data":` + nested(64) + `}}`)

		var refused *protocol.Error
		for _, p := range []server.Publication{{Channel: "open:room"}, {User: "ann"}, {All: true}} {
			p.Payload = []byte(nested(65))
			if _, err := s.PublishMessage(t.Context(), p); !errors.As(err, &refused) || refused.Code != protocol.CodeBadRequest {
				t.Errorf("publishing to %q, %q, %v: %v", p.Channel, p.User, p.All, err)
			}
		}
		// What is no JSON travels as a string, and binary data in base64.
		if err := s.PublishUser("ann", server.Text, []byte(strings.Repeat("[", 65))); err != nil {
			t.Fatal(err)
		}
		c.Want(`{"pub":{"channel":"user:ann","data":"` + strings.Repeat("[", 65) + `"}}`)
		if err := s.PublishUser("ann", server.Binary, []byte(nested(65))); err != nil {
			t.Fatal(err)
		}
		if got := c.Text(); !strings.HasSuffix(got, `"encoding":"base64"}}`) {
			t.Errorf("binary data came as %s", got)
		}
	})
	// Without a protocol a message is only bytes.
	s := start(t, server.Config{})
	if err := s.Broadcast(server.Text, []byte(nested(65))); err != nil {
		t.Error(err)
	}
}
