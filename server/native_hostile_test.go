package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

// flood sends text without waiting for room.
func (c *client) flood(text string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.WriteString(c, text) // if it fails, answers are missing
	}()
	c.T.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}

// What is no message of the protocol ends the connection, before and after
// connect, and harms no other connection.
func TestNativeBadMessages(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Anonymous: true}, nil)
		other := connected(t, s, "")
		for _, test := range []struct {
			frame  string
			code   ws.StatusCode
			reason string
		}{
			{wstest.Masked(ws.OpBinary, `{"id":1,"connect":{}}`), 1003, "roost.v1.json has text messages only"},
			{wstest.Masked(ws.OpText, "\xff"), 1007, "text is not valid UTF-8"},
			{wstest.Masked(ws.OpText, ""), 4400, "bad request: want one JSON object a message"},
			{wstest.Masked(ws.OpText, "null"), 4400, "bad request: want one JSON object a message"},
			{wstest.Masked(ws.OpText, `{"id":1,"connect":{}}{}`), 4400, "bad request: want one JSON object a message"},
			{wstest.Masked(ws.OpText, strings.Repeat(`{"a":`, 10_001)+"1"+strings.Repeat("}", 10_001)), 4400, "bad request: want one JSON object a message"},
		} {
			before := speaking(t, s)
			before.Put(test.frame)
			before.WantClose(test.code, test.reason)
			after := speaking(t, s)
			after.Send(`{"id":1,"connect":{}}`)
			_ = after.Text()
			after.Put(test.frame)
			after.WantClose(test.code, test.reason)
		}
		other.Send(`{}`)
		other.Want(`{}`)
	})
}

// Thousands of commands in one breath are answered one by one, in order, also
// those that go beyond a limit.
func TestNativeFloods(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Anonymous: true}, func(c *server.Config) { c.Limits.SubscriptionsMax = 10 })
		// Before connect.
		c := speaking(t, s)
		flood := &strings.Builder{}
		for range 1000 {
			flood.WriteString(wstest.Masked(ws.OpText, `{"id":7,"publish":{"channel":"open:x","data":1}}`))
		}
		c.flood(flood.String())
		for range 1000 {
			c.wantError(7, protocol.CodeUnauthorized)
		}
		// More channels than there may be, some of them twice.
		c.Send(`{"id":1,"connect":{}}`)
		_ = c.Text()
		flood.Reset()
		for i := range 2000 {
			fmt.Fprintf(flood, "%s", wstest.Masked(ws.OpText, fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"c%d"}}`, i+1, i/2)))
		}
		c.flood(flood.String())
		for i := range 2000 {
			switch {
			case i < 20 && i%2 == 0:
				c.Want(fmt.Sprintf(`{"id":%d,"subscribe":{}}`, i+1))
			case i < 20:
				c.wantError(i+1, protocol.CodeAlreadySubscribed)
			default:
				c.wantError(i+1, protocol.CodeLimit)
			}
		}
		if got := statsOf(s).Get("subscriptions"); got != 10 {
			t.Errorf("%d subscriptions, want 10", got)
		}
		// In and out of a channel whose subscribers are told.
		other := connected(t, s, "")
		flood.Reset()
		for range 500 {
			flood.WriteString(wstest.Masked(ws.OpText, `{"subscribe":{"channel":"open:x"}}`) + wstest.Masked(ws.OpText, `{"unsubscribe":{"channel":"open:x"}}`))
		}
		flood.WriteString(wstest.Masked(ws.OpText, `{"id":9,"unsubscribe":{"channel":"open:x"}}`))
		other.flood(flood.String())
		for text := other.Text(); !strings.HasPrefix(text, `{"id":9,"error":{"code":107,`); text = other.Text() {
			if !strings.HasPrefix(text, `{"join":`) && !strings.HasPrefix(text, `{"leave":`) {
				t.Fatalf("got %s", text)
			}
		}
	})
}

// A token's rate is kept to: what is too much is not done, and told.
func TestNativeTokenRate(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Connect: anybodyAtRate}, nil)
		c := connected(t, s, "x")
		flood := &strings.Builder{}
		for i := range 100 {
			flood.WriteString(wstest.Masked(ws.OpText, fmt.Sprintf(`{"id":%d,"publish":{"channel":"open:x","data":1}}`, i+1)))
		}
		c.Put(flood.String())
		done, refused := 0, 0
		for range 100 {
			switch text := c.Text(); {
			case strings.Contains(text, `"error":{"code":108,"message":"more messages a second than this client may send","retry":0.`):
				refused++ // a token comes each 0.2 s
			case strings.Contains(text, `"publish":{`):
				done++
			default:
				t.Fatalf("got %s", text)
			}
		}
		// Five in the first second, and in as many more as a slow machine may take.
		if done < 5 || refused == 0 {
			t.Errorf("%d were done and %d refused, want some 5 and 95", done, refused)
		}
	})
}

// Messages that are nearly right, by the thousand: each one with an id has its
// reply, nothing panics, and the server goes on.
func TestNativeFuzzedCommands(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := nativeServer(t, engine, protocol.Application{Anonymous: true}, func(c *server.Config) { c.Limits.SubscriptionsMax = 3 })
		names := []string{"connect", "subscribe", "unsubscribe", "publish", "presence", "history", "call", "refresh", "ack", "id", "pub", ""}
		values := []string{`"open:x"`, `"open:y"`, `"plain"`, `""`, `"user:"`, `"user:x"`, `"nowhere:x"`, `0`, `1`, `-1`, `1e400`, `9007199254740993`, `null`, `true`,
			`[]`, `{}`, `{"epoch":"e","offset":1}`, `{"channel":"open:x","epoch":"e","offset":0}`, `"\ud800"`, `"` + strings.Repeat("n", 300) + `"`}
		members := []string{"channel", "token", "resume", "since", "limit", "reverse", "data", "key", "method", "epoch", "offset", "name"}
		pick := func(from []string) string { return from[random.IntN(len(from))] }
		c := speaking(t, s)
		const commands = 3000
		var flood strings.Builder
		for i := range commands {
			if i == 100 {
				flood.WriteString(wstest.Masked(ws.OpText, `{"connect":{}}`))
			}
			body := []string{}
			if random.IntN(2) == 0 {
				body = append(body, `"channel":`+pick(values[:7]))
			}
			for range random.IntN(4) {
				body = append(body, `"`+pick(members)+`":`+pick(values))
			}
			value := "{" + strings.Join(body, ",") + "}"
			if random.IntN(20) == 0 {
				value = pick(values)
			}
			flood.WriteString(wstest.Masked(ws.OpText, fmt.Sprintf(`{"id":%d,"%s":%s}`, i+1, pick(names[:9]), value)))
		}
		c.flood(flood.String())
		next := 1
		for next <= commands {
			var m map[string]json.RawMessage
			text := c.Text()
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if id, ok := m["id"]; ok {
				if string(id) != fmt.Sprint(next) {
					t.Fatalf("got %s, want the reply to %d", text, next)
				}
				next++
			}
		}
	})
}

// Of a channel with policy skip, every message comes once and in order, or is
// within a gap that was told.
func TestNativeGapsAccountForAll(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, transcriptConfig(engine))
		c := connected(t, s, "ann")
		c.Send(`{"id":2,"subscribe":{"channel":"ticker:gold"}}`)
		_ = c.Text()
		p := &play{t: t, server: s}
		if err := p.stall("ticker:gold"); err != nil {
			t.Fatal(err)
		}
		newest, err := s.History("ticker:gold", history.Query{})
		if err != nil {
			t.Fatal(err)
		}
		var at uint64
		gaps := 0
		for at < newest.Offset {
			var m struct {
				Pub *struct{ Offset uint64 }
				Gap *struct{ From, To uint64 }
			}
			if err := json.Unmarshal([]byte(c.Text()), &m); err != nil {
				t.Fatal(err)
			}
			switch {
			case m.Pub != nil && m.Pub.Offset == at+1:
				at++
			case m.Gap != nil && m.Gap.From == at+1 && m.Gap.To >= m.Gap.From:
				at = m.Gap.To
				gaps++
			default:
				t.Fatalf("at %d came %+v, %+v", at, m.Pub, m.Gap)
			}
		}
		if gaps == 0 {
			t.Error("nothing was skipped")
		}
		if got := statsOf(s).Get("slow_drops"); got == 0 {
			t.Error("nothing was counted")
		}
	})
}

// Clients of raw messages and of the native protocol share channels: each gets its
// own form, and only native clients are told who joins.
func TestNativeBesideRaw(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Anonymous: true}, func(c *server.Config) {
			c.Handler.Upgrade = func(r *server.UpgradeRequest) error {
				if r.Subprotocol == "" {
					r.Channels = []string{"open:x"}
				}
				return nil
			}
		})
		native := connected(t, s, "")
		native.Send(`{"id":2,"subscribe":{"channel":"open:x"}}`)
		_, _ = native.Text(), native.Text() // the reply, and its own join
		// A join is announced after the 101. The raw client comes second, for its join to
		// be seen for sure.
		raw := upgraded(t, s)
		if got := native.Text(); !strings.HasPrefix(got, `{"join":{"channel":"open:x","client":"`) {
			t.Fatalf("got %s, want the raw client's join", got)
		}
		for _, text := range []string{`{"a":1}`, "text"} {
			if _, err := s.PublishMessage(t.Context(), server.Publication{Channel: "open:x", Payload: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Broadcast(server.Binary, []byte{1, 2}); err != nil {
			t.Fatal(err)
		}
		raw.Want(`{"a":1}`)
		raw.Want("text")
		raw.WantFrame(ws.OpBinary, "\x01\x02")
		native.Want(`{"pub":{"channel":"open:x","epoch":"` + epochOf(t, s, "open:x") + `","offset":1,"data":{"a":1}}}`)
		native.Want(`{"pub":{"channel":"open:x","offset":2,"data":"text"}}`)
		native.Want(`{"message":{"data":"AQI=","encoding":"base64"}}`)
		raw.Send("raw clients publish nothing by themselves, whatever they say: {}")
		native.Send(`{"id":3,"presence":{"channel":"open:x"}}`)
		if got := native.Text(); !strings.HasPrefix(got, `{"id":3,"presence":{"clients":2,"members":[{"client":"`) {
			t.Errorf("presence was answered %s", got)
		}
	})
}

// Presence is bounded in what it lists, not in what it counts, over all loops.
func TestNativePresenceIsBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Anonymous: true}, nil)
		const clients = 12
		all := make([]*client, clients)
		for i := range all {
			all[i] = connected(t, s, "")
			all[i].Send(`{"id":2,"subscribe":{"channel":"open:x"}}`)
			if got := all[i].Text(); !strings.HasPrefix(got, `{"id":2,"subscribe":{`) {
				t.Fatalf("got %s", got)
			}
		}
		all[0].Send(`{"id":3,"presence":{"channel":"open:x","limit":5}}`)
		var m struct {
			ID       int
			Presence struct {
				Clients   int
				Members   []struct{ Client string }
				Truncated bool
			}
		}
		for m.ID != 3 {
			if err := json.Unmarshal([]byte(all[0].Text()), &m); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]bool{}
		for _, member := range m.Presence.Members {
			seen[member.Client] = true
		}
		if m.Presence.Clients != clients || len(seen) != 5 || !m.Presence.Truncated {
			t.Errorf("got %+v, want 5 of %d", m.Presence, clients)
		}
	})
}
