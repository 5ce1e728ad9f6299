//go:build unix

package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
)

// A signal that asks for nothing leaves the server and its clients alone.
func TestHarmlessSignals(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--echo")...)
	c := dial(t, p.addr, "/")
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGTTOU, syscall.SIGTTIN, syscall.SIGXFSZ,
		syscall.SIGCHLD, syscall.SIGURG, syscall.SIGWINCH, syscall.SIGCONT,
	} {
		p.signal(sig)
		c.Send(sig.String())
		c.Want(sig.String())
	}
	p.waitLog("there are no files to read again", 1)
	p.waitLog("the signal has no meaning here", 3)
	p.signal(syscall.SIGTERM)
	c.WantClosing(ws.StatusGoingAway)
	p.wantExit(exitOK)
}

// A log whose reader has gone, or no longer reads, costs lines, and not the server.
func TestLogWithoutReader(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"gone": true, "stuck": false} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := exec.Command(os.Args[0], "serve", "--echo", "--addr", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug")
			cmd.Env = append(os.Environ(), asRoost+"=1")
			cmd.Stderr = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			w.Close()
			log, line := bufio.NewReader(r), ""
			for !strings.Contains(line, "roost serves") {
				if line, err = log.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			_, addr, _ := strings.Cut(line, `"addr":"`)
			addr, _, _ = strings.Cut(addr, `"`)
			if gone {
				r.Close()
			}
			// Each connection that ends is a line: more than the pipe and the queue hold.
			for range 50 {
				c := dial(t, addr, "/")
				c.Close()
			}
			c := dial(t, addr, "/")
			c.Send("still there")
			c.Want("still there")
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			c.WantClosing(ws.StatusGoingAway)
			if err := cmd.Wait(); err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}

// failingWriter refuses lines while it is told to.
type failingWriter struct {
	fails atomic.Bool
	bytes.Buffer
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.fails.Load() {
		return 0, syscall.EPIPE
	}
	return w.Buffer.Write(p)
}

// Lines that could not be written are counted, and the count is told as soon as it
// can be.
func TestLostLogLinesAreCounted(t *testing.T) {
	t.Parallel()
	var out failingWriter
	logger, lines := newLogger(&out, slog.LevelInfo, "text")
	out.fails.Store(true)
	for range 3 {
		logger.Info("lost")
	}
	for lines.lost.Load() != 3 {
		time.Sleep(time.Millisecond)
	}
	out.fails.Store(false)
	logger.Info("written")
	lines.flush()
	text := out.String()
	if strings.Contains(text, "msg=lost") || !strings.Contains(text, `msg="log lines were lost" lines=3`) || !strings.Contains(text, "msg=written") {
		t.Errorf("the log says:\n%s", text)
	}
}

// A writer that is stuck delays no caller, and what does not fit the queue is lost.
func TestLogNeverBlocks(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe() // unread
	logger, lines := newLogger(w, slog.LevelInfo, "json")
	for range logQueueLines + 100 {
		logger.Info("line")
	}
	if lost := lines.lost.Load(); lost < 98 || lost > 100 {
		t.Errorf("%d lines are lost, want those beyond the queue: 99", lost)
	}
	r.CloseWithError(errors.New("enough"))
	lines.flush()
}

// A command whose output is not read ends, as other programs do.
func TestSubscribeWithoutReader(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--native", "--anonymous", "--admin-addr", "127.0.0.1:0", "--namespaces", `[{name: "", history-messages: 10}]`)...)
	_, admin, _ := strings.Cut(p.said(), `"admin_addr":"`)
	admin, _, _ = strings.Cut(admin, `"`)
	cmd := exec.Command(os.Args[0], "subscribe", "news", "--url", "ws://"+p.addr+"/")
	cmd.Env = append(os.Environ(), asRoost+"=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.Close()
	log := bufio.NewScanner(stderr)
	for log.Scan() && !strings.Contains(log.Text(), "subscribed") {
	}
	var out, errs strings.Builder
	if code := run([]string{"publish", "news", "1", "--url", "http://" + admin}, strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("publish: %d, %s", code, errs.String())
	}
	_, _ = io.Copy(io.Discard, stderr)
	var failed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 128+int(syscall.SIGPIPE) {
		t.Errorf("roost subscribe ended with %v, want exit status 141", err)
	}
}

// repeatsWithin sets repeatedSignal of a process.
func repeatsWithin(text string) func(*process) {
	return func(p *process) { p.cmd.Env = append(p.cmd.Env, asRepeatedSignal+"="+text) }
}

// One signal that comes twice, to the process and to its group, is one signal.
func TestSignalThatComesTwice(t *testing.T) {
	t.Parallel()
	p := startRoostAs(t, repeatsWithin("1h"), loopback("--echo")...)
	c := dial(t, p.addr, "/")
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGTERM)
	c.WantClosing(ws.StatusGoingAway)
	p.wantExit(exitOK)
	wantLog(t, p, `"msg":"shut down"`)
}

// A second signal ends the server at once: another one, or the same later.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second syscall.Signal
		within string
	}{"another": {syscall.SIGINT, "1h"}, "the same, later": {syscall.SIGTERM, "0s"}} {
		t.Run(name, func(t *testing.T) {
			p := startRoostAs(t, repeatsWithin(tc.within), loopback("--echo", "--shutdown-timeout", "1h", "--close-timeout", "1h")...)
			c := dial(t, p.addr, "/")
			p.signal(syscall.SIGTERM)
			// The Close frame proves that the first signal was taken; it stays
			// unanswered.
			header, err := ws.ReadHeader(c)
			if err != nil || header.OpCode != ws.OpClose {
				t.Fatalf("received %v, %v; want a Close frame", header, err)
			}
			p.signal(tc.second)
			p.wantExit(128 + int(tc.second))
		})
	}
}

// SIGHUP reads the secrets of tokens again; a file that is wrong changes nothing.
func TestTokenSecretsAreReadAgain(t *testing.T) {
	t.Parallel()
	const first, second = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	file := writeFile(t, "secrets", first+"\n")
	p := startRoost(t, loopback("--native", "--token-secret-file", file)...)
	admits := func(secret string) bool {
		t.Helper()
		text, _ := made(t, "--secret", secret, "--user", "42")
		c := wstest.DialWith(t, ws.Dialer{Protocols: []string{"roost.v1.json"}}, "ws://"+p.addr+"/")
		defer c.Close()
		c.Send(`{"id":1,"connect":{"token":"` + text + `"}}`)
		_, reply, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(reply, `"user":"42"`) && !strings.Contains(reply, `"error"`)
	}
	if !admits(first) || admits(second) {
		t.Fatal("the first secret is not the one that counts")
	}
	if err := os.WriteFile(file, []byte(second+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.waitLog("the token keys were read again", 1)
	if admits(first) || !admits(second) {
		t.Error("after SIGHUP the second secret is not the one that counts")
	}
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.waitLog("the token keys stay as they were", 1)
	if !admits(second) {
		t.Error("a bad file has changed the secret")
	}
}
