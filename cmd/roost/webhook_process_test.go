package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/webhook"
)

// A client that comes is told of soon, and those that the end of roost ends are
// told of before it is over.
func TestServeTellsTheApplication(t *testing.T) {
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
		if _, _, err := c.receive(); err != nil {
			break // the Close frame, answered, or the end
		}
	}
	c.conn.Close()
	p.wantExit(0)
	if got := count(protocol.EventDisconnected); got != 1 {
		t.Errorf("%d disconnected events, want 1: %+v", got, events)
	}
}
