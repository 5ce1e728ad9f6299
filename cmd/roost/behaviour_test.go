package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll/engines"
)

// onEveryEngine runs a behaviour's test against each engine of this system.
func onEveryEngine(t *testing.T, test func(t *testing.T, engine string)) {
	for _, name := range engines.Names() {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		p := startRoost(t, loopback("--echo", "--message-max-bytes", "65536", "--engine", engine)...)
		c, silent := dial(t, p.addr, "/any/path?at=all"), dial(t, p.addr, "/")
		for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
			text := strings.Repeat("x", size)
			c.Send(text)
			c.Want(text)
			c.SendBinary(text)
			c.WantBinary(text)
		}
		// No other client got any of it: the first message that comes is the client's own.
		silent.Send("mine")
		silent.Want("mine")
		// One byte over --message-max-bytes.
		c.SendBinary(strings.Repeat("x", 65537))
		c.WantClosing(ws.StatusMessageTooBig)
	})
}

func TestRelay(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		p := startRoost(t, loopback("--relay", "--engine", engine, "--loops", "2")...)
		clients := make([]*client, 10)
		for i := range clients {
			clients[i] = dial(t, p.addr, "/")
		}
		const rounds = 20
		for i := range rounds {
			clients[i%len(clients)].Send(fmt.Sprint("text ", i))
			// Order between senders is decided by the server: wait for it.
			for _, c := range clients {
				c.Want(fmt.Sprint("text ", i))
			}
		}
		clients[3].SendBinary("\x00\xff")
		for _, c := range clients {
			c.WantBinary("\x00\xff")
		}
	})
}

// wantChat reads a chat message and checks its exact form.
func (c *client) wantChat(message string) {
	c.T.Helper()
	_, text, err := c.Receive()
	if err != nil {
		c.T.Fatalf("waiting for %q: %v", message, err)
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		c.T.Fatalf("received %q: %v", text, err)
	}
	if len(fields) != 3 || fields["type"] != "chat" || fields["message"] != message {
		c.T.Fatalf("received %q, want a chat message %q", text, message)
	}
	at, err := time.Parse(time.RFC3339Nano, fields["timestamp"])
	if err != nil || !strings.HasSuffix(fields["timestamp"], "Z") || time.Since(at).Abs() > time.Hour {
		c.T.Fatalf("timestamp %q is not this moment as ISO 8601 in UTC", fields["timestamp"])
	}
}

const greeting = `{"type":"system","message":"Welcome to the chat!"}`

func TestDemoIsTheTextbookChat(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		p := startRoost(t, loopback("--demo", "--engine", engine)...)
		a, b := dial(t, p.addr, "/"), dial(t, p.addr, "/ws")
		a.Want(greeting)
		b.Want(greeting)
		for _, text := range []string{
			"hello", "", `{"type":"system","message":"I am not the server"}`, "{", `"quoted" \ <b>&amp;</b>`,
			"\u2028 and \u0000 and 🐦", strings.Repeat("long ", 10_000),
		} {
			a.Send(text)
			a.wantChat(text)
			b.wantChat(text)
		}
		// The demo has no use for bytes, and says so.
		b.SendBinary("bytes")
		b.WantClosing(ws.StatusUnsupportedData)
		a.Send("one has left")
		a.wantChat("one has left")
	})
}

func TestDemoStatsOnlyForThoseWhoAsk(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--demo")...)
	asking, textbook := dial(t, p.addr, "/ws?stats=1"), dial(t, p.addr, "/")
	asking.Want(greeting)
	textbook.Want(greeting)
	for number := 1; number <= 2; {
		_, text, err := asking.Receive()
		if err != nil {
			t.Fatal(err)
		}
		var stats struct {
			Type                string
			Number, Connections int64
		}
		if err := json.Unmarshal([]byte(text), &stats); err != nil || stats.Type != "stats" {
			t.Fatalf("received %q, %v; want stats", text, err)
		}
		if stats.Connections != 2 || stats.Number == 0 {
			t.Errorf("stats %+v, want 2 connections and a number", stats)
		}
		number++
	}
	// Two seconds of stats later, the first thing that the other one hears of
	// is what it says itself.
	textbook.Send("quiet here")
	textbook.wantChat("quiet here")
}

func TestDemoAnswersItsPage(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		p := startRoost(t, loopback("--demo", "--engine", engine)...)
		hc := &http.Client{Timeout: testTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
		for path, want := range map[string]int{
			"/": 200, "/demo.js": 200, "/demo.css": 200, "/chat/": 200, "/source/chat": 200, "/source/else": 404, "/source/*": 404, "/source/demo.js": 404,
			"/about.json": 200, "/roost/roost.js": 200, "/ws": 404, "/else": 404,
		} {
			resp, err := hc.Get("http://" + p.addr + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
			}
		}
		if _, err := tryDial(p.addr, "/elsewhere"); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("an upgrade on /elsewhere: %v, want 404", err)
		}
	})
}

// Without a behaviour a connection is held, and a page gets an answer that
// tells what this port is for.
func TestWithoutBehaviour(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback()...)
	c := dial(t, p.addr, "/")
	c.Send("is anybody there?")
	c.Put(wstest.Masked(ws.OpPing, "ping"))
	header, err := ws.ReadHeader(c)
	if err != nil || header.OpCode != ws.OpPong {
		t.Fatalf("received %v, %v; want the pong and nothing else", header, err)
	}
	resp, err := http.Get("http://" + p.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("GET / = %d, want 426", resp.StatusCode)
	}
}
