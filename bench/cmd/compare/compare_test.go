//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

func TestContenders(t *testing.T) {
	var names []string
	for _, c := range (options{}).contenders("BIN") {
		names = append(names, c.Label)
		if c.Reference != yardstick || len(c.Jobs) != 2 || c.About == "" {
			t.Errorf("%s: reference %q, %d jobs, about %q", c.Label, c.Reference, len(c.Jobs), c.About)
		}
		if ours := c.Label == yardstick || c.Label == "limit-2" || strings.HasPrefix(c.Label, "roost-"); c.Peer == ours {
			t.Errorf("%s: peer = %v", c.Label, c.Peer)
		}
		if args := strings.Join(c.Args(rounds.Relay, "A", false), " "); !strings.Contains(args, "A") || !strings.Contains(args, "relay") && !strings.Contains(args, "broadcast") {
			t.Errorf("%s is called with %q", c.Label, args)
		}
	}
	if names[0] != yardstick || len(names) != 12 {
		t.Errorf("contenders %q, want 12, the yardstick first", names)
	}
}

func TestChoose(t *testing.T) {
	named := func(label string) contender {
		return contender{Target: rounds.Target{Server: report.Server{Label: label}}}
	}
	missing := named("c")
	missing.missing = func() string { return "no c here" }
	all := []contender{named(yardstick), named("a"), named("b"), missing}
	for _, test := range []struct {
		only, want, leftOut string
	}{
		{"", "limit a b", "c is left out: no c here"},
		{"b", "limit b", ""},
		{"b,limit", "limit b", ""},
		{"c", "limit", "c is left out: no c here"},
	} {
		chosen, leftOut, err := choose(all, test.only)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range chosen {
			names = append(names, c.Label)
		}
		if got := strings.Join(names, " "); got != test.want || strings.Join(leftOut, " ") != test.leftOut {
			t.Errorf("choose(%q) = %s, left out %q, want %s, %q", test.only, got, leftOut, test.want, test.leftOut)
		}
	}
	if _, _, err := choose(all, "a,d"); err == nil || !strings.Contains(err.Error(), "limit, a, b, c") {
		t.Errorf("choose of an unknown name: %v, want an error with all names", err)
	}
}

func TestFit(t *testing.T) {
	o := options{connections: 50_000}
	limits := o.fit(bench.Environment{Descriptors: 20_000, CPUs: 8})
	if o.connections != 20_000-serverReserve || len(limits) == 0 || !strings.Contains(limits[0], "50000") {
		t.Errorf("fit: %d connections, %q, want what fits, and that it was said", o.connections, limits)
	}
	o = options{connections: 10_000}
	o.fit(bench.Environment{Descriptors: 20_000, CPUs: 8})
	if o.connections != 10_000 {
		t.Errorf("fit lowered 10,000 to %d", o.connections)
	}
}

// Beside Socket.IO on Node, both servers get the same clients, and ratios are to the original.
func TestSocketIOContenders(t *testing.T) {
	all := (options{}).socketIO("BIN")
	if len(all) != 2 || all[0].Label != socketIOYardstick || !all[0].Peer || all[1].Peer {
		t.Fatalf("the servers are %+v", all)
	}
	for _, c := range all {
		if c.Reference != socketIOYardstick || len(c.Jobs) != 1 || len(c.Jobs[0].Scenarios) != 2 || !strings.Contains(strings.Join(c.Args(rounds.Relay, "A", false), " "), "A") {
			t.Errorf("%s: %+v", c.Label, c.Target)
		}
	}
}
