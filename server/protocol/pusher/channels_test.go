package pusher_test

import (
	"fmt"
	"testing"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/pusher"
)

// A public channel: an event reaches the subscribers of the app, and nobody else.
func TestPublic(t *testing.T) {
	r := start(t, nil)
	a, b, stranger := r.connect(first), r.connect(first), r.connect(other)
	for _, c := range []*client{a, b, stranger} {
		if got := c.subscribe("news", ""); got != "{}" {
			t.Errorf("subscription_succeeded has %s, want {}", got)
		}
	}
	r.trigger(first, "news", "hello", `{"n":1}`)
	for _, c := range []*client{a, b} {
		if got := c.want("hello", "news").text(); got != `{"n":1}` {
			t.Errorf("the event has %s", got)
		}
	}
	r.wantAPI(first, "POST", "/events", "", fmt.Sprintf(`{"name":"but","channel":"news","data":"x","socket_id":%q}`, a.socket), 200, "{}")
	b.want("but", "news")
	a.nothing()
	stranger.nothing()
	b.send(`{"event":"pusher:unsubscribe","data":{"channel":"news"}}`)
	b.nothing()
	r.trigger(first, "news", "again", "x")
	a.want("again", "news")
	b.nothing()
	if got := a.subscribe("news", ""); got != "{}" {
		t.Errorf("a second subscription has %s, want {}", got)
	}
	r.trigger(first, "news", "once", "x")
	a.want("once", "news")
	a.nothing()
}

// What a private channel demands, and who may not enter.
func TestPrivate(t *testing.T) {
	r := start(t, nil)
	a, b := r.connect(first), r.connect(first)
	for name, auth := range map[string]string{
		"none": "", "another channel's": a.auth("private-y", ""), "another connection's": b.auth("private-x", ""), "no key": sign(first, a.socket+":private-x"),
		"another app's": other.Key + ":" + sign(other, a.socket+":private-x"),
	} {
		a.ask("private-x", auth, "")
		if p := a.want("pusher:subscription_error", "private-x"); p.text() == "" || !contains(p.text(), `"type":"AuthError"`, `"status":401`) {
			t.Errorf("auth %s: %s", name, p.Data)
		}
	}
	a.subscribe("private-x", "")
	b.subscribe("private-x", "")
	r.trigger(first, "private-x", "e", "1")
	a.want("e", "private-x")
	b.want("e", "private-x")
	a.send(`{"event":"client-typing","channel":"private-x","data":{"who":"a"}}`)
	if p := b.want("client-typing", "private-x"); p.text() != `{"who":"a"}` || p.UserID != "" {
		t.Errorf("the client event is %+v", p)
	}
	a.nothing()
}

// Events that clients must not send.
func TestClientEvents(t *testing.T) {
	quiet := other
	quiet.ClientEvents = false
	r := start(t, func(_ *server.Config, o *pusher.Options) {
		rated := first
		rated.ClientEventRate = 2
		rated.EventMaxBytes = 100
		o.Apps = []pusher.App{rated, quiet}
	})
	a := r.connect(first)
	a.subscribe("news", "")
	a.subscribe("private-encrypted-x", "")
	a.subscribe("private-x", "")
	for _, m := range []string{
		`{"event":"client-x","channel":"news","data":1}`,
		`{"event":"client-x","channel":"private-encrypted-x","data":1}`,
		`{"event":"client-x","channel":"private-y","data":1}`,
		`{"event":"client-x","data":1}`,
		fmt.Sprintf(`{"event":"client-x","channel":"private-x","data":"%0100d"}`, 1),
		fmt.Sprintf(`{"event":"client-%0200d","channel":"private-x","data":1}`, 1),
	} {
		a.send(m)
		a.wantError(4301, "Client event rejected")
	}
	b := r.connect(first)
	b.subscribe("private-x", "")
	for range 4 {
		a.send(`{"event":"client-x","channel":"private-x"}`)
	}
	a.wantError(4301, "more than 2 events a second")
	b.want("client-x", "private-x")
	b.want("client-x", "private-x")
	c := r.connect(quiet)
	c.subscribe("private-x", "")
	c.send(`{"event":"client-x","channel":"private-x","data":1}`)
	c.wantError(4301, "not have client events enabled")
}

// Messages that are none hurt nobody, and their senders are told.
func TestBadMessages(t *testing.T) {
	r := start(t, nil)
	a := r.connect(first)
	for _, m := range []string{
		``, `{`, `[]`, `null`, `"x"`, `{}`, `{"event":1}`, `{"event":""}`, `{"event":"pusher:subscribe"}`, `{"event":"pusher:subscribe","data":"{"}`,
		`{"event":"pusher:subscribe","data":{"channel":1}}`, `{"event":"pusher:unsubscribe","data":{}}`, `{"event":"client-x","channel":{},"data":1}`,
	} {
		a.send(m)
		a.wantError(4200, "Invalid message format")
	}
	a.send(`{"event":"other"}`)
	a.wantError(0, "none that clients send")
	for _, name := range []string{"", "a b", "a/b", "a:b", "ä", "#news", fmt.Sprintf("%0165d", 1)} {
		a.ask(name, "", "")
		if p := a.want("pusher:subscription_error", name); !contains(p.text(), `"status":400`) {
			t.Errorf("channel %q: %s", name, p.Data)
		}
	}
	a.send(`{"event":"pusher:subscribe","data":"{\"channel\":\"news\"}"}`)
	a.want("pusher_internal:subscription_succeeded", "news")
}

// Connections that are turned away.
func TestTurnedAway(t *testing.T) {
	r := start(t, func(_ *server.Config, o *pusher.Options) { o.Apps[0].MaxConnections = 1 })
	for path, code := range map[string]int{
		"/app/nobody?protocol=7": 4001, "/app/key1?protocol=4": 4007, "/app/key1?protocol=8": 4007, "/app/key1": 4008, "/app/key1?protocol=x": 4006,
	} {
		c := r.dial(path)
		c.wantError(code, "")
		c.wantClose(code)
	}
	r.connect(first)
	c := r.dial("/app/key1?protocol=7")
	c.wantError(4004, "quota")
	c.wantClose(4004)
	r.connect(other)
}
