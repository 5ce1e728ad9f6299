//go:build linux

// Command c10k measures Roost's engines beside the bare server of bench/limit,
// in several rounds, and writes a result file, a page and a picture.
// scripts/c10k.sh builds what it needs and calls it.
//
//	c10k -roost PATH -limit PATH [-connections N] [-gorilla PATH] [-rounds N] [-quick] [-out DIR]
//
// It ends with status 0 when everything that was verified held, with 1 when
// not, and with 2 when it could not run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

// options are the command line.
type options struct {
	roost, limit string
	// gorilla is a peer for wss://, empty for none.
	gorilla     string
	connections int
	rounds      int
	engines     string
	loops       string
	quick       bool
	hugePages   bool
	hostiles    bool
	streams     bool
	out         string
	command     string
	// dir holds what servers and clients read: certificate, key, secret.
	dir string
}

func main() { rounds.Main("c10k", run) }

func parseFlags() options {
	var o options
	flag.StringVar(&o.roost, "roost", "", "the roost binary")
	flag.StringVar(&o.limit, "limit", "", "the binary of bench/limit")
	flag.StringVar(&o.gorilla, "gorilla", "", "the binary of bench/peers/gorilla, to measure beside wss://")
	flag.IntVar(&o.connections, "connections", 10_000, "connections to hold")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; medians are shown")
	flag.StringVar(&o.engines, "engines", "epoll,gnet,easygo", "roost's engines; the budgets are meant for the first")
	flag.StringVar(&o.loops, "loops", "1,2", "numbers of event loops to try")
	flag.BoolVar(&o.quick, "quick", false, "2,000 connections, one round, short periods: does it work at all?")
	flag.BoolVar(&o.hugePages, "huge-pages", false, "measure memory with transparent huge pages always on, too (root; the setting is given back)")
	flag.BoolVar(&o.hostiles, "hostile", false, "measure what clients notice of a hostile one, and nothing else")
	flag.BoolVar(&o.streams, "streams", false, "measure event streams beside WebSockets, and nothing else")
	flag.StringVar(&o.out, "out", "bench/results", "directory for the result files")
	flag.StringVar(&o.command, "command", strings.Join(os.Args, " "), "the command to write into the result")
	flag.Parse()
	if o.roost == "" || o.limit == "" || flag.NArg() > 0 || o.rounds < 1 || o.connections < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if o.quick {
		o.connections, o.rounds, o.loops = 2000, 1, "1"
	}
	return o
}

// run measures everything and reports whether it held.
func run(ctx context.Context) (bool, error) {
	o := parseFlags()
	room := lookAround()
	asked := o.connections
	o.connections = room.fit(asked)
	found := room.found(asked, o.connections)
	for _, line := range found {
		fmt.Fprintln(os.Stderr, line)
	}
	c := &report.Comparison{
		Schema: bench.SchemaVersion, Name: "c10k",
		Title:   "Roost with " + report.FormatValue(float64(o.connections), "") + " connections",
		Text:    fmt.Sprintf("Medians of %d rounds; ratios are to the bare server with as many loops, taken within each round. us: server CPU, user and kernel.", o.rounds),
		Started: time.Now().UTC().Truncate(time.Second),
		Command: o.command, Connections: o.connections, Rounds: o.rounds,
		Columns: report.Budgets, Found: found, Environment: bench.ReadEnvironment(),
	}
	c.Environment.Command = strings.Fields(o.command)
	var err error
	if o.dir, err = os.MkdirTemp("", "c10k-"); err != nil {
		return false, err
	}
	defer os.RemoveAll(o.dir)
	var groups [][]rounds.Target
	turns := o.rounds
	if o.hostiles {
		groups, turns = o.hostile(c), 1 // each kind has rounds of its own
	} else if o.streams {
		groups = o.onlyStreams(c)
	} else if groups, err = o.groups(c); err != nil {
		return false, err
	}
	plan := rounds.Plan{
		Rounds: turns, Processes: room.processes(o.connections), Log: os.Stderr,
		Options: bench.Options{Connections: o.connections, Settle: o.periods().settle, Progress: os.Stderr},
	}
	if err := plan.Run(ctx, groups, c); err != nil {
		return false, err
	}
	return c.Held(), c.Save(os.Stdout, o.out)
}
