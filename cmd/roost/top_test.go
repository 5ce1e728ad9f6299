package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Programs get the figures of a server once, or line by line.
func TestTopForPrograms(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--relay", "--admin-addr", "127.0.0.1:0")...)
	c := dial(t, p.addr, "/")
	defer c.Close()
	code, stdout, stderr := roost("", "top", "--url", p.adminURL(), "--once", "--interval", "100ms")
	if code != exitOK || !strings.Contains(stdout, "epoll") || !strings.Contains(stdout, "\nPublish to last write ") || strings.Contains(stdout, "\x1b") {
		t.Errorf("--once: %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = roost("", "top", "--url", p.adminURL(), "--once", "--json", "--interval", "100ms")
	var said struct {
		State   string
		Figures map[string]float64
	}
	if err := json.Unmarshal([]byte(stdout), &said); code != exitOK || err != nil || said.State != "ready" || said.Figures["connections"] != 1 {
		t.Errorf("--once --json: %d, %v\n%s%s", code, err, stdout, stderr)
	}
	// Without a terminal there is a line for each look.
	cmd := exec.Command(os.Args[0], "top", "--url", p.adminURL(), "--interval", "100ms")
	cmd.Env = append(os.Environ(), asRoost+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"conns", " 1 ", " 1 "} {
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Errorf("a line is %q, want it to have %q", lines.Text(), want)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // until it ends
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
}

// What trying again does not mend ends it at once.
func TestTopRefused(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(nil)
	defer other.Close()
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0) // of the refused handshake
	untrusted.StartTLS()
	defer untrusted.Close()
	keys := writeFile(t, "keys", "ops stats "+strings.Repeat("k", 32)+"\n")
	p := startRoost(t, loopback("--relay", "--admin-addr", "127.0.0.1:0", "--api-keys-file", keys)...)
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--url", p.adminURL()}, exitFailed, "key"},
		{[]string{"--url", other.URL}, exitFailed, "is --url that of the admin port?"},
		{[]string{"--url", untrusted.URL}, exitFailed, "certificate"},
		{[]string{"--url", "http://127.0.0.1:1", "--once"}, exitFailed, "Is there a server"},
		{[]string{"--interval", "1ms"}, exitUsage, "want 100ms to 1h"},
		{[]string{"--url", "localhost:8081"}, exitUsage, "want http://host:port"},
	} {
		if code, stdout, stderr := roost("", append([]string{"top"}, tc.args...)...); code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("roost top %q: %d, %s%s, want %d and %q", tc.args, code, stdout, stderr, tc.code, tc.want)
		}
	}
}
