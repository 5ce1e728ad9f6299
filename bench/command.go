package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Command is the command line of the benchmark, with the tags of
// github.com/alecthomas/kong: a program embeds it as a command named bench.
//
//	Bench bench.Command `cmd:"" help:"Measure a WebSocket server."`
//
// Each command's Run prints the table to standard output, progress to standard
// error, and answers ErrNotHeld where something that was verified was wrong.
type Command struct {
	Idle      IdleCommand      `cmd:"" help:"Open connections and leave them alone: memory and CPU for each, CPU while idle."`
	Echo      EchoCommand      `cmd:"" help:"Send messages to a server that sends them back: latency at a rate, CPU per message."`
	Broadcast BroadcastCommand `cmd:"" help:"Publish to all: one at a time, at a rate, without pause. CPU per delivery, time to the last receiver."`
	Storm     StormCommand     `cmd:"" help:"Everybody comes at once, is cut off at once, and comes back at once."`
	Mixed     MixedCommand     `cmd:"" help:"90 % idle, 9 % trickling, 1 % busy, against an echo server."`
	Hostile   HostileCommand   `cmd:"" help:"Echo beside one hostile client of each kind: what do the others notice?"`
	Slow      SlowCommand      `cmd:"" help:"Publish while 5 % of the receivers do not read."`
	Grow      GrowCommand      `cmd:"" help:"Open more and more connections: memory for each, and a broadcast to all, at each step."`
	Generator GeneratorCommand `cmd:"" hidden:"" help:"Hold connections for a scenario (started by the scenarios)."`
}

// ErrNotHeld tells that a result has faults.
var ErrNotHeld = errors.New("not held: see the faults above")

// Output says where results go besides the table.
type Output struct {
	JSON string `name:"json" placeholder:"FILE" help:"Write the result as JSON."`
	Plot string `placeholder:"FILE" help:"Draw the result: a .png or .svg file."`
}

// IdleCommand and its siblings are the scenarios as commands.
type (
	// IdleCommand runs RunIdle.
	IdleCommand struct {
		IdleConfig
		Output
	}
	// EchoCommand runs RunEcho.
	EchoCommand struct {
		EchoConfig
		Output
	}
	// BroadcastCommand runs RunBroadcast.
	BroadcastCommand struct {
		BroadcastConfig
		Output
	}
	// StormCommand runs RunStorm.
	StormCommand struct {
		StormConfig
		Output
	}
	// MixedCommand runs RunMixed.
	MixedCommand struct {
		MixedConfig
		Output
	}
	// HostileCommand runs RunHostile.
	HostileCommand struct {
		HostileConfig
		Output
	}
	// SlowCommand runs RunSlow.
	SlowCommand struct {
		SlowConfig
		Output
	}
	// GrowCommand runs RunGrow.
	GrowCommand struct {
		GrowConfig
		Output
	}
	// GeneratorCommand is a scenario's child process.
	GeneratorCommand struct{}
)

// Run runs the scenario.
func (c *IdleCommand) Run() error { return command(&c.Output, &c.IdleConfig, &c.Options, RunIdle) }

// Run runs the scenario.
func (c *EchoCommand) Run() error { return command(&c.Output, &c.EchoConfig, &c.Options, RunEcho) }

// Run runs the scenario.
func (c *BroadcastCommand) Run() error {
	return command(&c.Output, &c.BroadcastConfig, &c.Options, RunBroadcast)
}

// Run runs the scenario.
func (c *StormCommand) Run() error { return command(&c.Output, &c.StormConfig, &c.Options, RunStorm) }

// Run runs the scenario.
func (c *MixedCommand) Run() error { return command(&c.Output, &c.MixedConfig, &c.Options, RunMixed) }

// Run runs the scenario.
func (c *HostileCommand) Run() error {
	return command(&c.Output, &c.HostileConfig, &c.Options, RunHostile)
}

// Run runs the scenario.
func (c *SlowCommand) Run() error { return command(&c.Output, &c.SlowConfig, &c.Options, RunSlow) }

// Run runs the scenario.
func (c *GrowCommand) Run() error { return command(&c.Output, &c.GrowConfig, &c.Options, RunGrow) }

// Run serves a scenario until standard input ends.
func (*GeneratorCommand) Run() error { return RunGenerator() }

// RunGenerator makes this process a generator: it holds connections for the
// scenario that started it, until standard input ends.
func RunGenerator() error { return serveGenerator(os.Stdin, os.Stdout) }

// command runs a scenario for a person at a terminal; an interrupt ends it.
func command[C any](out *Output, cfg *C, opt *Options, run func(context.Context, C) (*Result, error)) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opt.Progress = os.Stderr
	r, err := run(ctx, *cfg)
	if err != nil {
		return err
	}
	r.WriteTable(os.Stdout)
	if err := out.write(r); err != nil {
		return err
	}
	if !r.Held {
		return ErrNotHeld
	}
	return nil
}

func (o *Output) write(r *Result) error {
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
		return r.Plot(o.Plot)
	}
	return nil
}
