//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

// hostileLimits are the rows of the hostile tables: flags of roost serve, and the
// kinds of hostile clients that they bound; none for all.
var hostileLimits = []struct {
	label string
	flags []string
	kinds []string
}{
	{label: "default limits"},
	{label: "--message-rate 100", flags: []string{"--message-rate", "100"}, kinds: []string{"pings", "fragments", "messages"}},
}

// hostile returns the servers that hostile clients are let loose on, and puts
// the tables of what the others notice, and of what it costs the server, into c.
func (o options) hostile(c *report.Comparison) [][]rounds.Target {
	conns, period := min(o.connections, 2000), 2*time.Second
	if o.quick {
		period = 200 * time.Millisecond
	}
	var group []rounds.Target
	for _, limits := range hostileLimits {
		scenario := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
			b.Connections = conns
			return bench.RunHostile(ctx, bench.HostileConfig{Options: b, Kinds: limits.kinds, Period: period, Rounds: o.rounds})
		}
		// As an echo server, it would take messages of 16 MiB for conformance tests.
		t := o.serve(limits.label, "", append([]string{"--message-max-bytes", "65536"}, limits.flags...)...)
		t.Jobs, t.Budget = []rounds.Job{{Name: rounds.Echo, Scenarios: []rounds.Scenario{scenario}}}, !o.quick
		group = append(group, t)
		c.Servers = append(c.Servers, t.Server)
	}
	c.Name, c.Title, c.Connections, c.Columns = "hostile", "Roost with a hostile client", conns, nil
	c.Text = fmt.Sprintf("p99 of the others' round trips while one hostile client of a kind is on the server, as a ratio to the same while it is on a decoy that only reads: medians of %d pairs, taken in turn. %d connections send 2,000 messages a second together.", o.rounds, conns)
	cpu := report.Section{Title: "What it costs the server", Text: "CPU of the server while the client is there, less that while it is on the decoy, of one core.", Servers: c.Servers}
	for _, kind := range bench.HostileKinds() {
		c.Columns = append(c.Columns, report.Column{Metric: "hostile_" + kind, Head: kind, Text: "p99 beside " + kind, Must: 1.10, Aim: 1, Unit: "x"})
		cpu.Columns = append(cpu.Columns, report.Column{Metric: "hostile_" + kind + "_cpu", Head: kind, Unit: "%"})
	}
	c.Sections = []report.Section{cpu}
	return [][]rounds.Target{group}
}
