package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/roostws/roost/bench"
	benchreport "github.com/roostws/roost/bench/report"
)

// BenchCmd are the scenarios of package bench. Each prints a table to standard
// output and progress to standard error, and ends with errNotHeld where
// something that was verified was wrong.

type BenchCmd struct {
	Idle      benchIdle      `cmd:"" help:"Open connections and leave them alone: memory and CPU for each, CPU while idle."`
	Echo      benchEcho      `cmd:"" help:"Send messages to a server that sends them back: latency at a rate, CPU per message."`
	Broadcast benchBroadcast `cmd:"" help:"Publish to all: one at a time, at a rate, without pause. CPU per delivery, time to the last receiver."`
	Storm     benchStorm     `cmd:"" help:"All clients come at once, are cut off at once, and come back at once."`
	Mixed     benchMixed     `cmd:"" help:"90 % idle, 9 % trickling, 1 % busy, against an echo server."`
	Hostile   benchHostile   `cmd:"" help:"Echo beside one hostile client of each kind: what do the others notice?"`
	Slow      benchSlow      `cmd:"" help:"Publish while 5 % of the receivers do not read."`
	Grow      benchGrow      `cmd:"" help:"Open more and more connections: memory for each, and a broadcast to all, at each step."`
	Generator benchGenerator `cmd:"" hidden:"" help:"Hold connections for a scenario (started by the scenarios)."`
}

// errNotHeld means that a result has faults.
var errNotHeld = errors.New("not held: see the faults above")

// benchOutput says where a result goes besides the table.
type benchOutput struct {
	JSON string `name:"json" placeholder:"FILE" help:"Write the result as JSON."`
	Plot string `placeholder:"FILE" help:"Draw the result as SVG, a picture that every browser shows."`
}

type (
	benchIdle struct {
		bench.IdleConfig
		benchOutput
	}
	benchEcho struct {
		bench.EchoConfig
		benchOutput
	}
	benchBroadcast struct {
		bench.BroadcastConfig
		benchOutput
	}
	benchStorm struct {
		bench.StormConfig
		benchOutput
	}
	benchMixed struct {
		bench.MixedConfig
		benchOutput
	}
	benchHostile struct {
		bench.HostileConfig
		benchOutput
	}
	benchSlow struct {
		bench.SlowConfig
		benchOutput
	}
	benchGrow struct {
		bench.GrowConfig
		benchOutput
	}
	benchGenerator struct{}
)

func (c *benchIdle) Run() error {
	return runBench(&c.benchOutput, &c.IdleConfig, &c.Options, bench.RunIdle)
}
func (c *benchEcho) Run() error {
	return runBench(&c.benchOutput, &c.EchoConfig, &c.Options, bench.RunEcho)
}
func (c *benchBroadcast) Run() error {
	return runBench(&c.benchOutput, &c.BroadcastConfig, &c.Options, bench.RunBroadcast)
}
func (c *benchStorm) Run() error {
	return runBench(&c.benchOutput, &c.StormConfig, &c.Options, bench.RunStorm)
}
func (c *benchMixed) Run() error {
	return runBench(&c.benchOutput, &c.MixedConfig, &c.Options, bench.RunMixed)
}
func (c *benchHostile) Run() error {
	return runBench(&c.benchOutput, &c.HostileConfig, &c.Options, bench.RunHostile)
}
func (c *benchSlow) Run() error {
	return runBench(&c.benchOutput, &c.SlowConfig, &c.Options, bench.RunSlow)
}
func (c *benchGrow) Run() error {
	return runBench(&c.benchOutput, &c.GrowConfig, &c.Options, bench.RunGrow)
}

// Run serves a scenario until standard input ends.
func (*benchGenerator) Run() error { return bench.RunGenerator() }

// runBench runs a scenario for a person at a terminal; an interrupt ends it.
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
	benchreport.WriteResult(os.Stdout, r)
	if err := out.write(r); err != nil {
		return err
	}
	if !r.Held {
		return errNotHeld
	}
	return nil
}

// check refuses, before anything is measured, a plot that could not be drawn.
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
