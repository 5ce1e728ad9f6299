package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/roostws/roost/bench"
	benchreport "github.com/roostws/roost/bench/report"
)

// BenchCmd holds the scenarios of package bench. Each prints a table to standard
// output and its progress to standard error, and returns errNotHeld if a check of
// the result failed.
type BenchCmd struct {
	Idle       benchScenario[bench.IdleConfig]      `cmd:"" help:"Open connections and leave them alone: memory and CPU for each, CPU while idle."`
	Echo       benchScenario[bench.EchoConfig]      `cmd:"" help:"Send messages to a server that sends them back: latency at a rate, CPU per message."`
	Broadcast  benchScenario[bench.BroadcastConfig] `cmd:"" help:"Publish to all: one at a time, at a rate, without pause. CPU per delivery, time to the last receiver."`
	Storm      benchScenario[bench.StormConfig]     `cmd:"" help:"All clients come at once, are cut off at once, and come back at once."`
	Mixed      benchScenario[bench.MixedConfig]     `cmd:"" help:"90 % idle, 9 % trickling, 1 % busy, against an echo server."`
	Hostile    benchScenario[bench.HostileConfig]   `cmd:"" help:"Echo beside one hostile client of each kind: what do the others notice?"`
	Slow       benchScenario[bench.SlowConfig]      `cmd:"" help:"Publish while 5 % of the receivers do not read."`
	Grow       benchScenario[bench.GrowConfig]      `cmd:"" help:"Open more and more connections: memory for each, and a broadcast to all, at each step."`
	Transports benchTransports                      `cmd:"" help:"The same updates over polling, long-polling, SSE and WebSocket: bytes, CPU, delay."`
	Generator  benchGenerator                       `cmd:"" hidden:"" help:"Hold connections for a scenario (started by the scenarios)."`
}

// errNotHeld is the error of a result with faults.
var errNotHeld = errors.New("not held: see the faults above")

// benchOutput holds the flags for output besides the table.
type benchOutput struct {
	JSON string `name:"json" placeholder:"FILE" help:"Write the result as JSON."`
	Plot string `placeholder:"FILE" help:"Draw the result as SVG, a picture that every browser shows."`
}

// benchScenario is the command of one scenario: the flags of its configuration, and
// those of the output.
type benchScenario[C any] struct {
	Scenario C `embed:""`
	benchOutput
}

// Run runs the scenario.
func (c *benchScenario[C]) Run() error {
	switch cfg := any(&c.Scenario).(type) {
	case *bench.IdleConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunIdle)
	case *bench.EchoConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunEcho)
	case *bench.BroadcastConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunBroadcast)
	case *bench.StormConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunStorm)
	case *bench.MixedConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunMixed)
	case *bench.HostileConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunHostile)
	case *bench.SlowConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunSlow)
	case *bench.GrowConfig:
		return runBench(&c.benchOutput, cfg, &cfg.Options, bench.RunGrow)
	}
	panic(fmt.Sprintf("no scenario has the configuration %T", c.Scenario))
}

// benchTransports is the command of the scenario transports, whose result is a
// comparison.
type benchTransports struct {
	Scenario bench.TransportsConfig `embed:""`
	Out      string                 `placeholder:"FOLDER" help:"Write page, plot and raw figures into this folder."`
}

// Run runs the scenario.
func (c *benchTransports) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c.Scenario.Progress = os.Stderr
	results, err := bench.RunTransports(ctx, c.Scenario)
	if err != nil {
		return err
	}
	comparison := benchreport.Transports(results, c.Scenario)
	comparison.Command = strings.Join(append([]string{"roost"}, os.Args[1:]...), " ")
	if err := comparison.Save(os.Stdout, c.Out); err != nil {
		return err
	}
	if !comparison.Held() {
		return errNotHeld
	}
	return nil
}

type benchGenerator struct{}

// Run serves a scenario until standard input ends.
func (*benchGenerator) Run() error { return bench.RunGenerator() }

// runBench runs a scenario at a terminal. SIGINT and SIGTERM end it.
func runBench[C any](out *benchOutput, cfg *C, opt *bench.Options, run func(context.Context, C) (*bench.Result, error)) error {
	if err := out.check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opt.Progress = os.Stderr
	r, err := run(ctx, *cfg)
	if err != nil {
		return err
	}
	return out.report(os.Stdout, r)
}

// report prints a result and writes it where it was asked for.
func (o *benchOutput) report(w io.Writer, r *bench.Result) error {
	benchreport.WriteResult(w, r)
	if err := o.write(r); err != nil {
		return err
	}
	if !r.Held {
		return errNotHeld
	}
	return nil
}

// check returns an error, before anything is measured, for a plot that cannot be drawn.
func (o *benchOutput) check() error {
	if extension := filepath.Ext(o.Plot); o.Plot != "" && extension != ".svg" {
		return usagef("--plot %s: plots are SVG files: --plot %s.svg", o.Plot, strings.TrimSuffix(o.Plot, extension))
	}
	return nil
}

func (o *benchOutput) write(r *bench.Result) error {
	if o.JSON != "" {
		f, err := os.Create(o.JSON)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := r.Write(f); err != nil {
			return fmt.Errorf("write %s: %w", o.JSON, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if o.Plot != "" {
		return os.WriteFile(o.Plot, benchreport.PlotResult(r), 0o644)
	}
	return nil
}
