package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/server"
)

// adminURL is where the process's admin port is.
func (p *process) adminURL() string {
	p.t.Helper()
	var line struct {
		Msg, Admin string
		AdminAddr  string `json:"admin_addr"`
	}
	for text := range strings.Lines(p.said()) {
		if strings.Contains(text, `"roost serves"`) {
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	if line.AdminAddr == "" {
		p.t.Fatalf("the start-up line does not tell the admin port:\n%s", p.said())
	}
	return "http://" + line.AdminAddr
}

// get asks with an API key and answers status and body.
func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	client := &http.Client{Timeout: testTimeout}
	defer client.CloseIdleConnections()
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// Balancers ask whether the server takes clients where the clients come, whatever it
// serves.
func TestHealthForBalancers(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{{"--relay"}, {"--echo"}, {"--demo"}, {"--native", "--anonymous"}, {"--relay", "--native", "--anonymous"}} {
		p := startRoost(t, loopback(flags...)...)
		for _, path := range []string{"/healthz", "/readyz"} {
			if status, body := get(t, "http://"+p.addr+path, ""); status != 200 || body != "ok\n" {
				t.Errorf("%q: %s: %d %q", flags, path, status, body)
			}
		}
	}
}

func TestAdminPort(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--relay", "--admin-addr", "0", "--admin-pprof")...)
	admin := p.adminURL()
	if !strings.HasPrefix(admin, "http://127.0.0.1:") {
		t.Errorf("a port alone became %s, want loopback", admin)
	}
	if status, body := get(t, admin+"/healthz", ""); status != 200 || !strings.Contains(body, "ok") {
		t.Errorf("/healthz: %d %s", status, body)
	}
	if status, body := get(t, admin+"/debug/pprof/goroutine?debug=1", ""); status != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("profile: %d %.100s", status, body)
	}
	c := dial(t, p.addr, "/")
	code, stdout, stderr := roost("", "publish", "--url", admin, "--all", `{"n":1}`)
	if want := "written to 1 of 1 connections\n"; code != exitOK || stdout != want {
		t.Errorf("publish: %d %q %q, want %q", code, stdout, stderr, want)
	}
	c.Want(`{"n":1}`)
	p.signal(syscall.SIGTERM)
	c.WantClosing(ws.StatusGoingAway)
	p.wantExit(exitOK)
}

// The admin port is there before the server has started: a balancer must not take it for
// ready.
func TestReadyAfterStart(t *testing.T) {
	t.Parallel()
	srv, err := server.New(server.Config{Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	a := &adminPort{srv: srv}
	if err := a.ready(); err == nil || err.Error() != "the server has not started yet" {
		t.Errorf("before Start it is ready: %v", err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	if err := a.ready(); err != nil {
		t.Errorf("after Start: %v", err)
	}
}

func TestNoAdminPortUnlessAsked(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--relay")...)
	if strings.Contains(p.said(), "admin_addr") {
		t.Errorf("the log names an admin port that is not there:\n%s", p.said())
	}
}

func TestAdminPprofIsAsked(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--relay", "--admin-addr", "127.0.0.1:0")...)
	if status, body := get(t, p.adminURL()+"/debug/pprof/", ""); status != 404 {
		t.Errorf("profiles without --admin-pprof: %d %.100s", status, body)
	}
}

func TestAdminKeys(t *testing.T) {
	keys := writeFile(t, "keys", "ops stats,debug 0123456789abcdef\n")
	if err := os.Chmod(keys, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startRoost(t, loopback("--relay", "--admin-addr", "127.0.0.1:0", "--admin-pprof", "--api-keys-file", keys)...)
	admin := p.adminURL()
	for key, want := range map[string]int{"": 401, "0123456789abcdef": 200} {
		for _, path := range []string{"/v1/stats", "/debug/pprof/cmdline"} {
			if status, body := get(t, admin+path, key); status != want {
				t.Errorf("%s with the key %q: %d %.100s, want %d", path, key, status, body, want)
			}
		}
	}
	t.Setenv("ROOST_API_KEY", "0123456789abcdef")
	if code, _, stderr := roost("", "publish", "--url", admin, "news", "1"); code != exitFailed || !strings.Contains(stderr, "the scope publish") {
		t.Errorf("publish without the scope: %d %q", code, stderr)
	}
	// A broken file changes nothing, a good one counts at once.
	if err := os.WriteFile(keys, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.waitLog("the API keys stay as they were", 1)
	if status, _ := get(t, admin+"/v1/stats", "0123456789abcdef"); status != 200 {
		t.Errorf("after a broken file: %d", status)
	}
	if err := os.WriteFile(keys, []byte("ops publish fedcba9876543210\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.waitLog("the API keys were read again", 1)
	if status, _ := get(t, admin+"/v1/stats", "0123456789abcdef"); status != 401 {
		t.Errorf("the old key after a new file: %d", status)
	}
	code, stdout, stderr := roost("", "publish", "--url", admin, "--key-file", writeFile(t, "key", "fedcba9876543210\n"), "news", "1")
	if code != exitOK || stdout != "written to 0 of 0 connections\n" {
		t.Errorf("publish with the new key: %d %q %q", code, stdout, stderr)
	}
}

func TestAdminUsageErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"keys without a port", []string{"--api-keys-file", "x"}, exitUsage, []string{"add --admin-addr"}},
		{"profiles without a port", []string{"--admin-pprof"}, exitUsage, []string{"add --admin-addr"}},
		{"open to the world", []string{"--admin-addr", "0.0.0.0:0"}, exitUsage, []string{"other machines", "--api-keys-file", "127.0.0.1"}},
		{"no such file", []string{"--admin-addr", "0", "--api-keys-file", "/nothing/keys"}, exitUsage, []string{"--api-keys-file", "/nothing/keys"}},
		{"a broken file", []string{"--admin-addr", "0", "--api-keys-file", writeFile(t, "keys", "x y\n")}, exitUsage, []string{"line 1", "name, scopes and key"}},
		{"no address", []string{"--admin-addr", "a:b:c"}, exitUsage, []string{"--admin-addr", "host:port"}},
		{"too small a body", []string{"--admin-addr", "0", "--publish-body-max-bytes", "3"}, exitUsage, []string{"--publish-body-max-bytes is 3"}},
		{"taken", []string{"--admin-addr", taken.Addr().String()}, exitFailed, []string{"--admin-addr", "Another program listens there"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, stderr := roost("", append([]string{"serve", "--addr", "127.0.0.1:0"}, tc.args...)...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr %q lacks %q", stderr, want)
				}
			}
		})
	}
}

// A stream that its client keeps open does not keep the process.
func TestAdminStreamEndsWithTheServer(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--relay", "--admin-addr", "127.0.0.1:0")...)
	body, lines := io.Pipe()
	defer lines.Close()
	r, err := http.NewRequest("POST", p.adminURL()+"/v1/batch", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	go func() { _, _ = io.WriteString(lines, `{"all":true,"data":1}`+"\n") }()
	response, err := (&http.Client{Timeout: testTimeout}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := response.Body.Read(make([]byte, 1)); n != 1 {
		t.Fatalf("no answer to the first line: %v", err)
	}
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	p.wantExit(exitOK)
	if took := time.Since(begin); took > testTimeout/2 {
		t.Errorf("the shutdown took %v", took)
	}
}

// What the server sends and checks for the application is counted beside its own.
func TestStatsOfEverything(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--native", "--token-secret", testSecret, "--admin-addr", "0", "--webhook-url", "http://127.0.0.1:9/",
		"--ask-url", "http://127.0.0.1:9/", "--webhook-secret", webhookSecret)...)
	status, body := get(t, p.adminURL()+"/v1/stats", "")
	var stats map[string]any
	if err := json.Unmarshal([]byte(body), &stats); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	_, metrics := get(t, p.adminURL()+"/metrics", "")
	for _, name := range []string{"token_checks_refused", "webhook_dropped", "ask_questions"} {
		if stats[name] == nil || !strings.Contains(metrics, "\nroost_"+name+"_total 0\n") {
			t.Errorf("/v1/stats and /metrics lack %s: %s", name, body)
		}
	}
}
