//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/bench"
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

// The further tables: the first engine over TLS beside the peer, if there is one,
// and with compression; neither peer nor compression in the gate.
func TestSections(t *testing.T) {
	pings, stall := []string{"epoll, 1 loop, pinged"}, []string{"epoll, 1 loop, stalled"}
	for _, tc := range []struct {
		name   string
		o      options
		labels [][]string
		verse  string // of the roost that speaks TLS
	}{
		{"all", options{gorilla: "gorilla"}, [][]string{{"net/http + gorilla/websocket, wss", "epoll, 1 loop, wss"}, pings, {"epoll, 1 loop, compression"}, stall}, "net/http + gorilla/websocket, wss"},
		{"no peer", options{}, [][]string{{"epoll, 1 loop, wss"}, pings, {"epoll, 1 loop, compression"}, stall}, ""},
		{"quick", options{quick: true}, [][]string{{"epoll, 1 loop, wss"}, pings}, ""},
	} {
		tc.o.roost, tc.o.limit, tc.o.engines, tc.o.loops, tc.o.connections = "roost", "limit", "epoll,gnet", "1,2", 10_000
		before, err := makeTargets(tc.o)
		if err != nil {
			t.Fatal(err)
		}
		c := &bench.Comparison{}
		targets := addSections(tc.o, before, certificate{"cert.pem", "key.pem"}, c)
		var labels [][]string
		for _, s := range c.Sections {
			var row []string
			for _, server := range s.Servers {
				row = append(row, server.Label)
			}
			labels = append(labels, row)
		}
		if !reflect.DeepEqual(labels, tc.labels) {
			t.Errorf("%s: rows %q, want %q", tc.name, labels, tc.labels)
		}
		for _, target := range targets[len(before):] {
			args := strings.Join(target.args(echo, "127.0.0.1:9", false), " ")
			if target.section == overTLS && !strings.Contains(args, "cert.pem") {
				t.Errorf("%s: %s is called with %q", tc.name, target.server.Label, args)
			}
			if target.server.Label == "epoll, 1 loop, wss" && target.server.Reference != tc.verse {
				t.Errorf("%s: reference %q, want %q", tc.name, target.server.Reference, tc.verse)
			}
		}
	}
}

// A server and its clients must be able to use it.
func TestCertificate(t *testing.T) {
	c, err := newCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "127.0.0.1", Roots: pool}); err != nil {
		t.Error(err)
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
