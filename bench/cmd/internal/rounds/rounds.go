//go:build linux

// Package rounds lets servers take turns: in each round every server is started
// afresh for each of its jobs, measured, and stopped.
package rounds

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/report"
)

// What a server does with messages.
const (
	Echo  = "echo"  // each message goes back to its sender
	Relay = "relay" // each message goes to every connection
)

// A Target is a server to measure.
type Target struct {
	report.Server
	// Secure means that it speaks TLS.
	Secure bool
	// Args returns the program and its arguments that do a job on addr; with
	// shared, several processes listen there.
	Args func(job, addr string, shared bool) []string
	Jobs []Job
}

// A Job is one life of a server process: the scenarios that it goes through.
type Job struct {
	// Name is Echo or Relay for Args; results carry it.
	Name      string
	Scenarios []Scenario
}

// A Scenario measures a running server. The options name it; the scenario may
// change its copy.
type Scenario func(ctx context.Context, o bench.Options) (*bench.Result, error)

// A Plan says how servers are measured.
type Plan struct {
	Rounds int
	// Processes is the number of processes that share each server's port.
	Processes int
	// Options are those of every scenario, without the server's.
	Options bench.Options
	// Log gets lines for people to read.
	Log io.Writer
}

// Run gives every target its turns and adds what they show to c. Targets of a
// group are neighbours, job by job, so that a server and its reference meet
// about the same noise; order and direction change from round to round, so that
// none always follows the same neighbour. A server that fails is noted, and the
// others go on. The error is that of ctx, or that no generator can be started.
func (p *Plan) Run(ctx context.Context, groups [][]Target, c *report.Comparison) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	p.Options.GeneratorCommand = []string{executable, generatorArgument}
	turns := 0
	for _, group := range groups {
		for _, t := range group {
			turns += len(t.Jobs) * p.Rounds
		}
	}
	started, turn := time.Now(), 0
	for round := range p.Rounds {
		for _, next := range order(groups, round) {
			turn++
			elapsed, left := time.Since(started), ""
			if turn > 1 { // the first has nothing to judge by
				left = fmt.Sprintf(", some %v left", (elapsed / time.Duration(turn-1) * time.Duration(turns-turn+1)).Round(10*time.Second))
			}
			fmt.Fprintf(p.Log, "[%d/%d, %v%s] round %d: %s, %s\n", turn, turns, elapsed.Round(time.Second), left, round+1, next.target.Label, next.job.Name)
			results, err := p.measure(ctx, next.target, next.job)
			for _, r := range results {
				r.Round, r.Job, r.Environment = round+1, next.job.Name, bench.Environment{} // the comparison has it
			}
			c.Results = append(c.Results, results...)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				c.Failures = append(c.Failures, fmt.Sprintf("%s, %s: %v", next.target.Label, next.job.Name, err))
				fmt.Fprintln(p.Log, "  failed:", err)
			}
		}
	}
	return nil
}

// A turn is one job of one target.
type turn struct {
	target Target
	job    Job
}

// order returns the turns of a round.
func order(groups [][]Target, round int) []turn {
	var turns []turn
	for g := range groups {
		group := groups[(g+round)%len(groups)]
		jobs := 0
		for _, t := range group {
			jobs = max(jobs, len(t.Jobs))
		}
		for j := range jobs {
			for k := range group {
				at := (k + round/2) % len(group)
				if round%2 == 1 {
					at = len(group) - 1 - at
				}
				if t := group[at]; j < len(t.Jobs) {
					turns = append(turns, turn{t, t.Jobs[j]})
				}
			}
		}
	}
	return turns
}

// measure starts a fresh server, runs the job's scenarios, and stops it.
func (p *Plan) measure(ctx context.Context, t Target, job Job) (results []*bench.Result, err error) {
	s, err := start(ctx, t, job.Name, max(p.Processes, 1))
	if err != nil {
		return nil, err
	}
	defer func() {
		dropped, stopErr := s.stop()
		if dropped > 0 && len(results) > 0 {
			last := results[len(results)-1]
			last.Notes = append(last.Notes, fmt.Sprintf("the bare server dropped %d deliveries: sockets were full", dropped))
		}
		if err == nil {
			err = stopErr
		}
	}()
	o := p.Options
	o.URL, o.PIDs, o.Label = s.url, s.pids(), t.Label
	for _, scenario := range job.Scenarios {
		r, err := scenario(ctx, o)
		if r != nil {
			results = append(results, r)
		}
		if err == nil {
			err = s.died()
		}
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// generatorArgument makes a program one of its own load generators.
const generatorArgument = "generator"

// Main runs a program: as a generator where it is called as one, else by run,
// which reports whether all held. It ends with status 0 where it did, with 1
// where not, and with 2 where it could not run. run's context ends on SIGINT and
// SIGTERM.
func Main(name string, run func(ctx context.Context) (held bool, err error)) {
	if len(os.Args) == 2 && os.Args[1] == generatorArgument {
		if err := bench.RunGenerator(); err != nil {
			fmt.Fprintln(os.Stderr, "generator:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch held, err := run(ctx); {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "%s: interrupted\n", name)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	case !held:
		os.Exit(1)
	}
}
