// Command scale makes a result page of runs of the scenario grow: what a
// connection costs against how many there are, and what the garbage collector
// did meanwhile. scripts/c100k.sh runs the scenario and calls it.
//
//	scale -name c100k [-emulated DIR] [-native DIR] [-out DIR] [-command TEXT]
//	scale -redraw FILE.json
//
// A folder has the scenario's result, grow.json, and what the server wrote
// under GODEBUG=gctrace=1, server.log. With -redraw, page and plot are made again
// from an earlier report. It ends with status 0 when all runs held,
// with 1 when not, and with 2 when it could not run.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/report"
)

func main() {
	name := flag.String("name", "c100k", "part of the result's file name")
	emulated := flag.String("emulated", "", "folder of the run in the virtual machine")
	native := flag.String("native", "", "folder of the run outside")
	out := flag.String("out", "bench/results", "folder of the result")
	command := flag.String("command", strings.Join(os.Args, " "), "the command to write into the result")
	redraw := flag.String("redraw", "", "an earlier report, to make its page and plot again")
	flag.Parse()
	if flag.NArg() > 0 || (*emulated == "" && *native == "" && *redraw == "") {
		flag.Usage()
		os.Exit(2)
	}
	var c *report.Comparison
	var err error
	if *redraw != "" {
		*out = filepath.Dir(*redraw)
		c, err = read(*redraw)
	} else {
		c, err = collect(*name, *command, *emulated, *native)
	}
	if err == nil {
		err = c.Save(os.Stdout, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(2)
	}
	if !c.Held() {
		os.Exit(1)
	}
}

// read reads an earlier report.
func read(path string) (*report.Comparison, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := report.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// collect makes a report of the runs in two folders, either of which may be
// missing.
func collect(name, command, emulated, native string) (*report.Comparison, error) {
	c := &report.Comparison{Schema: bench.SchemaVersion, Name: name, Command: command, Environment: bench.ReadEnvironment()}
	for _, from := range []struct {
		dir      string
		emulated bool
	}{{emulated, true}, {native, false}} {
		if from.dir == "" {
			continue
		}
		run, err := readRun(from.dir, from.emulated)
		if err != nil {
			return nil, err
		}
		c.Runs = append(c.Runs, run)
		if c.Started.IsZero() || run.Result.Started.Before(c.Started) {
			c.Started = run.Result.Started
		}
	}
	return c, nil
}

func readRun(dir string, emulated bool) (report.Run, error) {
	run := report.Run{Emulated: emulated}
	f, err := os.Open(filepath.Join(dir, "grow.json"))
	if err != nil {
		return run, err
	}
	defer f.Close()
	if run.Result, err = bench.ReadResult(f); err != nil {
		return run, err
	}
	if len(run.Result.Steps) == 0 {
		return run, fmt.Errorf("%s: no step was completed: %s", f.Name(), strings.Join(run.Result.Faults, "; "))
	}
	log, err := os.ReadFile(filepath.Join(dir, "server.log"))
	if err != nil {
		return run, err
	}
	run.Cycles = parseTrace(string(log))
	return run, nil
}
