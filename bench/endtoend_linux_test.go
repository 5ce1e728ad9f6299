//go:build linux

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limitBinary is the server that the end-to-end tests measure.
var limitBinary string

// TestMain is also the generator that the tests' scenarios start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "generator" {
		if err := serveGenerator(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The tests mostly wait: for servers to come to rest, for what was lost.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bench-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	limitBinary = filepath.Join(dir, "limit")
	out, err := exec.Command("go", "build", "-o", limitBinary, "./limit").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build limit: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// startLimit runs the bare server and returns its URL and process.
func startLimit(t *testing.T, args ...string) (url string, pid int) {
	t.Helper()
	cmd := exec.Command(limitBinary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("limit: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var hello struct{ Addr string }
	if err := json.Unmarshal([]byte(line), &hello); err != nil {
		t.Fatal(err)
	}
	return "ws://" + hello.Addr + "/", cmd.Process.Pid
}

func testOptions(t *testing.T, conns int, args ...string) Options {
	url, pid := startLimit(t, args...)
	return Options{
		URL: url, PIDs: []int{pid}, Connections: conns, Settle: 100 * time.Millisecond,
		GeneratorCommand: []string{os.Args[0], "generator"}, Label: "limit",
		Patience: patience(""), Timeout: 2 * time.Minute,
	}
}

// wantHeld checks a result as a whole and that it has the named figures, all
// above zero.
func wantHeld(t *testing.T, r *Result, err error, metrics ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r.Metrics)
	if !r.Held {
		t.Errorf("not held: %v", r.Faults)
	}
	for _, name := range metrics {
		if m, ok := r.Metric(name); !ok || m.Value <= 0 {
			t.Errorf("figure %s = %v, %v, want more than 0", name, m.Value, ok)
		}
	}
}

func wantLatencies(t *testing.T, r *Result, names ...string) {
	t.Helper()
	for _, name := range names {
		if l := r.Latencies[name]; l.Count == 0 || l.P50Ns <= 0 || l.MaxNs < l.P999Ns || l.P999Ns < l.P50Ns {
			t.Errorf("latency %s = %+v, want a distribution", name, l)
		}
	}
}

func TestIdleAgainstLimit(t *testing.T) {
	t.Parallel()
	cfg := IdleConfig{Options: testOptions(t, 200, "-loops", "2"), Period: 200 * time.Millisecond}
	cfg.Generators = 2
	r, err := RunIdle(context.Background(), cfg)
	wantHeld(t, r, err, "open_cpu", "open_rate")
	wantLatencies(t, r, "open")
	if m, _ := r.Metric("user_bytes_per_conn"); m.Value > 5000 {
		t.Errorf("the bare server needs %v B a connection", m.Value)
	}
}

func TestEchoAgainstLimit(t *testing.T) {
	t.Parallel()
	cfg := EchoConfig{Options: testOptions(t, 100), Rate: 500, Period: time.Second}
	r, err := RunEcho(context.Background(), cfg)
	wantHeld(t, r, err, "paced_rate", "echo_rate", "echo_cpu")
	wantLatencies(t, r, "echo")
	// A busy machine may miss the end of the period, but sends nothing too early.
	if m, _ := r.Metric("paced_rate"); m.Value < 250 || m.Value > 510 {
		t.Errorf("paced at %v messages a second, want 500", m.Value)
	}
}

func TestBroadcastAgainstLimit(t *testing.T) {
	t.Parallel()
	cfg := BroadcastConfig{
		Options: testOptions(t, 150, "-mode", "broadcast", "-loops", "2"),
		Singles: 5, Rate: 20, Period: 500 * time.Millisecond, Window: 16,
	}
	cfg.Generators = 2
	r, err := RunBroadcast(context.Background(), cfg)
	wantHeld(t, r, err, "single_cpu", "paced_cpu", "saturated_cpu", "delivery_rate")
	wantLatencies(t, r, "single_last", "single_each", "paced_last", "paced_each", "saturated_last")
}

func TestStormAgainstLimit(t *testing.T) {
	t.Parallel()
	r, err := RunStorm(context.Background(), StormConfig{Options: testOptions(t, 200)})
	wantHeld(t, r, err, "arrival_seconds", "arrival_cpu", "return_seconds", "forget_seconds")
	wantLatencies(t, r, "arrival", "return")
}

func TestMixedAgainstLimit(t *testing.T) {
	t.Parallel()
	cfg := MixedConfig{Options: testOptions(t, 200), TrickleInterval: 200 * time.Millisecond, Period: time.Second}
	r, err := RunMixed(context.Background(), cfg)
	wantHeld(t, r, err, "trickle_rate", "busy_rate", "mixed_cpu")
	wantLatencies(t, r, "trickle", "busy")
}

func TestSlowAgainstLimit(t *testing.T) {
	t.Parallel()
	cfg := SlowConfig{BroadcastConfig: BroadcastConfig{Options: testOptions(t, 100, "-mode", "broadcast"), Rate: 20, Period: 500 * time.Millisecond}}
	r, err := RunSlow(context.Background(), cfg)
	wantHeld(t, r, err, "paced_cpu", "stalled_cpu", "stalled")
	if m, _ := r.Metric("stalled"); m.Value != 5 {
		t.Errorf("%v of 100 connections were stalled, want 5", m.Value)
	}
}

func TestHostileAgainstLimit(t *testing.T) {
	t.Parallel()
	// The bare server trusts its clients, so only those kinds that do what is allowed.
	kinds := []string{"connects", "messages"}
	cfg := HostileConfig{Options: testOptions(t, 100), Rate: 500, Period: 500 * time.Millisecond, Rounds: 1, Kinds: kinds}
	r, err := RunHostile(context.Background(), cfg)
	wantHeld(t, r, err, "hostile_connects", "hostile_messages", "hostile_worst")
	wantLatencies(t, r, "quiet", "hostile_connects", "hostile_messages")
}

func TestHostileClientsMustExist(t *testing.T) {
	t.Parallel()
	_, err := RunHostile(context.Background(), HostileConfig{Options: Options{URL: "ws://127.0.0.1:1/", PIDs: []int{1}}, Kinds: []string{"polite"}})
	if err == nil || !strings.Contains(err.Error(), "polite") {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestGrowAgainstLimit(t *testing.T) {
	t.Parallel()
	cfg := GrowConfig{Options: testOptions(t, 151, "-mode", "broadcast"), Steps: []int{50, 151}, Singles: 2}
	cfg.Generators = 2
	r, err := RunGrow(context.Background(), cfg)
	wantHeld(t, r, err, "single_cpu", "single_last") // kernel memory is the whole machine's: noise at this size
	for i, want := range []struct {
		connections, opened int
		deliveries          uint64
	}{{50, 50, 100}, {151, 101, 302}} {
		if i >= len(r.Steps) {
			t.Fatalf("%d steps, want 2", len(r.Steps))
		}
		s := r.Steps[i]
		if s.Connections != want.connections || s.Opened != want.opened || s.Expected != want.deliveries || s.Delivered != want.deliveries {
			t.Errorf("step %d = %+v, want %+v", i, s, want)
		}
	}
}

func TestGrowToldWrongSteps(t *testing.T) {
	t.Parallel()
	for _, steps := range [][]int{{2, 1}, {0, 3}, {-1}} {
		_, err := RunGrow(context.Background(), GrowConfig{Options: Options{URL: "ws://127.0.0.1:1/", PIDs: []int{1}}, Steps: steps})
		if err == nil {
			t.Errorf("steps %v were accepted", steps)
		}
	}
}

// Two processes on one port share no messages: each has its own audience.
func TestBroadcastAgainstTwoProcesses(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, 60, "-mode", "broadcast", "-reuse-port")
	addr := strings.TrimSuffix(strings.TrimPrefix(opt.URL, "ws://"), "/")
	_, pid := startLimit(t, "-mode", "broadcast", "-reuse-port", "-addr", addr)
	opt.PIDs = append(opt.PIDs, pid)
	opt.Generators = 2
	cfg := BroadcastConfig{Options: opt, Singles: 3, Rate: 20, Period: 300 * time.Millisecond, Window: 8}
	r, err := RunBroadcast(context.Background(), cfg)
	wantHeld(t, r, err, "single_cpu", "delivery_rate")
	if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "2 groups of connections") {
		t.Errorf("notes %q, want one about 2 groups", r.Notes)
	}
}
