//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

func TestCapacity(t *testing.T) {
	c := capacity{descriptors: 20_000, systemFiles: 2_000_000, memory: 16 << 30}
	for _, tc := range []struct {
		asked, fits, processes int
	}{
		{10_000, 10_000, 1},
		{19_488, 19_488, 1},
		{19_489, 19_489, 2},
		{100_000, 100_000, 6},    // 17,539 in each, so that an uneven spread fits
		{5_000_000, 900_000, 52}, // the system's descriptors, two for each
	} {
		fits := c.fit(tc.asked)
		if fits != tc.fits || c.processes(fits) != tc.processes {
			t.Errorf("%d connections: fit %d in %d processes, want %d in %d", tc.asked, fits, c.processes(fits), tc.fits, tc.processes)
		}
		said := strings.Join(c.found(tc.asked, fits), "\n")
		if got := strings.Contains(said, "asked for"); got != (fits < tc.asked) {
			t.Errorf("%d connections asked for, %d fit, and it says: %s", tc.asked, fits, said)
		}
	}
	c.memory = 1 << 30
	if got := c.fit(100_000); got != 59_918 {
		t.Errorf("1 GiB holds %d connections, want 59,918", got)
	}
}

// targetsOf returns the labels of a run's targets, group by group, and the
// targets by label.
func targetsOf(t *testing.T, o options) (labels [][]string, byLabel map[string]rounds.Target, c *report.Comparison) {
	t.Helper()
	o.roost, o.limit, o.dir, o.connections = "roost", "limit", t.TempDir(), 10_000
	if o.engines == "" {
		o.engines = "epoll,gnet"
	}
	c = &report.Comparison{}
	groups, err := o.groups(c)
	if err != nil {
		t.Fatal(err)
	}
	byLabel = make(map[string]rounds.Target)
	for _, group := range groups {
		var row []string
		for _, target := range group {
			row = append(row, target.Label)
			byLabel[target.Label] = target
		}
		labels = append(labels, row)
	}
	return labels, byLabel, c
}

func TestTargets(t *testing.T) {
	labels, targets, c := targetsOf(t, options{loops: "1,2", gorilla: "gorilla"})
	want := [][]string{
		{"bare, 1 loop", "epoll, 1 loop", "gnet, 1 loop"},
		{"bare, 2 loops", "epoll, 2 loops", "roost serve, its default", "gnet, 2 loops"},
		{"epoll, 1 loop, native"}, {"epoll, 1 loop, native over ws", "epoll, 1 loop, native over sse"},
		{"net/http + gorilla/websocket, wss", "epoll, 1 loop, wss"},
		{"epoll, 1 loop, pinged"}, {"epoll, 1 loop, compression"}, {"epoll, 1 loop, stalled"},
	}
	if !reflect.DeepEqual(labels, want) {
		t.Errorf("labels %q, want %q", labels, want)
	}
	var rows []string
	for _, s := range c.Servers {
		rows = append(rows, s.Label)
		if s.Budget != (s.Label == "epoll, 1 loop") {
			t.Errorf("%s: budget %v", s.Label, s.Budget)
		}
	}
	if want := []string{"bare, 1 loop", "epoll, 1 loop", "gnet, 1 loop", "bare, 2 loops", "epoll, 2 loops", "gnet, 2 loops"}; !slices.Equal(rows, want) {
		t.Errorf("rows of the first table %q, want %q", rows, want)
	}
	for label, want := range map[string]struct{ reference, args string }{
		"bare, 2 loops":                  {"bare, 2 loops", "limit -addr A -mode broadcast -loops 2 -reuse-port=true"},
		"gnet, 1 loop":                   {"bare, 1 loop", "roost serve --addr A --relay --engine gnet --loops 1 --reuse-port"},
		"epoll, 2 loops":                 {"bare, 2 loops", "roost serve --addr A --relay --engine epoll --loops 2 --reuse-port"},
		"roost serve, its default":       {"bare, 2 loops", "roost serve --addr A --relay --reuse-port"},
		"epoll, 1 loop, native over sse": {"epoll, 1 loop, native over ws", ""},
		"epoll, 1 loop, wss":             {"net/http + gorilla/websocket, wss", ""},
	} {
		got := targets[label]
		if got.Reference != want.reference {
			t.Errorf("%s: reference %q, want %q", label, got.Reference, want.reference)
		}
		if args := strings.Join(got.Args(rounds.Relay, "A", true), " "); want.args != "" && args != want.args {
			t.Errorf("%s is called with %q, want %q", label, args, want.args)
		}
	}
	if args := strings.Join(targets["epoll, 1 loop, native"].Args(rounds.Echo, "A", false), " "); !strings.Contains(args, "--native --token-secret-file") || !strings.Contains(args, "history-messages") {
		t.Errorf("the native server is called with %q: without tokens, or without history", args)
	}
	if _, err := (options{loops: "1,x", engines: "epoll"}).groups(c); err == nil {
		t.Error("loops x was accepted")
	}
}

// Two loops are measured beside two threads of the bare server whatever was
// asked for, and in the gate too; what was asked for is not measured twice.
func TestSections(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    options
		want [][]string
	}{
		{"no peer", options{loops: "2"}, [][]string{
			{"bare, 2 loops", "epoll, 2 loops", "roost serve, its default"}, {"epoll, 2 loops, native"}, {"epoll, 2 loops, native over ws", "epoll, 2 loops, native over sse"}, {"epoll, 2 loops, wss"},
			{"epoll, 2 loops, pinged"}, {"epoll, 2 loops, compression"}, {"epoll, 2 loops, stalled"},
		}},
		{"quick", options{loops: "1", quick: true}, [][]string{
			{"bare, 2 loops", "epoll, 2 loops"}, {"epoll, 1 loop, native"}, {"epoll, 1 loop, native over ws", "epoll, 1 loop, native over sse"}, {"epoll, 1 loop, wss"}, {"epoll, 1 loop, pinged"},
		}},
	} {
		labels, targets, c := targetsOf(t, tc.o)
		var got [][]string
		for _, s := range c.Sections {
			var row []string
			for _, server := range s.Servers {
				row = append(row, server.Label)
				if tc.o.quick && server.Budget {
					t.Errorf("%s: %s is judged", tc.name, server.Label)
				}
				if _, ok := targets[server.Label]; !ok {
					t.Errorf("%s: %s is in a table and is not measured", tc.name, server.Label)
				}
			}
			got = append(got, row)
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: rows %q, want %q", tc.name, got, tc.want)
		}
		all := slices.Concat(labels...)
		slices.Sort(all)
		if len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("%s: measured twice: %q", tc.name, all)
		}
	}
}

// Event streams may be measured alone.
func TestOnlyStreams(t *testing.T) {
	o, c := options{engines: "epoll,gnet", roost: "roost", limit: "limit", connections: 10_000, rounds: 3}, &report.Comparison{}
	groups := o.onlyStreams(c)
	if len(groups) != 1 || len(groups[0]) != 2 || len(c.Servers) != 2 || len(c.Sections) != 0 || c.Name != "streams" {
		t.Fatalf("%d groups, servers %+v", len(groups), c.Servers)
	}
	if s := c.Servers[1]; s.Reference != c.Servers[0].Label || !s.Budget || c.Servers[0].Budget {
		t.Errorf("servers %+v: the streams are not judged beside the WebSockets", c.Servers)
	}
}

// A server and its clients must be able to use it.
func TestCertificate(t *testing.T) {
	cert, key, err := writeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "127.0.0.1", Roots: pool}); err != nil {
		t.Error(err)
	}
}
