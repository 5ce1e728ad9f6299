//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

// periods are how long each part takes, and how many connections it has where
// it has fewer than the others.
type periods struct {
	idle, echo, broadcast, settle time.Duration
	// pinged is several ping intervals.
	pinged             time.Duration
	singles, echoConns int
	// tlsConns are fewer: a client's part of TLS is the generator's to pay.
	tlsConns, deflateConns int
	// longSettle is for what leaves garbage, TLS handshakes and tokens: a server
	// may clean up when it has been idle for some seconds.
	longSettle time.Duration
}

func (o options) periods() periods {
	if o.quick {
		return periods{pinged: 2 * time.Second, idle: 500 * time.Millisecond, echo: 500 * time.Millisecond, broadcast: 500 * time.Millisecond, settle: 200 * time.Millisecond, singles: 10, echoConns: 500, tlsConns: 300, longSettle: 200 * time.Millisecond}
	}
	return periods{pinged: 15 * time.Second, idle: time.Second, echo: 3 * time.Second, broadcast: 3 * time.Second, settle: 500 * time.Millisecond, singles: 20, echoConns: 1000, tlsConns: 2000, deflateConns: 2000, longSettle: 6 * time.Second}
}

// echoJob measures idle connections, then echoes on some of them.
func (o options) echoJob() rounds.Job {
	p := o.periods()
	return rounds.Job{Name: rounds.Echo, Scenarios: []rounds.Scenario{idle(p.idle), func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		b.Connections = min(b.Connections, p.echoConns)
		return bench.RunEcho(ctx, bench.EchoConfig{Options: b, Period: p.echo})
	}}}
}

// relayJob measures a broadcast to all.
func (o options) relayJob() rounds.Job {
	p := o.periods()
	return rounds.Job{Name: rounds.Relay, Scenarios: []rounds.Scenario{func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		return bench.RunBroadcast(ctx, bench.BroadcastConfig{Options: b, Singles: p.singles, Period: p.broadcast})
	}}}
}

func idle(period time.Duration) rounds.Scenario {
	return func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		return bench.RunIdle(ctx, bench.IdleConfig{Options: b, Period: period})
	}
}

// groups returns all targets, in groups of those that are compared with each
// other, and puts the tables that show them into c.
func (o options) groups(c *report.Comparison) ([][]rounds.Target, error) {
	var groups [][]rounds.Target
	engines := strings.Split(o.engines, ",")
	for field := range strings.SplitSeq(o.loops, ",") {
		loops, err := strconv.Atoi(field)
		if err != nil || loops < 1 {
			return nil, fmt.Errorf("loops %q: want numbers", o.loops)
		}
		groups = append(groups, o.besideBare(engines, loops))
	}
	first := groups[0][1] // of Roost
	first.Budget = true
	groups[0][1] = first
	for _, group := range groups {
		for _, t := range group {
			c.Servers = append(c.Servers, t.Server)
		}
	}
	groups = o.addTwoLoops(groups, engines[0], c)
	for _, add := range []func(rounds.Target, *report.Comparison) ([]rounds.Target, error){
		o.addNative, o.addStreams, o.addTLS, o.addPinged, o.addHugePages, o.addCompressed, o.addStalled,
	} {
		group, err := add(first, c)
		if err != nil {
			return nil, err
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// besideBare returns the bare server and the engines with a number of loops.
func (o options) besideBare(engines []string, loops int) []rounds.Target {
	name := "bare, " + plural(loops, "loop")
	group := []rounds.Target{o.bare(name, loops)}
	for _, engine := range engines {
		label := engine + ", " + plural(loops, "loop")
		group = append(group, o.serve(label, name, "--engine", engine, "--loops", strconv.Itoa(loops)))
	}
	return group
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// bare is the server of bench/limit.
func (o options) bare(label string, loops int) rounds.Target {
	return rounds.Target{
		Server: report.Server{Label: label, Reference: label},
		Jobs:   []rounds.Job{o.echoJob(), o.relayJob()},
		Args: func(job, addr string, shared bool) []string {
			mode := map[string]string{rounds.Echo: "echo", rounds.Relay: "broadcast"}[job]
			return []string{o.limit, "-addr", addr, "-mode", mode, "-loops", strconv.Itoa(loops), "-reuse-port=" + strconv.FormatBool(shared)}
		},
	}
}

// serve is roost serve with flags.
func (o options) serve(label, reference string, flags ...string) rounds.Target {
	return rounds.Target{
		Server: report.Server{Label: label, Reference: reference},
		Jobs:   []rounds.Job{o.echoJob(), o.relayJob()},
		Args: func(job, addr string, shared bool) []string {
			args := append([]string{o.roost, "serve", "--addr", addr, "--" + job}, flags...)
			if shared {
				args = append(args, "--reuse-port")
			}
			return args
		},
	}
}

// variant is a server like t with more flags, another label and other jobs.
func variant(t rounds.Target, suffix string, jobs []rounds.Job, flags ...string) rounds.Target {
	args := t.Args
	t.Server = report.Server{Label: t.Label + ", " + suffix}
	t.Jobs = jobs
	t.Args = func(job, addr string, shared bool) []string { return append(args(job, addr, shared), flags...) }
	return t
}
