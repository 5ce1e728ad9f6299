package server_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// lines is a protocol that has what the native one has not: several commands in a
// message, heartbeats whose answer is another text, its own names of channels and
// close codes, and binary data in a packet of its own.
type lines struct{}

func (lines) Subprotocol() string           { return "lines" }
func (lines) Heartbeat() protocol.Heartbeat { return protocol.Heartbeat{Ask: "ping", Answer: "pong"} }

func (lines) Decode(p []byte, binary bool, c *protocol.Command) (rest []byte, err error) {
	line, rest, _ := bytes.Cut(p, []byte("\n"))
	words := strings.Fields(string(line))
	*c = protocol.Command{ID: 1, Limit: -1}
	for kind := protocol.Connect; kind <= protocol.Ack; kind++ {
		if len(words) > 0 && words[0] == kind.String() {
			c.Kind = kind
		}
	}
	if c.Kind == 0 {
		return nil, protocol.EndMalformed
	}
	if len(words) > 1 {
		c.Channel = "open:" + words[1]
	}
	if len(words) > 2 {
		c.Data = []byte(words[2])
	}
	return rest, nil
}

func (lines) say(out *protocol.Packets, format string, args ...any) {
	out.Text(fmt.Appendf(out.Begin(), format, args...))
}

func (l lines) Reply(out *protocol.Packets, c *protocol.Command, _ *protocol.Result) {
	l.say(out, "done %s", c.Kind)
}

func (l lines) Error(out *protocol.Packets, _ uint64, e *protocol.Error) {
	l.say(out, "failed E%d", e.Code)
}

func (l lines) Message(out *protocol.Packets, m *protocol.Message) {
	l.say(out, "%s: %s", strings.TrimPrefix(m.Channel, "open:"), m.Data)
}

func (l lines) Membership(out *protocol.Packets, m *protocol.Membership) {
	l.say(out, "news of %s", m.Channel)
}

func (l lines) Reset(out *protocol.Packets, channel string, at history.Position) {
	l.say(out, "reset %s %s %d", channel, at.Epoch, at.Offset)
}

func (l lines) Gap(out *protocol.Packets, channel, _ string, from, to uint64) {
	l.say(out, "gap %s %d %d", channel, from, to)
}

// Subscribed has an attachment.
func (l lines) Subscribed(out *protocol.Packets, s *protocol.ChannelState) {
	l.say(out, "now in %s", s.Channel)
	out.Binary(append(out.Begin(), byte(s.Position.Offset)))
}

func (l lines) Unsubscribed(out *protocol.Packets, channel string, _ *protocol.Error) {
	l.say(out, "out of %s", channel)
}

func (lines) Close(e protocol.Ending) (frame.CloseCode, string) { return 4900, e.Error() }

// A second protocol is a codec and nothing else: the rules, the fan-out, and
// heartbeats are there for both, and a publication reaches each in its own form.
func TestTwoProtocols(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := nativeServer(t, engine, protocol.Application{Connect: anybody, Anonymous: true}, func(c *server.Config) {
			c.Application.Protocols = []protocol.Codec{native.Codec{}, lines{}}
			c.Timeouts.PingInterval, c.Timeouts.PongTimeout = 200*time.Millisecond, time.Minute
		})
		first := connected(t, s, "")
		first.Send(`{"id":2,"subscribe":{"channel":"open:room"}}`)
		first.Text()
		first.Text() // its join

		second := connect(t, s)
		second.Put(wstest.Upgrade("Sec-WebSocket-Protocol: lines"))
		wantHeader(t, second.WantStatus(101), "Sec-WebSocket-Protocol", "lines")
		next := func() string {
			for {
				if got := second.Text(); got != "ping" {
					return got
				}
				second.Send("pong")
			}
		}
		second.Send("subscribe room\nconnect\nsubscribe room\nsubscribe room\npublish room 7")
		for _, want := range []string{"failed E101", "done connect", "done subscribe", "failed E106"} {
			if got := next(); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		got := map[string]bool{next(): true, next(): true, next(): true} // in no order
		if !got["done publish"] || !got["room: 7"] || !got["news of open:room"] {
			t.Fatalf("got %v", got)
		}
		for {
			got := first.Text()
			if got == `{"pub":{"channel":"open:room","epoch":"`+epochOf(t, s, "open:room")+`","offset":1,"data":7}}` {
				break
			}
			if got != "{}" && !strings.HasPrefix(got, `{"join":`) {
				t.Fatalf("the native client got %s", got)
			}
		}
		second.Send("ping")
		if got := next(); got != "pong" {
			t.Fatalf("a heartbeat was answered %q", got)
		}
		if info := statsOf(s); info.Get("pongs_received") == 0 && info.Get("pings_received") == 0 {
			t.Error("no heartbeat was counted")
		}
		second.Send("nonsense")
		for {
			f, err := wstest.ReadFrame(second)
			if err != nil {
				t.Fatal(err)
			}
			if f.Header.OpCode == ws.OpClose {
				if got, want := string(f.Payload), "\x13\x24malformed message"; got != want {
					t.Errorf("closed with %q, want %q", got, want)
				}
				break
			}
		}
	})
}

// What the application does reaches a protocol with as many packets as it wants.
func TestPacketsOfAPush(t *testing.T) {
	s := nativeServer(t, nil, protocol.Application{Connect: anybody, Anonymous: true}, func(c *server.Config) {
		c.Application.Protocols = []protocol.Codec{lines{}}
		c.Handler.Upgrade = func(r *server.UpgradeRequest) error {
			r.User = "ann"
			return nil
		}
	})
	c := connect(t, s)
	c.Put(wstest.Upgrade("Sec-WebSocket-Protocol: lines"))
	c.WantStatus(101)
	c.Send("connect")
	c.Want("done connect")
	if err := subscribe(s, server.Audience{User: "ann"}, "open:room"); err != nil {
		t.Fatal(err)
	}
	c.WantFrame(ws.OpText, "now in open:room")
	c.WantFrame(ws.OpBinary, "\x00")
	c.Want("news of open:room")
}
