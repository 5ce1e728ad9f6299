//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCapacity(t *testing.T) {
	c := capacity{descriptors: 20_000, systemFiles: 2_000_000, memory: 16 << 30}
	for _, tc := range []struct {
		asked, fits, processes int
	}{
		{10_000, 10_000, 1},
		{19_488, 19_488, 1},
		{19_489, 19_489, 2},
		{100_000, 100_000, 6},    // 17,539 in each, so that an uneven spread fits
		{5_000_000, 900_000, 52}, // the system's descriptors, two for each
	} {
		fits := c.fit(tc.asked)
		if fits != tc.fits || c.processes(fits) != tc.processes {
			t.Errorf("%d connections: fit %d in %d processes, want %d in %d", tc.asked, fits, c.processes(fits), tc.fits, tc.processes)
		}
		said := strings.Join(c.found(tc.asked, fits), "\n")
		if got := strings.Contains(said, "asked for"); got != (fits < tc.asked) {
			t.Errorf("%d connections asked for, %d fit, and it says: %s", tc.asked, fits, said)
		}
	}
	c.memory = 1 << 30
	if got := c.fit(100_000); got != 59_918 {
		t.Errorf("1 GiB holds %d connections, want 59,918", got)
	}
}

func TestTargets(t *testing.T) {
	targets, err := makeTargets(options{roost: "roost", limit: "limit", engines: "epoll,gnet", loops: "1,2"})
	if err != nil {
		t.Fatal(err)
	}
	var labels, references []string
	budgets := 0
	for _, tg := range targets {
		labels = append(labels, tg.server.Label)
		references = append(references, tg.server.Reference)
		if tg.server.Budget {
			budgets++
		}
	}
	if want := []string{"bare, 1 loop", "epoll, 1 loop", "gnet, 1 loop", "bare, 2 loops", "epoll, 2 loops", "gnet, 2 loops"}; !slices.Equal(labels, want) {
		t.Errorf("labels %q, want %q", labels, want)
	}
	if references[2] != "bare, 1 loop" || references[5] != "bare, 2 loops" || budgets != 1 || !targets[1].server.Budget {
		t.Errorf("references %q, %d with a budget", references, budgets)
	}
	if args := strings.Join(targets[4].args(broadcast, "127.0.0.1:9", true), " "); args != "roost serve --addr 127.0.0.1:9 --engine epoll --loops 2 --relay --reuse-port" {
		t.Errorf("roost is called with %q", args)
	}
	if _, err := makeTargets(options{loops: "1,x", engines: "epoll"}); err == nil {
		t.Error("loops x was accepted")
	}
}

// A server that cannot start is an error with its words, and soon.
func TestServerThatFails(t *testing.T) {
	script := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho no such engine >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	_, err := roostTarget(script, "steam", 1).start(context.Background(), echo, 1)
	if err == nil || !strings.Contains(err.Error(), "no such engine") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start = %v, want the server's words", err)
	}
	if d := time.Since(started); d > startLimit {
		t.Errorf("took %v", d)
	}
}

func TestDropped(t *testing.T) {
	var log tail
	log.Write([]byte(`{"addr":"127.0.0.1:1"}` + "\n" + `{"accepted":3,"cut":1,"dropped":41}` + "\n"))
	if got := log.dropped(); got != 42 {
		t.Errorf("dropped = %d, want 42", got)
	}
	log.Write([]byte("level=INFO msg=bye\n"))
	if got := log.dropped(); got != 0 {
		t.Errorf("dropped of another server's log = %d, want 0", got)
	}
}
