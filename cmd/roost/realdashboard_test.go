//go:build realclients

package main

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// The dashboard shows the server, publishes, and disconnects a user.
func TestBrowserDashboard(t *testing.T) {
	t.Parallel()
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	const key = "0123456789abcdef0123456789abcdef"
	keys := writeFile(t, "keys", "ops all "+key+"\n")
	secret := writeFile(t, "secret", strings.Repeat("s", 32))
	p := startRoost(t, loopback("--native", "--token-secret-file", secret, "--admin-addr", "127.0.0.1:0", "--api-keys-file", keys,
		"--namespaces", `[{"name":"news","history-messages":10,"presence":true}]`)...)
	code, token, stderr := roost("", "token", "--secret-file", secret, "--user", "anna")
	if code != exitOK {
		t.Fatalf("roost token: %d %s", code, stderr)
	}
	response, err := http.Get("http://" + p.addr + "/v1/sse?channel=news:1&token=" + strings.TrimSpace(token))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	// The reply to subscribe comes before the page looks.
	events := bufio.NewScanner(response.Body)
	for events.Scan() && !strings.Contains(events.Text(), `"subscribe"`) {
	}
	script(t, "node", "dashboard.js", p.adminURL(), key)
	for events.Scan() && !strings.Contains(events.Text(), "4403") {
	}
	if !strings.Contains(events.Text(), "4403") {
		t.Errorf("the stream of the user ended with %q, want a close event with 4403", events.Text())
	}
}
