package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// askedAPI is an admin port that remembers what it was asked.
type askedAPI struct {
	*httptest.Server
	answer string // of each publication

	// Guarded by mu.
	mu     sync.Mutex
	bodies []string
	header http.Header
}

func newAskedAPI(t *testing.T, answer string) *askedAPI {
	a := &askedAPI{answer: answer}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != "POST" || r.URL.Path != "/v1/publish" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked %s %s, %q, %v", r.Method, r.URL, r.Header, err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.bodies, a.header = append(a.bodies, string(body)), r.Header
		_, _ = io.WriteString(w, a.answer+"\n")
	}))
	t.Cleanup(a.Close)
	return a
}

const goodReceipt = `{"epoch":"e1","offset":16,"matched":3,"written":2,"complete":true,"duplicate":false}`

func TestPublishCommand(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, stdin string
		args        []string
		want        string
	}{
		{"JSON", "", []string{"news", `{"a": 1}`}, `{"channel":"news","data":{"a":1},"wait":"5s"}`},
		{"text", "", []string{"--text", "news", "<b>"}, `{"channel":"news","text":"<b>","wait":"5s"}`},
		{"standard input", `[1,2]`, []string{"news"}, `{"channel":"news","data":[1,2],"wait":"5s"}`},
		{"a line", "a\n", []string{"--text", "news", "-"}, `{"channel":"news","text":"a\n","wait":"5s"}`},
		{"a user", "", []string{"--user", "42", `"hi"`, "--wait", "0s"}, `{"user":"42","data":"hi","wait":"0s"}`},
		{"a user's message from standard input", `1`, []string{"--user", "42"}, `{"user":"42","data":1,"wait":"5s"}`},
		{"all, slowly", "", []string{"--all", "--spread", "90s", "--key", "k", "1"}, `{"all":true,"data":1,"key":"k","spread":"1m30s","wait":"5s"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAskedAPI(t, goodReceipt)
			code, stdout, stderr := roost(tc.stdin, append([]string{"publish", "--url", a.URL, "--idempotency-key", "i"}, tc.args...)...)
			if want := "offset 16 of epoch e1, written to 2 of 3 connections\n"; code != exitOK || stdout != want || stderr != "" {
				t.Errorf("%d %q %q, want %q", code, stdout, stderr, want)
			}
			var got, want map[string]any
			if len(a.bodies) != 1 || json.Unmarshal([]byte(a.bodies[0]), &got) != nil || json.Unmarshal([]byte(tc.want), &want) != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("asked %q, want %s", a.bodies, tc.want)
			}
			if a.header.Get("Idempotency-Key") != "i" {
				t.Errorf("asked with %v", a.header)
			}
		})
	}
}

func TestPublishCommandPrints(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		answer string
		args   []string
		want   string
	}{
		{`{"matched":3,"written":0,"complete":false,"duplicate":false}`, nil, "written to 0 of 3 connections so far\n"},
		{`{"matched":1,"written":1,"complete":true,"duplicate":true}`, nil, "written to 1 of 1 connections; published before, with this idempotency key\n"},
		{goodReceipt, []string{"--json"}, goodReceipt + "\n"},
		{goodReceipt, []string{"--json", "--count", "2"}, goodReceipt + "\n" + goodReceipt + "\n"},
	} {
		a := newAskedAPI(t, tc.answer)
		code, stdout, stderr := roost("", append([]string{"publish", "--url", a.URL, "news", "1"}, tc.args...)...)
		if code != exitOK || stdout != tc.want {
			t.Errorf("%q: %d %q %q, want %q", tc.args, code, stdout, stderr, tc.want)
		}
	}
	a := newAskedAPI(t, goodReceipt)
	code, stdout, _ := roost("", "publish", "--url", a.URL, "news", "1", "--count", "5", "--rate", "1000")
	if code != exitOK || len(a.bodies) != 5 || !strings.HasPrefix(stdout, "published 5 times in ") || !strings.Contains(stdout, "written to 10 of 15 connections") {
		t.Errorf("five times: %d %q, %d requests", code, stdout, len(a.bodies))
	}
}

func TestPublishCommandErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, exitUsage, "Name a channel"},
		{[]string{"--user", "1", "--all", "1"}, exitUsage, "exclude each other"},
		{[]string{"--all", "news", "1"}, exitUsage, `a channel, "news", and`},
		{[]string{"news", "hello"}, exitUsage, "add --text"},
		{[]string{"news", "1", "--count", "0"}, exitUsage, "--count is 0"},
		{[]string{"news", "1", "--count", "2", "--idempotency-key", "i"}, exitUsage, "repetitions"},
		{[]string{"news", "1", "--rate=-1"}, exitUsage, "--rate is -1"},
		{[]string{"news", "1", "--wait", "2m"}, exitUsage, "--wait is 2m"},
		{[]string{"news", "1", "--spread", "2h"}, exitUsage, "--spread is 2h"},
		{[]string{"news", "1", "--url", "localhost:8081"}, exitUsage, "want http://host:port"},
		{[]string{"--ndjson", "news"}, exitUsage, "--ndjson reads all that"},
		{[]string{"news", "1", "--key-file", "/nothing/key"}, exitUsage, "/nothing/key"},
		{[]string{"news", "1", "--url", "http://127.0.0.1:1"}, exitFailed, "--admin-addr"},
	} {
		code, _, stderr := roost("", append([]string{"publish"}, tc.args...)...)
		if code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: %d %q, want %d and %q", tc.args, code, stderr, tc.code, tc.want)
		}
	}
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	if code, _, stderr := roost("", "publish", "--url", elsewhere.URL, "news", "1"); code != exitFailed || !strings.Contains(stderr, "404") || !strings.Contains(stderr, "admin port?") {
		t.Errorf("another server: %d %q", code, stderr)
	}
}

// Lines are published as they come, and each has its line of answer.
func TestPublishCommandStreams(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--relay", "--admin-addr", "127.0.0.1:0")...)
	c := dial(t, p.addr, "/")
	code, stdout, stderr := roost(`{"all":true,"data":1}`+"\n"+`{"all":true,"date":2}`+"\n\n"+`{"all":true,"text":"x"}`, "publish", "--url", p.adminURL(), "--ndjson")
	lines := strings.Split(stdout, "\n")
	if code != exitFailed || !strings.Contains(stderr, "1 publications were refused") || len(lines) != 4 ||
		lines[0] != "written to 1 of 1 connections" || !strings.Contains(lines[1], `"date"`) || lines[2] != lines[0] {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	c.Want("1")
	c.Want("x")
}
