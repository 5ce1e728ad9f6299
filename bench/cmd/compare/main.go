//go:build linux

// Command compare measures Roost's engines, the bare server of bench/limit and the
// peers of bench/peers in turn, and prints one table of medians and ratios.
// scripts/compare.sh builds what it needs and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

// binVariable names the folder of the built servers. It is no flag because the
// command line goes into the results, and the folder is a temporary one.
const binVariable = "ROOST_COMPARE_BIN"

// options are the command line.
type options struct {
	connections, rounds int
	period              time.Duration
	only, out, host     string
	list, socketio      bool
}

func main() { rounds.Main("compare", run) }

func parseFlags() options {
	var o options
	flag.IntVar(&o.connections, "connections", 10_000, "connections to each server")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each server has its turn")
	flag.DurationVar(&o.period, "period", 4*time.Second, "length of each part that goes by time")
	flag.StringVar(&o.only, "only", "", "`names`, with commas between, of the servers to run beside the limit")
	flag.StringVar(&o.out, "out", "bench/results", "`folder` of the result files; empty writes none")
	flag.StringVar(&o.host, "host", "", "name of this machine for the results (default: its host name)")
	flag.BoolVar(&o.list, "list", false, "list the servers and end")
	flag.BoolVar(&o.socketio, "socketio", false, "measure Roost beside Socket.IO on Node, with its clients in a room")
	flag.Parse()
	return o
}

// run reports whether all servers ran and ours did all that was checked.
func run(ctx context.Context) (held bool, err error) {
	o := parseFlags()
	bin := os.Getenv(binVariable)
	all := o.contenders(bin)
	if o.socketio {
		all = o.socketIO(bin)
	}
	if o.list {
		for _, c := range all {
			fmt.Printf("%-15s %s\n", c.Label, c.About)
		}
		return true, nil
	}
	if flag.NArg() > 0 {
		return false, fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if o.rounds < 1 || o.connections < 1 || o.period <= 0 {
		return false, errors.New("-rounds, -connections and -period must be above 0")
	}
	if bin == "" {
		return false, fmt.Errorf("%s is not set: run scripts/compare.sh", binVariable)
	}
	chosen, found, err := choose(all, o.only)
	if err != nil {
		return false, err
	}
	c := &report.Comparison{
		Schema: bench.SchemaVersion, Name: "compare", Title: "Servers compared",
		Text: fmt.Sprintf("Messages of 128 B, medians of the rounds: %d. Ratios are to `limit`, a bare server that does the minimum of the same jobs, and were taken within each round: 1.00x is the least that a program can spend.",
			o.rounds),
		Started: time.Now().UTC().Truncate(time.Second), Rounds: o.rounds,
		Command: strings.Join(append([]string{"scripts/compare.sh"}, os.Args[1:]...), " "),
		Columns: columns, Environment: bench.ReadEnvironment(),
	}
	if o.socketio {
		c.Name, c.Title, c.Columns, c.Text = "compare-socketio", "Socket.IO compared", socketIOColumns, fmt.Sprintf(socketIOText, o.rounds)
	}
	if o.host != "" {
		c.Environment.Host = o.host
	}
	c.Found = append(found, o.fit(c.Environment)...)
	c.Connections = o.connections
	for _, line := range c.Found {
		fmt.Println("limited: " + line)
	}
	var targets []rounds.Target
	for _, contender := range chosen {
		targets = append(targets, contender.Target)
		c.Servers = append(c.Servers, contender.Server)
	}
	fmt.Printf("%d servers, %d connections, rounds: %d: about %v\n",
		len(chosen), o.connections, o.rounds, o.estimate(len(chosen)).Round(time.Minute))
	plan := rounds.Plan{Rounds: o.rounds, Log: os.Stdout, Options: bench.Options{Connections: o.connections, Progress: os.Stderr}}
	if err := plan.Run(ctx, [][]rounds.Target{targets}, c); err != nil {
		return false, err
	}
	return c.Held(), c.Save(os.Stdout, o.out)
}

// serverReserve are the descriptors of a server that are no connections.
const serverReserve = 200

// fit lowers what this machine cannot do, and returns what limits it.
func (o *options) fit(e bench.Environment) (limits []string) {
	if fits := e.Descriptors - serverReserve; o.connections > fits {
		limits = append(limits, fmt.Sprintf(
			"a process may have %d descriptors here (hard limit of ulimit -n): %d connections instead of %d",
			e.Descriptors, fits, o.connections))
		o.connections = fits
	}
	if e.CPUs < 4 {
		limits = append(limits, fmt.Sprintf(
			"server and generator share %d cores: latencies and rates show both, CPU per operation the server alone", e.CPUs))
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"} {
		if value, ok := os.LookupEnv(name); ok {
			limits = append(limits, fmt.Sprintf("%s=%s is set, for all servers written in Go", name, value))
		}
	}
	return limits
}

// estimate returns how long all of it takes, from 5,000 connections opened a
// second and what a scenario waits besides.
func (o *options) estimate(servers int) time.Duration {
	turn := 25*time.Second + 5*o.period + 3*time.Duration(o.connections)*time.Second/5000
	return turn * time.Duration(servers*o.rounds)
}
