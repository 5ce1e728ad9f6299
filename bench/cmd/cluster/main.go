//go:build linux

// Command cluster measures what a publication and a delivery cost with one to three nodes,
// with and without Redis, and the same of Centrifugo with the same Redis. scripts/cluster.sh
// performance builds what it needs and runs it.
//
//	main.go    the plan, and the results
//	node.go    the processes that are measured
//	load.go    subscribers and publishers
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
)

// options are the command line.
type options struct {
	bin, out, host string
	clients        int
	rate           int
	rounds         int
	period         time.Duration
}

// A contender is one cluster to measure.
type contender struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"`
	redis bool
	peer  bool
}

var contenders = []contender{
	{Name: "Roost, memory", Nodes: 1},
	{Name: "Roost, Redis", Nodes: 1, redis: true},
	{Name: "Roost, Redis", Nodes: 2, redis: true},
	{Name: "Roost, Redis", Nodes: 3, redis: true},
	{Name: "Centrifugo, memory", Nodes: 1, peer: true},
	{Name: "Centrifugo, Redis", Nodes: 1, redis: true, peer: true},
	{Name: "Centrifugo, Redis", Nodes: 3, redis: true, peer: true},
}

// A measurement is what one turn of a contender shows. CPU is in microseconds, of all its
// nodes together, and of Redis.
type measurement struct {
	Single       float64 `json:"single_per_second"`
	SingleCPU    float64 `json:"single_cpu_us"`
	SingleRedis  float64 `json:"single_redis_cpu_us"`
	Batch        float64 `json:"batch_per_second"`
	BatchCPU     float64 `json:"batch_cpu_us"`
	BatchRedis   float64 `json:"batch_redis_cpu_us"`
	DeliveryCPU  float64 `json:"delivery_cpu_us"`
	Deliveries   float64 `json:"deliveries_per_second"`
	LatencyP50ms float64 `json:"latency_p50_ms"`
	LatencyP99ms float64 `json:"latency_p99_ms"`
	Missing      float64 `json:"missing"`
}

// A row is a contender with the medians of its turns.
type row struct {
	contender
	Median measurement   `json:"median"`
	Turns  []measurement `json:"turns"`
}

// results are the file.
type results struct {
	Name        string            `json:"name"`
	Started     time.Time         `json:"started"`
	Environment bench.Environment `json:"environment"`
	Clients     int               `json:"clients"`
	Rate        int               `json:"rate"`
	Rounds      int               `json:"rounds"`
	Period      string            `json:"period"`
	Rows        []*row            `json:"rows"`
	Verdicts    []string          `json:"verdicts"`
	Failed      []string          `json:"failed,omitempty"`
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "", "`folder` with roost and, to compare, centrifugo")
	flag.StringVar(&o.out, "out", "bench/results", "`folder` of the result files; empty writes none")
	flag.StringVar(&o.host, "host", "", "name of this machine for the results (default: its host name)")
	flag.IntVar(&o.clients, "clients", 3000, "subscribers of the three channels whose deliveries are measured")
	flag.IntVar(&o.rate, "rate", 30, "publications a second to them")
	flag.IntVar(&o.rounds, "rounds", 2, "how often each contender has its turn")
	flag.DurationVar(&o.period, "period", 4*time.Second, "length of each part")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.rounds < 1 || o.clients < 3 || o.rate < 1 || o.period <= 0 {
		return errors.New("-rounds, -clients, -rate and -period are too small")
	}
	r := &results{
		Name: "cluster", Started: time.Now().UTC().Truncate(time.Second), Environment: bench.ReadEnvironment(),
		Clients: o.clients, Rate: o.rate, Rounds: o.rounds, Period: o.period.String(),
	}
	r.Environment.Command = []string{"scripts/cluster.sh", "performance"}
	flag.Visit(func(f *flag.Flag) {
		if f.Name != "bin" { // the script's temporary folder
			r.Environment.Command = append(r.Environment.Command, "--"+f.Name, f.Value.String())
		}
	})
	if o.host != "" {
		r.Environment.Host = o.host
	}
	for _, c := range contenders {
		if _, err := os.Stat(filepath.Join(o.bin, "centrifugo")); c.peer && err != nil {
			continue
		}
		r.Rows = append(r.Rows, &row{contender: c})
	}
	for round := range o.rounds {
		rows := slices.Clone(r.Rows)
		if round%2 == 1 {
			slices.Reverse(rows)
		}
		for _, w := range rows {
			m, err := o.turn(w.contender)
			if err != nil {
				r.Failed = append(r.Failed, fmt.Sprintf("%s, %d nodes: %v", w.Name, w.Nodes, err))
				fmt.Println("failed:", r.Failed[len(r.Failed)-1])
				continue
			}
			w.Turns = append(w.Turns, *m)
			fmt.Printf("round %d  %-20s %d nodes: %6.0f/s one by one (%.0f us, Redis %.0f us), %7.0f/s in batches (%.1f us, Redis %.1f us), %.2f us a delivery, p99 %.1f ms, %.0f missing\n", round+1, w.Name, w.Nodes,
				m.Single, m.SingleCPU, m.SingleRedis, m.Batch, m.BatchCPU, m.BatchRedis, m.DeliveryCPU, m.LatencyP99ms, m.Missing)
		}
	}
	for _, w := range r.Rows {
		w.Median = median(w.Turns)
	}
	r.judge()
	text := r.markdown()
	fmt.Println("\n" + text)
	if o.out != "" {
		if err := r.write(o.out, text); err != nil {
			return err
		}
	}
	if len(r.Failed) > 0 {
		return errors.New("not all was measured")
	}
	return nil
}

// median returns the medians, column by column.
func median(turns []measurement) (m measurement) {
	if len(turns) == 0 {
		return m
	}
	of := func(field func(*measurement) *float64) {
		var values []float64
		for i := range turns {
			values = append(values, *field(&turns[i]))
		}
		slices.Sort(values)
		*field(&m) = (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	for _, field := range []func(*measurement) *float64{
		func(m *measurement) *float64 { return &m.Single }, func(m *measurement) *float64 { return &m.SingleCPU }, func(m *measurement) *float64 { return &m.SingleRedis },
		func(m *measurement) *float64 { return &m.Batch }, func(m *measurement) *float64 { return &m.BatchCPU }, func(m *measurement) *float64 { return &m.BatchRedis },
		func(m *measurement) *float64 { return &m.DeliveryCPU }, func(m *measurement) *float64 { return &m.Deliveries },
		func(m *measurement) *float64 { return &m.LatencyP50ms }, func(m *measurement) *float64 { return &m.LatencyP99ms }, func(m *measurement) *float64 { return &m.Missing },
	} {
		of(field)
	}
	return m
}

// find returns the medians of a contender; zero if it was not measured.
func (r *results) find(name string, nodes int) measurement {
	for _, w := range r.Rows {
		if w.Name == name && w.Nodes == nodes {
			return w.Median
		}
	}
	return measurement{}
}

// judge compares.
func (r *results) judge() {
	compare := func(what string, got, with, most float64) {
		if with == 0 || got == 0 {
			return
		}
		word := "held"
		if got/with > most {
			word = "NOT HELD"
		}
		r.Verdicts = append(r.Verdicts, fmt.Sprintf("%s: %.2fx (at most %.2fx): %s", what, got/with, most, word))
	}
	one, three := r.find("Roost, Redis", 1), r.find("Roost, Redis", 3)
	compare("CPU of a delivery, three nodes beside one", three.DeliveryCPU, one.DeliveryCPU, 1.1)
	if one, three := r.find("Centrifugo, Redis", 1).DeliveryCPU, r.find("Centrifugo, Redis", 3).DeliveryCPU; one > 0 && three > 0 {
		r.Verdicts = append(r.Verdicts, fmt.Sprintf("the same in Centrifugo: %.2fx", three/one))
	}
	for _, w := range r.Rows {
		if !w.peer {
			continue
		}
		name := strings.Replace(w.Name, "Centrifugo", "Roost", 1)
		ours, theirs := r.find(name, w.Nodes), w.Median
		beside := fmt.Sprintf("%s, nodes: %d, beside Centrifugo", name, w.Nodes)
		compare(beside+", CPU of a publication", ours.SingleCPU+ours.SingleRedis, theirs.SingleCPU+theirs.SingleRedis, 1)
		compare(beside+", CPU of a publication in a batch", ours.BatchCPU+ours.BatchRedis, theirs.BatchCPU+theirs.BatchRedis, 1)
		compare(beside+", CPU of a delivery", ours.DeliveryCPU, theirs.DeliveryCPU, 1)
		compare(beside+", time of a publication", theirs.Single, ours.Single, 1)
		compare(beside+", time of a publication in a batch", theirs.Batch, ours.Batch, 1)
	}
}

// markdown is the results for people.
func (r *results) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Clusters measured\n\n%s on %s (%s, %d CPUs, %s), commit %s, `%s`.\n\n", r.Started.Format(time.DateOnly), r.Environment.Host, r.Environment.CPU, r.Environment.CPUs, r.Environment.OS, r.Environment.Commit, strings.Join(r.Environment.Command, " "))
	fmt.Fprintf(&s, "Medians of the rounds: %d. Publications go through the HTTP API of all nodes in turn, one in a request (32 at a time) or %d (8 requests at a time), to %d channels with history and one subscriber each. "+
		"Deliveries: %d subscribers of three channels, spread over the nodes, and %d publications a second. CPU is that of all nodes together, and of Redis; the load runs on the same machine, so that rates show both.\n\n", r.Rounds, batchSize, quietChannels, r.Clients, r.Rate)
	s.WriteString("| | nodes | publications/s | CPU each | Redis each | in batches/s | CPU each | Redis each | CPU a delivery | deliveries/s | p50 | p99 | missing |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, w := range r.Rows {
		m := w.Median
		fmt.Fprintf(&s, "| %s | %d | %.0f | %.0f us | %.0f us | %.0f | %.1f us | %.1f us | %.2f us | %.0f | %.1f ms | %.1f ms | %.0f |\n", w.Name, w.Nodes,
			m.Single, m.SingleCPU, m.SingleRedis, m.Batch, m.BatchCPU, m.BatchRedis, m.DeliveryCPU, m.Deliveries, m.LatencyP50ms, m.LatencyP99ms, m.Missing)
	}
	s.WriteString("\n")
	for _, v := range r.Verdicts {
		fmt.Fprintf(&s, "- %s\n", v)
	}
	for _, f := range r.Failed {
		fmt.Fprintf(&s, "- failed: %s\n", f)
	}
	return s.String()
}

// write writes both files.
func (r *results) write(folder, text string) error {
	base := filepath.Join(folder, fmt.Sprintf("%s-cluster-%s", r.Started.Format(time.DateOnly), r.Environment.Host))
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".json", append(content, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Println("results:", base+".{md,json}")
	return os.WriteFile(base+".md", []byte(text), 0o644)
}
