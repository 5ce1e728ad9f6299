package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	roostclient "github.com/roostws/roost/client"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/webhook"
)

// A client that comes is told of soon, and those that the end of roost ends are
// told of before it is over.
func TestServeTellsTheApplication(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var events []webhook.Event
	count := func(kind protocol.EventType) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			if e.Type == kind {
				n++
			}
		}
		return n
	}
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = webhook.Verify(webhookSecret, r.Header, body, 0)
		}
		var batch webhook.Batch
		if err == nil {
			err = json.Unmarshal(body, &batch)
		}
		if err != nil {
			t.Errorf("a batch: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		events = append(events, batch.Events...)
	}))
	defer app.Close()
	p := startRoostAs(t, func(p *process) { p.cmd.Env = append(p.cmd.Env, "ROOST_WEBHOOK_SECRET="+webhookSecret) },
		"--addr", "127.0.0.1:0", "--echo", "--webhook-url", app.URL, "--webhook-batch-max-delay", "1ms")
	c := dial(t, p.addr, "/")
	for deadline := time.Now().Add(testTimeout); count(protocol.EventConnected) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the application does not know of the client")
		}
	}
	p.signal(syscall.SIGTERM)
	for {
		if _, _, err := c.Receive(); err != nil {
			break // the Close frame, answered, or the end
		}
	}
	c.Close()
	p.wantExit(0)
	if got := count(protocol.EventDisconnected); got != 1 {
		t.Errorf("%d disconnected events, want 1: %+v", got, events)
	}
}

// The cookie of a session is a login; what is not asked for is not passed on.
func TestServeAsksWithCookies(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q webhook.Question
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		if q.Type != "connect" || q.Headers["X-Secret"] != "" || q.Cookies["theme"] != "" || q.Query["more"] != "" {
			t.Errorf("the question has too much: %+v", q)
		}
		if q.Cookies["sid"] != "abc" || q.Headers["Origin"] != "https://app.example" || q.Query["room"] != "a/b" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"user":"42"}`)
	}))
	defer app.Close()
	p := startRoost(t, loopback("--native", "--origins", "https://app.example", "--ask-url", app.URL, "--ask", "connect", "--webhook-secret", webhookSecret,
		"--ask-headers", "Origin", "--ask-cookies", "sid", "--ask-query", "room")...)
	connect := func(cookie string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		c, err := roostclient.Dial(ctx, roostclient.Config{URL: "ws://" + p.addr + "/?room=a%2Fb&more=1",
			Header: http.Header{"Origin": {"https://app.example"}, "Cookie": {cookie}, "X-Secret": {"1"}}})
		if err != nil {
			return "", err
		}
		defer c.Close()
		_, user := c.Identity()
		return user, nil
	}
	if user, err := connect("theme=dark; sid=abc"); err != nil || user != "42" {
		t.Errorf("with its session: user %q, %v", user, err)
	}
	if user, err := connect("theme=dark; sid=forged"); err == nil {
		t.Errorf("with another session: user %q", user)
	}
}
