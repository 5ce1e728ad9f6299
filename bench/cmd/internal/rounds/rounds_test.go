//go:build linux

package rounds

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/report"
)

func target(label string, jobs ...string) Target {
	t := Target{Server: report.Server{Label: label}}
	for _, name := range jobs {
		t.Jobs = append(t.Jobs, Job{Name: name})
	}
	return t
}

// Neighbours stay neighbours, and none always follows the same one.
func TestOrder(t *testing.T) {
	groups := [][]Target{
		{target("bare", Echo, Relay), target("a", Echo, Relay), target("b", Echo)},
		{target("c", Echo)},
	}
	for round, want := range []string{
		"bare echo, a echo, b echo, bare relay, a relay, c echo",
		"c echo, b echo, a echo, bare echo, a relay, bare relay",
		"a echo, b echo, bare echo, a relay, bare relay, c echo",
	} {
		var got []string
		for _, turn := range order(groups, round) {
			got = append(got, turn.target.Label+" "+turn.job.Name)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("round %d: %q, want %s", round, got, want)
		}
	}
}

// shell makes a target of a script.
func shell(script string) Target {
	t := target("script", Echo)
	t.Args = func(string, string, bool) []string { return []string{"/bin/sh", "-c", script} }
	return t
}

// A server that cannot start is an error with its words, and soon.
func TestServerThatFails(t *testing.T) {
	started := time.Now()
	_, err := start(context.Background(), shell("echo no such engine >&2; exit 3"), Echo, 1)
	if err == nil || !strings.Contains(err.Error(), "no such engine") || !strings.Contains(err.Error(), "exit status 3") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start = %v, want the server's status and words", err)
	}
	if d := time.Since(started); d > startLimit {
		t.Errorf("took %v", d)
	}
	absent := target("absent", Echo)
	absent.Args = func(string, string, bool) []string { return []string{"/nonexistent/server"} }
	if _, err := start(context.Background(), absent, Echo, 1); err == nil {
		t.Error("a program that is not there was started")
	}
}

// A server that fails is noted, and the others have their turns.
func TestFailureIsNoted(t *testing.T) {
	c := &report.Comparison{}
	plan := Plan{Rounds: 2, Log: io.Discard, Options: bench.Options{}}
	if err := plan.Run(context.Background(), [][]Target{{shell("exit 3"), shell("exit 4")}}, c); err != nil {
		t.Fatal(err)
	}
	if len(c.Failures) != 4 || c.Held() {
		t.Errorf("failures %q, want 4", c.Failures)
	}
	if !slices.ContainsFunc(c.Failures, func(f string) bool { return strings.HasPrefix(f, "script, echo: server ended (exit status 4)") }) {
		t.Errorf("failures %q name no status", c.Failures)
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
