package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/roostws/roost/bench"
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
		Settle: 100 * time.Millisecond, Patience: 20 * time.Second, Timeout: testTimeout,
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
