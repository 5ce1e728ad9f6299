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
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/roostws/roost/bench"
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
	out         string
	command     string
	certificate certificate
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "generator" {
		if err := bench.RunGenerator(); err != nil {
			fmt.Fprintln(os.Stderr, "generator:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.roost, "roost", "", "the roost binary")
	flag.StringVar(&o.limit, "limit", "", "the binary of bench/limit")
	flag.StringVar(&o.gorilla, "gorilla", "", "the binary of bench/peers/gorilla, to measure beside wss://")
	flag.IntVar(&o.connections, "connections", 10_000, "connections to hold")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; medians are shown")
	flag.StringVar(&o.engines, "engines", "epoll,gnet,easygo", "roost's engines, the first is the one that the budgets are meant for")
	flag.StringVar(&o.loops, "loops", "1,2", "numbers of event loops to try")
	flag.BoolVar(&o.quick, "quick", false, "2,000 connections, one round, short periods: does it work at all?")
	flag.StringVar(&o.out, "out", "bench/results", "directory for the result files")
	flag.StringVar(&o.command, "command", strings.Join(os.Args, " "), "the command to write into the result")
	flag.Parse()
	if o.roost == "" || o.limit == "" || flag.NArg() > 0 || o.rounds < 1 || o.connections < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	held, err := run(ctx, o)
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "c10k: interrupted")
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "c10k:", err)
		os.Exit(2)
	case !held:
		os.Exit(1)
	}
}

// run does everything and tells whether it held.
func run(ctx context.Context, o options) (bool, error) {
	if o.quick {
		o.connections, o.rounds, o.loops = 2000, 1, "1"
	}
	targets, err := makeTargets(o)
	if err != nil {
		return false, err
	}
	cap := lookAround()
	asked := o.connections
	o.connections = cap.fit(asked)
	for _, line := range cap.found(asked, o.connections) {
		fmt.Fprintln(os.Stderr, line)
	}
	c := &bench.Comparison{
		Schema:  bench.SchemaVersion,
		Title:   "Roost with " + bench.FormatValue(float64(o.connections), "") + " connections",
		Started: time.Now().UTC().Truncate(time.Second),
		Command: o.command, Connections: o.connections, Rounds: o.rounds,
		Found: cap.found(asked, o.connections), Environment: bench.ReadEnvironment(),
	}
	c.Environment.Command = strings.Fields(o.command)
	for _, t := range targets {
		c.Servers = append(c.Servers, t.server)
	}
	dir, err := os.MkdirTemp("", "c10k-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if o.certificate, err = newCertificate(dir); err != nil {
		return false, fmt.Errorf("certificate: %w", err)
	}
	targets = addSections(o, targets, o.certificate, c)
	if err := measure(ctx, o, cap, targets, c); err != nil {
		return false, err
	}
	return c.Held(), report(c, o.out)
}
