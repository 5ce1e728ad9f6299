// Package storm rehearses what happens when very many clients come at once: all of them
// vanish and return, and a server that stops leaves them to another one; with what Roost
// does about it, and without.
//
//	storm.go    the rehearsal, and its result
//	server.go   the servers, processes of their own
//	clients.go  the clients that vanish
//	talk.go     those that stay and talk, in a process of their own
//
// It knows of a server what goes over the wire.
package storm

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/roostws/roost/bench"
)

// Config says what is rehearsed. The zero value of a field is not a default.
type Config struct {
	// Connections vanish and return.
	Connections int
	// Talkers stay, and send messages that come back.
	Talkers int
	// Calm is how long the talkers talk before anything happens.
	Calm time.Duration
	// Over is the server's --drain-over.
	Over time.Duration
	// Command runs roost, with Env beside the environment, and Serve are more flags of
	// its serve.
	Command, Env, Serve []string
	// Progress gets what is going on.
	Progress io.Writer
}

// A mode is one way to go through the storm.
type mode struct {
	name string
	// serve are the server's flags, drain those of one that is to stop.
	serve, drain []string
	// obeys: clients come back when they are told to, and not at once or after a second.
	obeys bool
}

// Run rehearses both ways. An error means that it could not be done; what did not hold
// is in the result.
func Run(ctx context.Context, cfg Config) (*bench.Result, error) {
	started := time.Now()
	r := &bench.Result{
		Schema: bench.SchemaVersion, Scenario: "rehearsal", Label: "roost", Started: started, Connections: cfg.Connections,
		Latencies: map[string]bench.Latency{}, Environment: bench.ReadEnvironment(),
	}
	for _, m := range []mode{
		{"unshaped", []string{"--admit-queue-max", "0"}, nil, false},
		{"shaped", nil, []string{"--drain-over", cfg.Over.String()}, true},
	} {
		run := &rehearsal{cfg: cfg, mode: m, result: r}
		if err := run.storm(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		if err := run.drain(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	r.Seconds = time.Since(started).Seconds()
	r.Held = len(r.Faults) == 0
	return r, nil
}

// rehearsal is one way through it.
type rehearsal struct {
	cfg    Config
	mode   mode
	result *bench.Result
}

func (r *rehearsal) say(format string, args ...any) {
	fmt.Fprintf(r.cfg.Progress, r.mode.name+": "+format+"\n", args...)
}

func (r *rehearsal) add(name string, value float64, unit, text string) {
	r.result.Metrics = append(r.result.Metrics, bench.Metric{Name: r.mode.name + "_" + name, Value: value, Unit: unit, Text: r.mode.name + ": " + text})
}

// fault notes what did not hold. Without shaping nothing is promised.
func (r *rehearsal) fault(format string, args ...any) {
	if r.mode.obeys {
		r.result.Faults = append(r.result.Faults, fmt.Sprintf(format, args...))
	}
}

// latency notes a distribution and returns its 99th percentile.
func (r *rehearsal) latency(name, text string, took []time.Duration) time.Duration {
	l := bench.NewLatency(r.mode.name+": "+text, took)
	r.result.Latencies[r.mode.name+"_"+name] = l
	return time.Duration(l.P99Ns)
}

// storm cuts all clients off, and lets them return at once.
func (r *rehearsal) storm(ctx context.Context) error {
	s, err := startServer(ctx, r.cfg, append([]string{"--echo"}, r.mode.serve...))
	if err != nil {
		return err
	}
	defer s.kill()
	r.say("%d clients come", r.cfg.Connections)
	crowd := newCrowd(r.cfg.Connections, r.mode.obeys)
	defer crowd.cut() // their descriptors are the next one's
	if err := crowd.enter(ctx, s.addr, 256); err != nil {
		return err
	}
	talk, err := startTalk(r.cfg, s.addr)
	if err != nil {
		return err
	}
	defer talk.end()
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	if _, err := talk.take(); err != nil {
		return err
	}
	r.say("calm for %v", r.cfg.Calm)
	if err := sleep(ctx, r.cfg.Calm); err != nil {
		return err
	}
	calm, err := talk.take()
	if err != nil {
		return err
	}
	r.say("all vanish, and return")
	crowd.cut()
	forecast := s.watch(ctx)
	if err := crowd.enter(ctx, s.addr, r.cfg.Connections); err != nil {
		return err
	}
	waited, most := forecast()
	storm, err := talk.take()
	if err != nil {
		return err
	}
	in := slices.Max(crowd.took)
	// What the server has told, or forecast for its queue when that was longest.
	told := max(crowd.told, waited)
	calmP99 := r.latency("echo_calm", "echo before the storm", calm)
	stormP99 := r.latency("echo_storm", "echo of those that stayed, in the storm", storm)
	r.latency("return", "cut off until back", crowd.took)
	twice := 0
	for _, n := range crowd.refused {
		if n > 1 {
			twice++
		}
	}
	ratio := float64(stormP99) / float64(max(calmP99, 1))
	r.add("storm_seconds", in.Seconds(), "s", "storm, until the last is back")
	r.add("storm_forecast", told.Seconds(), "s", "storm, what the server foresaw at the worst moment")
	r.add("storm_waiting", float64(most), "", "storm, the longest queue")
	r.add("storm_refused", float64(crowd.refusals()), "", "storm, attempts refused")
	r.add("storm_refused_twice", float64(twice), "", "storm, clients refused twice")
	r.add("storm_failed", float64(crowd.failed), "", "storm, attempts that failed otherwise")
	r.add("echo_ratio", ratio, "x", "p99 of echo, storm by calm")
	if len(storm) == 0 {
		r.fault("nobody could talk in the storm")
	}
	if ratio > 2 {
		r.fault("the p99 of echo was %.1f times that of calm in the storm, want 2 at most", ratio)
	}
	if twice > 0 {
		r.fault("%d clients were refused twice", twice)
	}
	// A client adds up to a quarter to what it was told.
	switch limit := told*5/4 + time.Second; {
	case told == 0 && r.mode.obeys:
		r.result.Warnings = append(r.result.Warnings, "the server's queue was empty at each look: whether all were in when it was foreseen is not known")
	case in > limit:
		r.fault("the last was in after %v, and %v was foreseen", in.Round(time.Millisecond), told.Round(time.Millisecond))
	}
	return nil
}

// drain stops a server, whose clients go to another one.
func (r *rehearsal) drain(ctx context.Context) error {
	from, err := startServer(ctx, r.cfg, append([]string{"--echo"}, r.mode.drain...))
	if err != nil {
		return err
	}
	defer from.kill()
	to, err := startServer(ctx, r.cfg, append([]string{"--echo"}, r.mode.serve...))
	if err != nil {
		return err
	}
	defer to.kill()
	crowd := newCrowd(r.cfg.Connections, r.mode.obeys)
	defer crowd.cut() // their descriptors are the next one's
	if err := crowd.enter(ctx, from.addr, 256); err != nil {
		return err
	}
	r.say("a server with %d clients stops", r.cfg.Connections)
	begun := time.Now()
	moved := crowd.follow(ctx, to.addr)
	if err := from.stop(); err != nil {
		return err
	}
	if err := moved(); err != nil {
		return err
	}
	var first, last time.Duration = math.MaxInt64, 0
	for i := range crowd.took {
		first, last = min(first, crowd.took[i]), max(last, crowd.took[i])
	}
	off := flatness(crowd.took)
	r.latency("drain", "stop until at the other server", crowd.took)
	r.add("drain_seconds", (last - first).Seconds(), "s", "drain, from the first arrival at the other server to the last")
	r.add("drain_untold", float64(crowd.untold), "", "drain, clients that were told no moment to come back")
	r.add("drain_peak", off.peak, "1/s", "drain, most arrivals in a second")
	r.add("drain_off", off.percent, "%", "drain, largest difference of a second's arrivals from the mean")
	if crowd.untold > 0 {
		r.fault("%d clients were told no moment to come back", crowd.untold)
	}
	if off.percent > 20 {
		r.fault("the arrivals at the other server differ by %.0f %% from the mean, want 20 at most", off.percent)
	}
	code, err := from.wait()
	switch {
	case err != nil:
		return err
	case code != 0:
		r.fault("the server that stopped ended with exit code %d", code)
	}
	r.add("drain_exit", time.Since(begun).Seconds(), "s", "drain, until the process has ended")
	return nil
}

// flat is how even arrivals are.
type flat struct{ peak, percent float64 }

// flatness compares the whole seconds between the first arrival and the last, but for the
// first and the last of them, with their mean.
func flatness(at []time.Duration) flat {
	first := slices.Min(at)
	bins := make([]float64, int((slices.Max(at)-first)/time.Second)+1)
	for _, t := range at {
		bins[(t-first)/time.Second]++
	}
	f := flat{peak: slices.Max(bins)}
	if len(bins) < 4 {
		f.percent = 100
		return f
	}
	inner, sum := bins[1:len(bins)-2], 0.0
	for _, n := range inner {
		sum += n
	}
	mean := sum / float64(len(inner))
	for _, n := range inner {
		f.percent = max(f.percent, 100*math.Abs(n-mean)/mean)
	}
	return f
}

// sleep waits, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
