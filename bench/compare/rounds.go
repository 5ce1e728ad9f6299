//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/roostws/roost/bench"
)

// plan is what is done with each server.
type plan struct {
	Connections int           `json:"connections"`
	Rounds      int           `json:"rounds"`
	Period      time.Duration `json:"period_ns"`
}

// echoConnections are fewer: CPU per echo depends on how busy the server is, not on
// how many are idle beside it, and each of these has a message on the way at all times.
const echoConnections = 1000

// serverReserve are the descriptors of a server that are no connections.
const serverReserve = 200

// fit lowers what this machine cannot do, and says what limits it.
func (p *plan) fit(e bench.Environment) (limits []string) {
	if fits := e.Descriptors - serverReserve; p.Connections > fits {
		limits = append(limits, fmt.Sprintf(
			"a process may have %d descriptors here (hard limit of ulimit -n): %d connections instead of %d",
			e.Descriptors, fits, p.Connections))
		p.Connections = fits
	}
	if e.CPUs < 4 {
		limits = append(limits, fmt.Sprintf(
			"server and generator share %d cores: latencies and rates tell of both, CPU per operation of the server alone", e.CPUs))
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"} {
		if value, ok := os.LookupEnv(name); ok {
			limits = append(limits, fmt.Sprintf("%s=%s is set, for all servers written in Go", name, value))
		}
	}
	return limits
}

// rounds is for sentences.
func (p *plan) rounds() string {
	if p.Rounds == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", p.Rounds)
}

// estimate is how long all of it takes, from 5,000 connections opened a second and
// what a scenario waits besides.
func (p *plan) estimate(servers int) time.Duration {
	turn := 25*time.Second + 5*p.Period + 3*time.Duration(p.Connections)*time.Second/5000
	return turn * time.Duration(servers*p.Rounds)
}

// A turn is one server in one round.
type turn struct {
	Server  string             `json:"server"`
	Round   int                `json:"round"`
	Figures map[string]float64 `json:"figures"`
	// Faults say what the server did wrong, Warnings what makes a figure doubtful.
	Faults   []string `json:"faults,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Error is why the turn did not come to its end.
	Error string `json:"error,omitempty"`
	// Results are the figures of each scenario as the generator gave them.
	Results []scenarioResult `json:"results"`
}

// scenarioResult is a bench.Result without what all have in common.
type scenarioResult struct {
	Scenario string         `json:"scenario"`
	Mode     mode           `json:"mode"`
	Seconds  float64        `json:"seconds"`
	Metrics  []bench.Metric `json:"metrics"`
}

// run gives every server its turns. It ends early only if ctx does.
func (p *plan) run(ctx context.Context, servers []contender, generator []string) ([]turn, error) {
	var turns []turn
	for round := range p.Rounds {
		for i := range servers {
			// Another one is first in each round, and the order turns round: what
			// runs beside whom, and after whom, changes.
			at := (i + round*len(servers)/p.Rounds) % len(servers)
			if round%2 == 1 {
				at = len(servers) - 1 - at
			}
			c := servers[at]
			fmt.Printf("round %d of %d: %s\n", round+1, p.Rounds, c.name)
			t := p.turn(ctx, c, generator)
			t.Round = round + 1
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if t.Error != "" {
				fmt.Printf("  %s: %s\n", c.name, t.Error)
			}
			turns = append(turns, t)
		}
	}
	return turns, nil
}

// turn measures one server in both its modes.
func (p *plan) turn(ctx context.Context, c contender, generator []string) turn {
	t := turn{Server: c.name, Figures: make(map[string]float64)}
	for _, m := range []mode{echo, relay} {
		if err := p.measure(ctx, &t, c, m, generator); err != nil {
			t.Error = fmt.Sprintf("%s: %v", m, err)
			break
		}
	}
	return t
}

// measure runs a server in one mode through the scenarios of that mode. It is a new
// process, so that memory is what these connections cost.
func (p *plan) measure(ctx context.Context, t *turn, c contender, m mode, generator []string) error {
	server, err := start(ctx, c, m)
	if err != nil {
		return err
	}
	defer server.stop()
	o := bench.Options{
		URL:              "ws://" + server.addr + "/",
		PIDs:             []int{server.pid()},
		Connections:      p.Connections,
		Label:            c.name,
		Progress:         os.Stderr,
		GeneratorCommand: generator,
	}
	r, err := bench.RunIdle(ctx, bench.IdleConfig{Options: o, Period: p.Period / 2})
	if err := t.note(m, r, err); err != nil {
		return err
	}
	if m == relay {
		r, err = bench.RunBroadcast(ctx, bench.BroadcastConfig{Options: o, Period: p.Period})
	} else {
		o.Connections = min(p.Connections, echoConnections)
		r, err = bench.RunEcho(ctx, bench.EchoConfig{Options: o, Period: p.Period})
	}
	return t.note(m, r, err)
}

// note keeps what a scenario found out.
func (t *turn) note(m mode, r *bench.Result, err error) error {
	if err != nil {
		return err
	}
	t.Results = append(t.Results, scenarioResult{r.Scenario, m, r.Seconds, r.Metrics})
	for _, s := range r.Faults {
		t.Faults = append(t.Faults, r.Scenario+": "+s)
	}
	for _, s := range r.Warnings {
		t.Warnings = append(t.Warnings, r.Scenario+": "+s)
	}
	for _, f := range figures {
		if f.scenario != r.Scenario || f.mode != m {
			continue
		}
		// CPU per operation is 0 where there was no operation; its fault is noted.
		if metric, ok := r.Metric(f.metric); ok && (metric.Value > 0 || !f.ratio) {
			t.Figures[f.name] = metric.Value
		}
	}
	return nil
}
