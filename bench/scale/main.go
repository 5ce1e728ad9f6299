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
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
)

// report is the result file.
type report struct {
	Schema  int       `json:"schema"`
	Name    string    `json:"name"`
	Started time.Time `json:"started"`
	Command string    `json:"command"`
	// Environment is that of the machine that ran everything; an emulated
	// machine has its own in its run's result.
	Environment bench.Environment `json:"environment"`
	Runs        []run             `json:"runs"`
}

// run is one growing server.
type run struct {
	// Emulated tells that counts and bytes are true and times are not.
	Emulated bool          `json:"emulated"`
	Result   *bench.Result `json:"result"`
	Cycles   []cycle       `json:"gc"`
}

func main() {
	name := flag.String("name", "c100k", "part of the result's file name")
	emulated := flag.String("emulated", "", "folder of the run in the virtual machine")
	native := flag.String("native", "", "folder of the run outside")
	out := flag.String("out", "bench/results", "folder of the result")
	command := flag.String("command", strings.Join(os.Args, " "), "the command to write into the result")
	redraw := flag.String("redraw", "", "an earlier report, to make its page and plot again")
	flag.Parse()
	r := &report{Schema: bench.SchemaVersion, Name: *name, Command: *command, Environment: bench.ReadEnvironment()}
	switch {
	case flag.NArg() > 0 || (*emulated == "" && *native == "" && *redraw == ""):
		flag.Usage()
		os.Exit(2)
	case *redraw != "":
		if err := r.read(*redraw); err != nil {
			fail(err)
		}
		*out, *emulated, *native = filepath.Dir(*redraw), "", ""
	}
	for _, from := range []struct {
		dir      string
		emulated bool
	}{{*emulated, true}, {*native, false}} {
		if from.dir == "" {
			continue
		}
		one, err := readRun(from.dir, from.emulated)
		if err != nil {
			fail(err)
		}
		r.Runs = append(r.Runs, one)
		if r.Started.IsZero() || one.Result.Started.Before(r.Started) {
			r.Started = one.Result.Started
		}
	}
	if err := r.save(*out); err != nil {
		fail(err)
	}
	if !r.held() {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "scale:", err)
	os.Exit(2)
}

// read replaces the report by a saved one.
func (r *report) read(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	*r = report{}
	if err := json.Unmarshal(raw, r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if r.Schema != bench.SchemaVersion || len(r.Runs) == 0 {
		return fmt.Errorf("%s: no report of schema %d", path, bench.SchemaVersion)
	}
	return nil
}

func readRun(dir string, emulated bool) (run, error) {
	one := run{Emulated: emulated}
	f, err := os.Open(filepath.Join(dir, "grow.json"))
	if err != nil {
		return one, err
	}
	defer f.Close()
	if one.Result, err = bench.ReadResult(f); err != nil {
		return one, err
	}
	if len(one.Result.Steps) == 0 {
		return one, fmt.Errorf("%s: no step was completed: %s", f.Name(), strings.Join(one.Result.Faults, "; "))
	}
	log, err := os.ReadFile(filepath.Join(dir, "server.log"))
	if err != nil {
		return one, err
	}
	one.Cycles = parseTrace(string(log))
	return one, nil
}

func (r *report) held() bool {
	for _, one := range r.Runs {
		if !one.Result.Held {
			return false
		}
	}
	return true
}

// save writes the report in three forms and tells where.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	base := fmt.Sprintf("%s-%s-%s", r.Started.Format(time.DateOnly), r.Name, r.Environment.Host)
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	page := r.markdown(base)
	path := filepath.Join(dir, base)
	if err := os.WriteFile(path+".json", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(path+".md", page, 0o644); err != nil {
		return err
	}
	if err := r.plot(path + ".svg"); err != nil {
		return err
	}
	os.Stdout.Write(page)
	fmt.Printf("\nwrote %s.md, .json and .svg\n", path)
	return nil
}

func (r *report) plot(path string) error {
	var runs []*bench.Result
	about := "Bytes and times were measured natively."
	for _, one := range r.Runs {
		shown := *one.Result
		shown.Label = "native"
		if one.Emulated {
			shown.Label = "emulated machine"
			about = "Bytes are true everywhere. The emulated machine's times are not: they show whether a cost grows, not what it is."
		}
		runs = append(runs, &shown)
	}
	most := runs[0].Steps[len(runs[0].Steps)-1].Connections
	title := fmt.Sprintf("What a connection costs, up to %s in one process", bench.FormatValue(float64(most), ""))
	return bench.PlotGrowth(path, title, about, runs)
}
