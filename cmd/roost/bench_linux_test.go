package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/bench"
	benchreport "github.com/roostws/roost/bench/report"
)

// benchOptions are those of clients of the native protocol, each with a token, of a
// server that lets them publish.
func benchOptions(t *testing.T, conns int) bench.Options {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startRoost(t, "--addr", "127.0.0.1:0", "--native", "--token-secret-file", secret,
		"--namespaces", `[{"name":"news","history-messages":100,"publish":"anyone"}]`)
	t.Setenv(asRoost, "1") // the generators, too
	return bench.Options{
		URL: "ws://" + p.addr + "/", PIDs: []int{p.cmd.Process.Pid}, Connections: conns, Native: "news:all", TokenSecretFile: secret,
		Settle: 100 * time.Millisecond, SettleMax: 200 * time.Millisecond, Patience: 20 * time.Second, Timeout: testTimeout,
	}
}

// The benchmark's clients understand the server over every transport.
func TestBenchOverEachTransport(t *testing.T) {
	for _, transport := range []bench.Transport{bench.TransportWebSocket, bench.TransportSSE, bench.TransportPoll} {
		t.Run(string(transport), func(t *testing.T) {
			r, err := bench.RunBroadcast(context.Background(), bench.BroadcastConfig{
				Options: benchOptions(t, 50), Transport: transport, Singles: 3, Period: 200 * time.Millisecond, Rate: 20,
			})
			if err != nil || !r.Held {
				t.Fatalf("%v, %+v", err, r)
			}
			for _, name := range []string{"single_cpu", "delivery_rate"} {
				if m, ok := r.Metric(name); !ok || m.Value <= 0 {
					t.Errorf("%s is %v", name, m.Value)
				}
			}
		})
	}
}

// Each way of getting updates has its figures, and its row in the table.
func TestBenchTransports(t *testing.T) {
	cfg := bench.TransportsConfig{
		Options: benchOptions(t, 0), Clients: []int{10, 20}, Ways: []string{"poll-1s", "long-poll", "sse", "ws"}, Rate: 2, Period: time.Second,
	}
	cfg.Connections = 0
	results, err := bench.RunTransports(context.Background(), cfg)
	if err != nil || len(results) != 8 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	figures := map[string]float64{}
	for _, r := range results {
		if !r.Held {
			t.Errorf("%s: %q", r.Label, r.Faults)
		}
		for _, m := range r.Metrics {
			figures[m.Name+" of "+r.Label] = m.Value
		}
	}
	// At most one request each second, and one for each update.
	for label, want := range map[string][2]float64{
		"requests of polling 1 s, 20": {1, 90}, "requests of long-polling, 20": {1, 300},
		"requests of SSE, 10": {0, 0}, "bytes_up of SSE, 10": {0, 0}, "bytes_down of WebSocket, 10": {1, 1e6},
		"bytes_up of long-polling, 10": {1, 1e6}, "delay_p99 of WebSocket, 20": {1e-3, 1e6},
	} {
		if got, ok := figures[label]; !ok || got < want[0] || got > want[1] {
			t.Errorf("%s: %v (%v), want %v", label, got, ok, want)
		}
	}
	c := benchreport.Transports(results, cfg)
	var page strings.Builder
	c.WriteMarkdown(&page, "base")
	for _, want := range []string{"| SSE, 20 |", "## 10 clients", "| polling 1 s, 10 |", "2 a second", "Held: 20 connections"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in the page:\n%s", want, page.String())
		}
	}
	if !strings.Contains(string(c.Plot()), "delay of an update, p99") {
		t.Error("the plot has no delays")
	}
	cfg.Ways = []string{"pigeon"}
	if _, err := bench.RunTransports(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("an unknown way: %v", err)
	}
}
