//go:build linux

// Command compare measures Roost's engines, the bare server of bench/limit and the
// peers of bench/peers in turn, and prints one table of medians and ratios.
// scripts/compare.sh builds what it needs and runs it.
//
// Noise comes in waves on a shared machine, so the servers take turns within each
// round, each round in another order, and a ratio is taken within its round, before the
// median over the rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/roostws/roost/bench"
)

// binVariable names the folder of the built servers. It is no flag because the
// command line goes into the results, and the folder is a temporary one.
const binVariable = "ROOST_COMPARE_BIN"

// generatorArgument makes this program one of its own load generators.
const generatorArgument = "generator"

func main() {
	if len(os.Args) == 2 && os.Args[1] == generatorArgument {
		if err := bench.RunGenerator(); err != nil {
			fmt.Fprintln(os.Stderr, "generator:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	held, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	if !held {
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	plan plan
	only string
	out  string
	host string
	list bool
}

func parseFlags() options {
	var o options
	flag.IntVar(&o.plan.Connections, "connections", 10_000, "connections to each server")
	flag.IntVar(&o.plan.Rounds, "rounds", 3, "how often each server has its turn")
	flag.DurationVar(&o.plan.Period, "period", 4*time.Second, "length of each part that goes by time")
	flag.StringVar(&o.only, "only", "", "`names`, with commas between, of the servers to run beside the limit")
	flag.StringVar(&o.out, "out", "bench/results", "`folder` of the result files; empty writes none")
	flag.StringVar(&o.host, "host", "", "name of this machine for the results (default: its host name)")
	flag.BoolVar(&o.list, "list", false, "list the servers and end")
	flag.Parse()
	return o
}

// run answers whether all servers ran and ours did all that was checked.
func run(ctx context.Context) (held bool, err error) {
	o := parseFlags()
	bin := os.Getenv(binVariable)
	if o.list {
		for _, c := range contenders(bin) {
			fmt.Printf("%-15s %s\n", c.name, c.about)
		}
		return true, nil
	}
	if flag.NArg() > 0 {
		return false, fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if o.plan.Rounds < 1 || o.plan.Connections < 1 || o.plan.Period <= 0 {
		return false, errors.New("-rounds, -connections and -period must be above 0")
	}
	if bin == "" {
		return false, fmt.Errorf("%s is not set: run scripts/compare.sh", binVariable)
	}
	chosen, leftOut, err := choose(contenders(bin), o.only)
	if err != nil {
		return false, err
	}
	environment := bench.ReadEnvironment()
	environment.Command = append([]string{"scripts/compare.sh"}, os.Args[1:]...)
	if o.host != "" {
		environment.Host = o.host
	}
	limits := append(leftOut, o.plan.fit(environment)...)
	for _, line := range limits {
		fmt.Println("limited: " + line)
	}
	fmt.Printf("%d servers, %s, %d connections: about %v\n",
		len(chosen), o.plan.rounds(), o.plan.Connections, o.plan.estimate(len(chosen)).Round(time.Minute))

	report := &report{Schema: 1, Date: time.Now().UTC().Truncate(time.Second), Environment: environment, Plan: o.plan, Limits: limits}
	for _, c := range chosen {
		report.Servers = append(report.Servers, serverInfo{Name: c.name, About: c.about, Kind: c.kind})
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	report.Turns, err = o.plan.run(ctx, chosen, []string{self, generatorArgument})
	if err != nil {
		return false, err
	}
	report.summarize()
	report.writeTable(os.Stdout)
	if o.out != "" {
		if err := report.save(filepath.Join(o.out, fileName(report.Date, environment.Host))); err != nil {
			return false, err
		}
	}
	return report.held(), nil
}

var notInFileName = regexp.MustCompile(`[^a-z0-9.]+`)

// fileName is the name of the result files without its ending.
func fileName(date time.Time, host string) string {
	host = strings.Trim(notInFileName.ReplaceAllString(strings.ToLower(host), "-"), "-.")
	if host == "" {
		host = "unknown"
	}
	return date.Format(time.DateOnly) + "-compare-" + host
}
