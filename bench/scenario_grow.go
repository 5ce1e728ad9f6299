package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A Step is what there was to see at one number of connections. Bytes are
// differences to the server before anybody came, divided by the connections.
type Step struct {
	Connections int `json:"connections"`
	// UserBytes is the server's anonymous memory per connection when all are
	// open and nothing was sent yet, UserBytesAfter when it has published to
	// all of them.
	UserBytes      float64 `json:"user_bytes_per_conn"`
	UserBytesAfter float64 `json:"user_bytes_per_conn_after_broadcast"`
	// KernelBytes is what the kernel holds per connection, both ends of it:
	// all memory in use that belongs to no process and no file. SlabBytes is
	// the part in its object caches, TCPBytes the buffers that TCP accounts
	// for.
	KernelBytes float64 `json:"kernel_bytes_per_pair"`
	SlabBytes   float64 `json:"slab_bytes_per_pair"`
	TCPBytes    float64 `json:"tcp_bytes_per_pair"`
	// GeneratorBytes is the generators' own memory per connection.
	GeneratorBytes float64 `json:"generator_bytes_per_conn"`

	// OpenSeconds is how long it took to open Opened more connections, OpenCPU
	// the server's processor time for each, in microseconds.
	Opened      int     `json:"opened"`
	OpenSeconds float64 `json:"open_seconds"`
	OpenCPU     float64 `json:"open_cpu_us"`

	// Published messages were to make Expected deliveries; Delivered arrived,
	// whole, once and in order.
	Published int    `json:"published"`
	Expected  uint64 `json:"expected"`
	Delivered uint64 `json:"delivered"`
	// BroadcastSeconds is the mean time to the last receiver, DeliveryCPU the
	// server's processor time for each delivery, in microseconds.
	BroadcastSeconds float64 `json:"broadcast_seconds"`
	DeliveryCPU      float64 `json:"delivery_cpu_us"`

	// ServerSeconds is the age of the server's process at the end of the step.
	ServerSeconds float64 `json:"server_seconds"`
}

// RunGrow opens connections step by step, measures the memory for each, and
// publishes to all of them: what does a connection cost when there are many?
func RunGrow(ctx context.Context, cfg GrowConfig) (*Result, error) {
	setDefault(&cfg.Singles, 3)
	if len(cfg.Steps) > 0 {
		setDefault(&cfg.Connections, cfg.Steps[len(cfg.Steps)-1])
	}
	if err := cfg.setDefaults(10_000, 10*time.Minute+cfg.Hold); err != nil {
		return nil, err
	}
	if len(cfg.Steps) == 0 {
		cfg.Steps = []int{cfg.Connections}
	}
	if cfg.Steps[0] < 1 || !slices.IsSorted(cfg.Steps) || cfg.Steps[len(cfg.Steps)-1] != cfg.Connections {
		return nil, fmt.Errorf("steps %v: want ascending numbers, the last of them the connections, %d", cfg.Steps, cfg.Connections)
	}
	if len(cfg.PIDs) != 1 {
		return nil, fmt.Errorf("%d process ids: this scenario measures one server process", len(cfg.PIDs))
	}
	return runTrial(ctx, "grow", &cfg.Options, func(t *trial) error { return t.grow(&cfg) })
}

func (t *trial) grow(cfg *GrowConfig) error {
	if err := t.warmUp(); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	before, err := t.readGrowth()
	if err != nil {
		return err
	}
	for _, n := range cfg.Steps {
		s, err := t.growTo(cfg, n, before)
		if err != nil {
			if s.UserBytes > 0 { // out of time, but the connections were open
				t.result.Steps = append(t.result.Steps, s)
			}
			return err
		}
		t.result.Steps = append(t.result.Steps, s)
		t.progress.show(fmt.Sprintf("at %d: %.0f B of the server and %.0f B of the kernel per connection, %d of %d deliveries in %.1f s each",
			n, s.UserBytes, s.KernelBytes, s.Delivered, s.Expected, s.BroadcastSeconds), 0, 0)
	}
	t.reportSteps()
	return nil
}

func (t *trial) growTo(cfg *GrowConfig, n int, before growth) (Step, error) {
	s := Step{Connections: n, Opened: n}
	for _, last := range t.result.Steps {
		s.Opened = n - last.Connections
	}
	o, err := t.openUpTo(fmt.Sprintf("opening up to %d", n), n, true)
	if err != nil {
		return s, err
	}
	s.OpenSeconds, s.OpenCPU = o.wall.Seconds(), per(o.server, uint64(s.Opened))
	if err := t.settle(); err != nil {
		return s, err
	}
	now, err := t.readGrowth()
	if err != nil {
		return s, err
	}
	count := float64(o.count)
	s.UserBytes = float64(now.server.anonymous-before.server.anonymous) / count
	s.SlabBytes = float64(now.server.slab-before.server.slab) / count
	s.KernelBytes = float64(now.kernel-before.kernel) / count
	s.TCPBytes = float64(now.tcp-before.tcp) / count
	s.GeneratorBytes = float64(now.generators.anonymous-before.generators.anonymous) / count
	if err := t.growBroadcast(cfg, &s, o.count); err != nil {
		return s, err
	}
	if err := t.settle(); err != nil {
		return s, err
	}
	after, err := t.readGrowth()
	if err != nil {
		return s, err
	}
	s.UserBytesAfter = float64(after.server.anonymous-before.server.anonymous) / count
	if n == cfg.Connections && cfg.Hold > 0 {
		t.progress.show(fmt.Sprintf("staying for %v", cfg.Hold), 0, 0)
		if err := t.pause(cfg.Hold); err != nil {
			return s, err
		}
	}
	s.ServerSeconds = processAge(t.opt.PIDs[0]).Seconds()
	return s, nil
}

// growBroadcast publishes to the connections that are open. They are one
// audience: that of the first of them.
func (t *trial) growBroadcast(cfg *GrowConfig, s *Step, open int) error {
	a := &audience{stream: publishStream | 1, publisher: connPublisher(0)}
	t.progress.show("looking for receivers", 0, 0)
	if _, err := t.probe(a); err != nil {
		return err
	}
	if a.members != open {
		t.result.fault("at %d connections, %d received what was published", open, a.members)
	}
	if a.members == 0 {
		return nil
	}
	p := newPart("single")
	if err := t.publishSingles(&BroadcastConfig{Options: cfg.Options, Singles: cfg.Singles}, a, p); err != nil {
		return err
	}
	t.checkPart(p)
	s.Published, s.Expected, s.Delivered = p.published, p.expected, p.delivered
	s.BroadcastSeconds = p.elapsed.Seconds() / float64(max(1, p.published))
	s.DeliveryCPU = per(p.server, p.delivered)
	return nil
}

// growth is the memory that grows with the connections, in bytes.
type growth struct {
	server, generators memory
	// kernel is all memory in use that is neither anonymous nor of a file.
	kernel int64
	// tcp is what TCP accounts for in its buffers.
	tcp int64
}

func (t *trial) readGrowth() (growth, error) {
	var g growth
	var err error
	if g.server, err = readMemory(t.opt.PIDs); err != nil {
		return g, err
	}
	if g.generators, err = readMemory(t.fleet.pids()); err != nil {
		return g, err
	}
	info, err := procFields("/proc/meminfo")
	if err != nil {
		return g, err
	}
	g.kernel = info["MemTotal"] - info["MemFree"] - info["Buffers"] - info["Cached"] - info["AnonPages"]
	g.tcp = tcpMemory()
	return g, nil
}

// reportSteps repeats the last step's figures where tables and comparisons look
// for them.
func (t *trial) reportSteps() {
	s := t.result.Steps[len(t.result.Steps)-1]
	r := t.result
	r.add("user_bytes_per_conn", s.UserBytes, "B", "user-space memory per connection")
	r.add("user_bytes_after", s.UserBytesAfter, "B", "the same after a broadcast to all")
	r.add("kernel_bytes_per_pair", s.KernelBytes, "B", "kernel memory per connection, both ends")
	r.add("open_cpu", s.OpenCPU, "us", "server CPU per connection opened")
	r.add("single_cpu", s.DeliveryCPU, "us", "server CPU per delivery, one at a time")
	r.add("single_last", s.BroadcastSeconds*1e3, "ms", "to the last receiver, one at a time")
}
