//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
)

// periods are how long each part takes.
type periods struct {
	idle, echo, broadcast, settle time.Duration
	// pinged is several intervals of pingedTarget.
	pinged    time.Duration
	singles   int
	echoConns int
	// tlsConns are fewer: a client's part of TLS is the generator's to pay.
	tlsConns, deflateConns int
	// tlsSettle is longer: handshakes leave garbage, and a server may clean up
	// when it has some quiet.
	tlsSettle time.Duration
}

func (o options) periods() periods {
	if o.quick {
		return periods{pinged: 2 * time.Second, idle: time.Second, echo: time.Second, broadcast: time.Second, settle: 200 * time.Millisecond, singles: 10, echoConns: 500, tlsConns: 300, tlsSettle: 200 * time.Millisecond}
	}
	return periods{pinged: 15 * time.Second, idle: 3 * time.Second, echo: 3 * time.Second, broadcast: 3 * time.Second, settle: time.Second, singles: 20, echoConns: 1000, tlsConns: 2000, deflateConns: 2000, tlsSettle: 6 * time.Second}
}

// measure runs all rounds. The order of the servers turns from round to round,
// so that none always follows the same neighbour. A server that fails is noted
// and the others go on.
func measure(ctx context.Context, o options, cap capacity, targets []target, c *bench.Comparison) error {
	started := time.Now()
	for round := range o.rounds {
		for k := range targets {
			t := targets[(k+round)%len(targets)]
			done := round*len(targets) + k
			fmt.Fprintf(os.Stderr, "[%d/%d, %v] round %d: %s\n", done+1, o.rounds*len(targets), time.Since(started).Round(time.Second), round+1, t.server.Label)
			for _, j := range t.jobs {
				results, err := measureJob(ctx, o, cap, t, j)
				for _, r := range results {
					r.Round, r.Environment = round+1, bench.Environment{} // the comparison has it
				}
				c.Results = append(c.Results, results...)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					c.Failures = append(c.Failures, fmt.Sprintf("%s, %s: %v", t.server.Label, j, err))
					fmt.Fprintln(os.Stderr, "  failed:", err)
				}
			}
		}
	}
	return nil
}

// measureJob starts a fresh server, runs the job's scenarios, and stops it.
func measureJob(ctx context.Context, o options, cap capacity, t target, j job) (results []*bench.Result, err error) {
	p := o.periods()
	if t.section == overTLS {
		o.connections = min(o.connections, p.tlsConns)
	}
	s, err := t.start(ctx, j, cap.processes(o.connections))
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
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	opt := bench.Options{
		URL: s.url, PIDs: s.pids(), Connections: o.connections, Label: t.server.Label, Settle: p.settle,
		Progress: os.Stderr, GeneratorCommand: []string{exe, "generator"},
		Compression: t.section == compressed,
	}
	if t.section == overTLS {
		opt.CAFile, opt.Settle = o.certificate.cert, p.tlsSettle
	}
	add := func(r *bench.Result, err error) error {
		if r != nil {
			results = append(results, r)
		}
		if err == nil {
			err = s.died()
		}
		return err
	}
	if j == broadcast {
		if t.section == compressed {
			opt.Connections = min(o.connections, p.deflateConns)
		}
		err = add(bench.RunBroadcast(ctx, bench.BroadcastConfig{Options: opt, Singles: p.singles, Period: p.broadcast}))
		return results, err
	}
	switch j {
	case pinged:
		err = add(bench.RunIdle(ctx, bench.IdleConfig{Options: opt, Period: p.pinged}))
		return results, err
	case stalled:
		opt.Connections, opt.PayloadBytes = min(o.connections, stalledConns), stalledBytes
		err = add(bench.RunSlow(ctx, bench.SlowConfig{StalledPercent: 99,
			BroadcastConfig: bench.BroadcastConfig{Options: opt, Rate: stalledRate, Period: stalledPeriod}}))
		return results, err
	}
	if err = add(bench.RunIdle(ctx, bench.IdleConfig{Options: opt, Period: p.idle})); err != nil {
		return results, err
	}
	if j == idle {
		return results, nil
	}
	opt.Connections = min(o.connections, p.echoConns)
	err = add(bench.RunEcho(ctx, bench.EchoConfig{Options: opt, Period: p.echo}))
	return results, err
}

// report writes the files and prints table, picture's path and verdict.
func report(c *bench.Comparison, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	host := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, c.Environment.Host)
	base := filepath.Join(dir, c.Started.Format("2006-01-02")+"-c10k-"+host)
	write := func(ext string, fn func(f *os.File) error) error {
		f, err := os.Create(base + ext)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := fn(f); err != nil {
			return err
		}
		return f.Close()
	}
	if err := write(".json", func(f *os.File) error { return c.Write(f) }); err != nil {
		return err
	}
	if err := write(".md", func(f *os.File) error { c.WriteMarkdown(f, filepath.Base(base)+".png"); return nil }); err != nil {
		return err
	}
	if err := c.Plot(base + ".png"); err != nil {
		return err
	}
	fmt.Println()
	c.WriteTable(os.Stdout)
	fmt.Println()
	for _, w := range c.Warnings() {
		fmt.Println("warning:", w)
	}
	for _, f := range c.Faults() {
		fmt.Println("FAULT:", f)
	}
	fmt.Printf("plot: %s.png\nraw:  %s.json\n\n%s\n", base, base, c.Verdict())
	return nil
}
