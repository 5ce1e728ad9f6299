package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/internal/wstest"
)

// asRoost makes the test binary be roost itself: what is run here is what the
// race detector was built into, and nothing has to be compiled again.
const asRoost = "ROOST_TEST_AS_ROOST"

// asRepeatedSignal is repeatedSignal of such a process, so that no test depends on
// when the machine delivers a signal.
const asRepeatedSignal = "ROOST_TEST_REPEATED_SIGNAL"

func TestMain(m *testing.M) {
	if os.Getenv(asRoost) != "" {
		if text := os.Getenv(asRepeatedSignal); text != "" {
			repeatedSignal = must(time.ParseDuration(text))
		}
		main()
	}
	os.Exit(m.Run())
}

// Nothing here takes nearly that long; it bounds what has gone wrong.
const testTimeout = time.Minute

// process is a running roost serve.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	addr  string // of its first listener
	ended chan struct{}

	// Guarded by mu.
	mu  sync.Mutex
	log bytes.Buffer
}

// startRoost runs roost serve with args and waits for its start-up line. It is
// killed at the end of the test if it still runs.
func startRoost(t *testing.T, args ...string) *process {
	t.Helper()
	return startRoostAs(t, func(*process) {}, args...)
}

// startRoostAs lets prepare change the command first.
func startRoostAs(t *testing.T, prepare func(*process), args ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], append([]string{"serve", "--log-format", "json"}, args...)...)
	p.cmd.Env = append(os.Environ(), asRoost+"=1")
	prepare(p)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := make(chan string, 1)
	go p.readLog(stderr, started)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended long ago
		<-p.ended
		if t.Failed() {
			t.Logf("roost %q said:\n%s", args, p.said())
		}
	})
	select {
	case p.addr = <-started:
	case <-p.ended:
		t.Fatalf("roost %q ended at once: %v\n%s", args, p.cmd.ProcessState, p.said())
	case <-time.After(testTimeout):
		t.Fatalf("roost %q did not start\n%s", args, p.said())
	}
	return p
}

// readLog keeps what the process says, and finds its address in it.
func (p *process) readLog(stderr io.Reader, started chan<- string) {
	defer close(p.ended)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Msg, Addr string }
		p.mu.Lock()
		p.log.Write(lines.Bytes())
		p.log.WriteByte('\n')
		p.mu.Unlock()
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "roost serves" {
			started <- strings.Split(line.Addr, ",")[0]
		}
	}
	_ = p.cmd.Wait() // the state tells
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// wantExit waits for the process's end.
func (p *process) wantExit(code int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(testTimeout):
		p.t.Fatalf("roost still runs\n%s", p.said())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("exit code %d, want %d\n%s", got, code, p.said())
	}
}

// client is wstest's, with more methods where they are needed.
type client struct{ *wstest.Client }

func dial(t *testing.T, addr, path string) *client {
	t.Helper()
	conn, err := tryDial(addr, path)
	if err != nil {
		t.Fatalf("dial %s%s: %v", addr, path, err)
	}
	return &client{wstest.New(t, conn)}
}

// tryDial opens a WebSocket that may be refused, at host:port or unix:PATH.
func tryDial(addr, path string) (net.Conn, error) {
	file, found := strings.CutPrefix(addr, "unix:")
	if !found {
		return wstest.TryDial(ws.Dialer{}, "ws://"+addr+path)
	}
	return wstest.TryDial(ws.Dialer{NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", file)
	}}, "ws://localhost"+path)
}

func loopback(args ...string) []string {
	return append([]string{"--addr", "127.0.0.1:0"}, args...)
}

// freeAddr is an address that nobody listened on a moment ago: these programs
// cannot tell which port they got.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitLog waits until the log has said it n times.
func (p *process) waitLog(part string, n int) {
	p.t.Helper()
	for deadline := time.Now().Add(testTimeout); strings.Count(p.said(), part) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("the log does not say %q %d times:\n%s", part, n, p.said())
		}
	}
}

func wantLog(t *testing.T, p *process, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(p.said(), part) {
			t.Errorf("the log lacks %s:\n%s", part, p.said())
		}
	}
}

// A test of its own code: the harness must notice a wrong exit code.
func TestHarnessSeesExitCodes(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "serve", "--engine", "none")
	cmd.Env = append(os.Environ(), asRoost+"=1")
	var failed *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &failed) || failed.ExitCode() != exitUsage {
		t.Fatalf("roost serve --engine none: %v, want exit status %d", err, exitUsage)
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startRoost(t, loopback("--echo")...)
			clients := make([]*client, 20)
			for i := range clients {
				clients[i] = dial(t, p.addr, "/")
				clients[i].Send("hello")
				clients[i].Want("hello")
			}
			p.signal(sig)
			for _, c := range clients {
				c.WantClosing(ws.StatusGoingAway)
			}
			p.wantExit(exitOK)
			if c, err := tryDial(p.addr, "/"); err == nil {
				c.Close()
				t.Error("a newcomer was let in after the end")
			}
			wantLog(t, p, `"msg":"shutting down"`, `"connections":20`, `"msg":"shut down"`)
		})
	}
}

// A client that never answers the Close frame does not keep the process.
func TestShutdownKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--echo", "--shutdown-timeout", "100ms", "--close-timeout", "1h")...)
	dial(t, p.addr, "/")
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	p.wantExit(exitOK)
	if took := time.Since(begin); took > testTimeout/2 {
		t.Errorf("the shutdown took %v, its deadline was 100ms", took)
	}
	wantLog(t, p, "did not close in time")
}

func TestStartLineTellsTheLimits(t *testing.T) {
	t.Parallel()
	p := startRoost(t, "--addr", "127.0.0.1:0", "--addr", "127.0.0.1:0", "--relay", "--loops", "1", "--max-connections", "77", "--engine", "gnet")
	wantLog(t, p, `"behaviour":"relay"`, `"loops":1`, `"max_connections":77`, `"engine":"gnet"`, `"nofile":`)
	var line struct{ Addr string }
	for text := range strings.Lines(p.said()) {
		if strings.Contains(text, "roost serves") {
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
		}
	}
	addrs := strings.Split(line.Addr, ",")
	if len(addrs) != 2 || addrs[0] == addrs[1] {
		t.Fatalf("addresses %q, want two", addrs)
	}
	for _, addr := range addrs {
		dial(t, addr, "/")
	}
}

// A server starts with as many connections as fit, and says how to have all.
func TestMoreConnectionsThanDescriptors(t *testing.T) {
	t.Parallel()
	p := startRoostAs(t, func(p *process) {
		p.cmd.Args = append([]string{"sh", "-c", `ulimit -n 256; exec "$0" "$@"`}, p.cmd.Args...)
		p.cmd.Path = must(exec.LookPath("sh"))
	}, loopback("--relay", "--max-connections", "100000")...)
	wantLog(t, p, `"level":"WARN"`, `"asked":100000,"max_connections":190,"nofile":256`, "ulimit -n 102000", "LimitNOFILE=102000", "roost doctor --target 100000")
	if n := strings.Count(p.said(), `"level":"WARN"`); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
	dial(t, p.addr, "/")
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out, errs strings.Builder
	code := run([]string{"serve", "--addr", l.Addr().String()}, strings.NewReader(""), &out, &errs)
	if code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	for _, want := range []string{l.Addr().String(), "Another program listens there", "--addr"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("stderr %q lacks %q", errs.String(), want)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/roost.sock"
	p := startRoost(t, "--addr", "unix:"+file, "--echo")
	if want := "unix:" + file; p.addr != want {
		t.Fatalf("the start-up line says %q, want %q", p.addr, want)
	}
	c := dial(t, p.addr, "/")
	c.SendBinary("over a file")
	c.WantBinary("over a file")
}

func TestOneTooManyConnections(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--echo", "--max-connections", "2")...)
	first, second := dial(t, p.addr, "/"), dial(t, p.addr, "/")
	_, err := tryDial(p.addr, "/")
	var status ws.StatusError
	if !errors.As(err, &status) || status != 503 {
		t.Fatalf("the third of two connections: %v, want 503", err)
	}
	for i, c := range []*client{first, second} {
		text := fmt.Sprint("still here ", i)
		c.Send(text)
		c.Want(text)
	}
}

// Echo takes the 16 MiB that TestConformance sends; other behaviours keep the
// library's limit, and a limit that was asked for holds.
func TestMessageLimits(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 65537)
	for _, args := range [][]string{{"--echo", "--message-max-bytes", "65536"}, {"--relay"}} {
		p := startRoost(t, loopback(args...)...)
		c := dial(t, p.addr, "/")
		go func() { _ = wsutil.WriteClientMessage(c, ws.OpText, []byte(text)) }()
		c.WantClosing(ws.StatusMessageTooBig)
	}
}
