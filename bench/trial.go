package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// A trial is one run of a scenario: the generators, what they are told, and
// the result as it grows.
type trial struct {
	ctx      context.Context
	opt      *Options
	result   *Result
	fleet    *fleet
	progress *progress
	// forgiven is the number of closed connections that are no fault.
	forgiven int
	trust    trust
	tokens   tokens
	// replies is how many of the native protocol each connection must get.
	replies int
	// offer is set if connections that are opened offer compression.
	offer bool
	// prefix and remark mark the figures of a part that is done more than once.
	prefix, remark string
}

// runTrial prepares what all scenarios need, runs body, and sums up. Running
// out of time is a fault of the result, not an error.
func runTrial(ctx context.Context, scenario string, opt *Options, body func(t *trial) error) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, opt.Timeout)
	defer cancel()
	started := time.Now()
	trusted, err := opt.trust()
	if err != nil {
		return nil, err
	}
	signer, err := opt.tokens()
	if err != nil {
		return nil, err
	}
	if _, err := cpuTime(opt.PIDs); err != nil {
		return nil, err
	}
	f, err := startFleet(opt.GeneratorCommand, opt.Connections, opt.Generators)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	t := &trial{ctx: ctx, opt: opt, fleet: f, trust: trusted, tokens: signer, replies: opt.native(), offer: opt.Compression, progress: newProgress(opt.Progress, scenario+" "+opt.Label)}
	defer t.progress.end()
	t.result = &Result{
		Schema: SchemaVersion, Scenario: scenario, Label: opt.Label, Started: started.UTC().Truncate(time.Second),
		Connections: opt.Connections, PayloadBytes: opt.PayloadBytes, Generators: len(f.members),
		Environment: ReadEnvironment(),
	}
	if len(opt.PIDs) == 0 {
		t.result.warn("no process id given: the server's CPU and memory were not measured")
	}
	err = body(t)
	if err == nil {
		err = t.finish()
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		t.result.fault("did not end within %v", opt.Timeout)
		err = nil
	}
	t.result.Seconds = time.Since(started).Seconds()
	t.result.Held = len(t.result.Faults) == 0
	return t.result, err
}

// phase is the start of a stretch of time whose CPU is accounted for.
type phase struct {
	name       string
	started    time.Time
	server     time.Duration
	generators []time.Duration
	helpers    time.Duration
	machine    time.Duration
}

// spent is what a phase took.
type spent struct {
	wall, server time.Duration
	// generator is the share of one core that the busiest generator used.
	generator float64
}

func (t *trial) begin(name string) phase {
	p := phase{name: name, started: time.Now()}
	p.server, _ = cpuTime(t.opt.PIDs)
	p.helpers, _ = cpuTime(t.fleet.helperPIDs())
	p.machine = machineCPU()
	for _, pid := range t.fleet.pids() {
		d, _ := cpuTime([]int{pid})
		p.generators = append(p.generators, d)
	}
	return p
}

// saturated is the share of a core, or of the machine, from which on something
// waits for the processor.
const saturated = 0.9

// disturbed is the share of the machine from which on other programs disturb.
const disturbed = 0.1

func (t *trial) end(p phase) spent {
	s := spent{wall: time.Since(p.started)}
	server, err := cpuTime(t.opt.PIDs)
	if err != nil {
		t.result.fault("the server is gone: %v", err)
	}
	s.server = server - p.server
	helpers, _ := cpuTime(t.fleet.helperPIDs())
	all := s.server + helpers - p.helpers
	for i, pid := range t.fleet.pids() {
		d, _ := cpuTime([]int{pid})
		d -= p.generators[i]
		all += d
		s.generator = max(s.generator, d.Seconds()/s.wall.Seconds())
	}
	cores := float64(runtime.NumCPU())
	busy := machineCPU() - p.machine
	if share := (busy - all).Seconds() / s.wall.Seconds() / cores; t.measured() && s.wall > time.Second && share > disturbed {
		t.result.warn("%s: other programs used %.0f %% of the machine: times and latencies are theirs, too", p.name, share*100)
	}
	if s.generator > saturated {
		t.result.warn("%s: the generator used %.0f %% of a core: times and throughput show its limit, CPU per operation still counts",
			p.name, s.generator*100)
	} else if share := all.Seconds() / s.wall.Seconds() / cores; share > saturated {
		t.result.warn("%s: server and generator used %.0f %% of the machine: latencies contain waiting for a processor",
			p.name, share*100)
	}
	return s
}

// per is a CPU time per operation, in microseconds.
func per(d time.Duration, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(d.Nanoseconds()) / 1e3 / float64(n)
}

func (t *trial) measured() bool { return len(t.opt.PIDs) > 0 }

// warmUp opens and resets a few connections, again and again, so that what a
// server does once, and what its run-time needs to open as many at a time, is
// not charged to the connections that are counted.
func (t *trial) warmUp() error {
	const few, waves = 256, 4 // as many at a time as Options.InFlight has by default
	m := t.fleet.members[0]
	r := t.openRequest(m)
	r.Count = min(few, m.count)
	for range waves {
		if _, err := m.call(t.ctx, request{Op: opOpen, Open: r}); err != nil {
			return err
		}
		if _, err := m.call(t.ctx, request{Op: opReset}); err != nil {
			return err
		}
	}
	return t.pause(500 * time.Millisecond)
}

func (t *trial) openRequest(m *member) *openRequest {
	e, _ := splitURL(t.opt.URL) // setDefaults has looked at it
	return &openRequest{
		URL: t.opt.URL, Headers: t.opt.Headers, Subscribe: t.opt.Subscribe, Binary: t.opt.Binary,
		First: m.first, Count: m.count,
		InFlight:     max(1, t.opt.InFlight/len(t.fleet.members)),
		TimeoutNs:    int64(max(openTimeout, t.opt.Patience)),
		LocalSources: e.to.Addr().Is4() && e.to.Addr().IsLoopback(),
		Trust:        t.trust, Tokens: t.tokens, Native: t.opt.Native != "", Compression: t.offer, JSON: t.opt.Compression,
		Transport: t.opt.transport, Channel: t.opt.Native, PollEveryNs: int64(t.opt.pollEvery),
	}
}

// opened is how opening all connections went.
type opened struct {
	spent
	count   int
	latency *histogram
}

// open opens all connections. Those that fail are faults.
func (t *trial) open(step string) (opened, error) {
	return t.openUpTo(step, t.opt.Connections, false)
}

// openUpTo opens connections until there are total. Those that are open
// already count; what was counted of them so far is kept where they grow.
func (t *trial) openUpTo(step string, total int, grow bool) (opened, error) {
	done := make([]int, len(t.fleet.members))
	t.fleet.notices(func(member int, n notice) {
		done[member] = n.Opened
		sum := 0
		for _, d := range done {
			sum += d
		}
		t.progress.show(step, sum, total)
	})
	t.progress.show(step, 0, total)
	p := t.begin(step)
	replies, err := t.fleet.callAll(t.ctx, func(m *member) request {
		r := t.openRequest(m)
		r.Count, r.Grow = m.share(total, t.opt.Connections), grow
		return request{Op: opOpen, Open: r}
	})
	t.fleet.notices(nil)
	if err != nil {
		return opened{}, fmt.Errorf("%s: %w", step, err)
	}
	o := opened{latency: newHistogram(), spent: t.end(p)}
	for _, r := range replies {
		o.count += r.Open.Opened
		o.latency.merge(r.Open.Latency)
		for reason, n := range r.Open.Failed {
			t.result.fault("%s: %d connections failed: %s", step, n, reason)
		}
	}
	if o.count == 0 {
		return o, fmt.Errorf("%s: no connection could be opened: %v", step, t.result.Faults)
	}
	return o, t.checkCompressed(step, o.count)
}

// pause waits.
func (t *trial) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

const (
	settleStep = 200 * time.Millisecond
	// settleSamples is for how many samples in a row the server must rest.
	settleSamples = 6
)

// settle waits until the server rests: for Options.Settle at least, then until
// its memory has stood still for some samples and it uses less than 5 % of a
// core, but no longer than Options.SettleMax. What a server needed to start, or
// to open connections, has then gone back to the system, as far as it ever
// does. The result says if the server did not come to rest.
func (t *trial) settle() error {
	t.progress.show("settling", 0, 0)
	if err := t.pause(t.opt.Settle); err != nil || !t.measured() {
		return err
	}
	limit := time.Now().Add(t.opt.SettleMax)
	var held []int64 // the last samples of anonymous memory
	lastCPU, busy := time.Duration(0), 0.0
	for {
		m, err := readMemory(t.opt.PIDs)
		if err != nil {
			return err
		}
		cpu, err := cpuTime(t.opt.PIDs)
		if err != nil {
			return err
		}
		busy, lastCPU = (cpu-lastCPU).Seconds()/settleStep.Seconds(), cpu
		held = append(held, m.anonymous)
		if len(held) > settleSamples {
			held = held[1:]
		}
		moved := slices.Max(held) - slices.Min(held)
		if len(held) == settleSamples && moved <= m.anonymous/500 && busy < 0.05 {
			return nil
		}
		if time.Now().After(limit) {
			t.result.warn("the server did not come to rest within %v: its memory moved by %d KiB in %v, and it used %.0f %% of a core",
				t.opt.SettleMax, moved>>10, settleSamples*settleStep, 100*busy)
			return nil
		}
		if err := t.pause(settleStep); err != nil {
			return err
		}
	}
}

// views asks all generators for their counters and adds them up.
func (t *trial) views() (generatorView, error) {
	replies, err := t.fleet.sendAll(t.ctx, request{Op: opCount})
	if err != nil {
		return generatorView{}, err
	}
	sum := newGeneratorView()
	for _, r := range replies {
		v := r.Counts
		sum.Open += v.Open
		sum.Compressed += v.Compressed
		sum.FrameBytes += v.FrameBytes
		sum.MessageBytes += v.MessageBytes
		sum.Closed += v.Closed
		sum.Arrivals.add(v.Arrivals)
		sum.Others += v.Others
		sum.Replies += v.Replies
		sum.Refused += v.Refused
		sum.ProtocolErrors += v.ProtocolErrors
		sum.Stalled += v.Stalled
		sum.Backlogged += v.Backlogged
		sum.Pings += v.Pings
		sum.BytesDown += v.BytesDown
		sum.BytesUp += v.BytesUp
		sum.Requests += v.Requests
		sum.Latency.merge(v.Latency)
		sum.Lateness.merge(v.Lateness)
		for reason, n := range v.ClosedBy {
			sum.ClosedBy[reason] += n
		}
		if sum.FirstFault == "" {
			sum.FirstFault = v.FirstFault
		}
	}
	return sum, nil
}

// finish looks for what no scenario allows.
func (t *trial) finish() error {
	v, err := t.views()
	if err != nil {
		return err
	}
	for reason, n := range v.ClosedBy {
		if v.Closed <= t.forgiven {
			break
		}
		t.result.fault("%d connections were closed: %s", n, reason)
	}
	if v.ProtocolErrors > 0 {
		what := "frames broke RFC 6455"
		if t.opt.transport.fallback() {
			what = "events or responses were malformed"
		}
		t.result.fault("%d %s", v.ProtocolErrors, what)
	}
	if want := uint64(t.replies) * uint64(v.Open); v.Replies < want {
		t.result.fault("%d of %d replies of the native protocol came", v.Replies, want)
	}
	if v.Refused > 0 {
		t.result.fault("%d commands of the native protocol were refused", v.Refused)
	}
	if v.Arrivals.Damaged > 0 {
		t.result.fault("%d messages arrived damaged", v.Arrivals.Damaged)
	}
	if v.Arrivals.Foreign > 0 {
		t.result.fault("%d messages arrived at another connection than theirs", v.Arrivals.Foreign)
	}
	if v.Backlogged > 0 {
		t.result.fault("%d messages were not sent: the server did not read", v.Backlogged)
	}
	if v.FirstFault != "" && len(t.result.Faults) > 0 {
		t.result.fault("the first: %s", v.FirstFault)
	}
	if v.Others > 0 {
		t.result.Notes = append(t.result.Notes, fmt.Sprintf("%d messages were not the benchmark's own (greetings, acknowledgements)", v.Others))
	}
	return nil
}

// latenessLimit is how far behind its schedule a generator may send, in one of
// a hundred cases, before the result says so.
const latenessLimit = 2 * time.Millisecond

func (t *trial) checkLateness(name string, h *histogram) {
	if late := time.Duration(h.h.ValueAtQuantile(99)); late > latenessLimit {
		t.result.warn("%s: one message in a hundred was sent more than %v late: the latencies contain the generator's own delay",
			name, late.Round(10*time.Microsecond))
	}
}

// openTimeout is how long one connection may take to be upgraded; as long as
// Options.Patience where that is more.
const openTimeout = 20 * time.Second
