package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// A message that drips in is closed with 1008, though each byte keeps the
// connection alive; one that takes its time within the limit is not.
func TestSlowMessage(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Timeouts: server.Timeouts{MessageTimeout: 4 * time.Second}, Handler: server.Handler{Message: echo}})
		slow := upgraded(t, s)
		donec := make(chan struct{})
		go func() {
			defer close(donec)
			for _, b := range []byte(wstest.Masked(ws.OpText, strings.Repeat("x", 120))) {
				if _, err := slow.Write([]byte{b}); err != nil {
					return // thrown out
				}
				time.Sleep(50 * time.Millisecond) // what it is to be slow
			}
		}()
		slow.WantClose(1008, "message took too long to arrive")
		_ = slow.Close()
		<-donec
		if n := statsOf(s).Get("message_timeouts"); n != 1 {
			t.Errorf("MessageTimeouts = %d, want 1", n)
		}
		// A quick message between two halves of others does not inherit their time.
		good := upgraded(t, s)
		for range 6 {
			text := wstest.Masked(ws.OpText, "whole")
			good.Put(text[:4])
			time.Sleep(800 * time.Millisecond) // together more than the limit
			good.Put(text[4:])
			good.Want("whole")
		}
	})
}

// A client that floods with small frames gets an answer to each, in order, but the
// others go first.
func TestFloodTakesTurns(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Handler: server.Handler{Message: echo}})
		flood, other := upgraded(t, s), upgraded(t, s)
		const count = 20_000
		go func() {
			var b strings.Builder
			for range count / 2 {
				b.WriteString(wstest.Masked(ws.OpPing, "p") + wstest.Masked(ws.OpText, "m"))
			}
			_, _ = flood.Write([]byte(b.String())) // the replies tell
		}()
		other.Send("hello")
		other.Want("hello")
		for range count / 2 {
			flood.WantFrame(ws.OpPong, "p")
			flood.WantFrame(ws.OpText, "m")
		}
		if n := statsOf(s).Get("turns_yielded"); n < 10 {
			t.Errorf("the flood yielded %d turns, want more", n)
		}
	})
}
