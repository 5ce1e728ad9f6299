package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	push "github.com/roostws/roost/client"
)

// follow subscribes to a channel and returns its messages and events, in order, as texts.
func follow(t *testing.T, addr, channel string) (*push.Client, <-chan string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	c, err := push.Dial(ctx, push.Config{URL: "ws://" + addr, ReconnectMin: 10 * time.Millisecond, ReconnectMax: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	seen := make(chan string, 1000)
	_, err = c.Subscribe(ctx, channel, func(_ context.Context, m *push.Message) { seen <- string(m.Data) }, &push.SubscribeOptions{
		OnEvent: func(e *push.Event) { seen <- fmt.Sprintf("%s %v at %d", e.Type, e.Recovered, e.Position.Offset) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, seen
}

// want waits for a text.
func want(t *testing.T, seen <-chan string, text string) {
	t.Helper()
	select {
	case got := <-seen:
		if got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	case <-time.After(testTimeout):
		t.Fatalf("%q does not come", text)
	}
}

// insist publishes until it is taken.
func insist(t *testing.T, c *push.Client, channel string, value any) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		_, err := c.Publish(ctx, channel, value)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("publish: %v", err)
		}
	}
}

// With --history-dir a server that is killed loses nothing: its clients come back and get
// what they missed.
func TestHistoryDir(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	args := []string{"--addr", addr, "--native", "--anonymous", "--history-dir", dir, "--namespaces", "[{ name: news, history-messages: 100, publish: anyone }]"}
	p := startRoost(t, args...)
	c, seen := follow(t, addr, "news:1")
	want(t, seen, "subscribed false at 0")
	insist(t, c, "news:1", 1)
	want(t, seen, "1")
	p.signal(os.Kill)
	<-p.ended
	startRoost(t, args...)
	want(t, seen, "subscribed true at 1")
	insist(t, c, "news:1", 2)
	want(t, seen, "2")

	var out, errs strings.Builder
	code := run([]string{"serve", "--addr", "127.0.0.1:0", "--native", "--anonymous", "--history-dir", dir}, strings.NewReader(""), &out, &errs)
	if code != exitFailed || !strings.Contains(errs.String(), "another process uses it") || !strings.Contains(errs.String(), dir) {
		t.Errorf("a second process on the directory: exit code %d, %q", code, errs.String())
	}
}
