package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RunHostile lets one hostile client of each kind loose among the connections
// of an echo server, one after the other, while the others send at a rate. What
// do they notice?
//
// The hostile client and the others share the machine with the server, so that
// a part of what they notice is that client's own use of the processors, which a
// client on another machine would not cause. To take that out, each time with
// the client on the server is compared with a time with the same client on a
// decoy, a process that does the least a server could; the two take turns, so
// that the machine's moods cancel out. And where there are two processors or
// more, clients get half of them and server and decoy the others, and the
// hostile client has the lowest priority.
func RunHostile(ctx context.Context, cfg HostileConfig) (*Result, error) {
	setDefault(&cfg.Rate, 2000)
	setDefault(&cfg.Period, 2*time.Second)
	setDefault(&cfg.Rounds, 5)
	runs := time.Duration(cfg.Rounds * (2*len(hostileKinds) + 1))
	if err := cfg.setDefaults(10_000, 2*time.Minute+runs*(cfg.Period+6*time.Second)); err != nil {
		return nil, err
	}
	e, err := splitURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	known := kindsFor(e.secure)
	if len(cfg.Kinds) == 0 {
		cfg.Kinds = known
	}
	for _, name := range cfg.Kinds {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no hostile client %q for %s: there are %s", name, cfg.URL, strings.Join(known, ", "))
		}
	}
	return runTrial(ctx, "hostile", &cfg.Options, func(t *trial) error { return t.hostile(&cfg) })
}

// HostileKinds returns the names of the hostile clients that RunHostile lets
// loose on a server without TLS.
func HostileKinds() []string { return kindsFor(false) }

// kindsFor returns the names of the kinds that a server can meet.
func kindsFor(secure bool) (names []string) {
	for _, k := range hostileKinds {
		if secure || !k.raw {
			names = append(names, k.name)
		}
	}
	return names
}

// hostileSide is what was measured while a hostile client was on one side: the
// server, or the decoy.
type hostileSide struct {
	latency *histogram
	server  time.Duration // the server's CPU
	wall    time.Duration
	steps   int
}

// hostileFigures are those of one kind of hostile client.
type hostileFigures struct {
	ratios        []float64 // of each round's p99
	server, decoy hostileSide
}

func (t *trial) hostile(cfg *HostileConfig) error {
	client, err := t.fleet.startHelper(t.opt.GeneratorCommand)
	if err != nil {
		return err
	}
	decoy, err := t.fleet.startHelper(t.opt.GeneratorCommand)
	if err != nil {
		return err
	}
	release, err := t.separate(client, decoy)
	if err != nil {
		return err
	}
	defer release()
	if _, err := t.open("opening"); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	quiet, figures := newHistogram(), make(map[string]*hostileFigures)
	for round := range cfg.Rounds {
		alone, err := t.echoesBeside(cfg, "quiet", nil, nil, hostileRequest{})
		if err != nil {
			return err
		}
		quiet.merge(alone.latency)
		for _, name := range cfg.Kinds {
			f := figures[name]
			if f == nil {
				f = &hostileFigures{server: hostileSide{latency: newHistogram()}, decoy: hostileSide{latency: newHistogram()}}
				figures[name] = f
			}
			if err := t.hostileRound(cfg, kindNamed(name), client, decoy, round%2 == 1, f); err != nil {
				return err
			}
		}
	}
	t.result.addLatency("quiet", "round trip, no hostile client", quiet)
	t.addHostileFigures(cfg.Kinds, figures)
	return nil
}

// hostileRound has a hostile client once on the decoy and once on the server.
func (t *trial) hostileRound(cfg *HostileConfig, k *hostileKind, client, decoy *member, serverFirst bool, f *hostileFigures) error {
	r, err := decoy.call(t.ctx, request{Op: opDecoy, Hostile: &hostileRequest{Kind: k.name, URL: t.opt.URL}})
	if err != nil {
		return fmt.Errorf("decoy: %w", err)
	}
	sides := []struct {
		sum    *hostileSide
		target hostileRequest
		now    hostileSide
	}{
		{&f.decoy, hostileRequest{Kind: k.name, URL: r.URL, Trust: trust{Insecure: true}}, hostileSide{}},
		{&f.server, hostileRequest{Kind: k.name, URL: t.opt.URL, Trust: t.trust}, hostileSide{}},
	}
	order := []int{0, 1}
	if serverFirst {
		order = []int{1, 0}
	}
	for _, i := range order {
		s := &sides[i]
		if s.now, err = t.echoesBeside(cfg, k.name, k, client, s.target); err != nil {
			return err
		}
		s.sum.latency.merge(s.now.latency)
		s.sum.server += s.now.server
		s.sum.wall += s.now.wall
		s.sum.steps += s.now.steps
	}
	f.ratios = append(f.ratios, p99(sides[1].now.latency)/p99(sides[0].now.latency))
	return nil
}

func (t *trial) addHostileFigures(kinds []string, figures map[string]*hostileFigures) {
	worst := 0.0
	for _, name := range kinds {
		k, f := kindNamed(name), figures[name]
		slices.Sort(f.ratios)
		ratio := (f.ratios[(len(f.ratios)-1)/2] + f.ratios[len(f.ratios)/2]) / 2
		worst = max(worst, ratio)
		t.result.add("hostile_"+name, ratio, "x", "p99 of the others' round trips while one "+k.text)
		if t.measured() {
			cpu := f.server.server.Seconds()/f.server.wall.Seconds() - f.decoy.server.Seconds()/f.decoy.wall.Seconds()
			t.result.add("hostile_"+name+"_cpu", 100*cpu, "%", "  CPU that it costs the server, of one core")
		}
		t.result.addLatency("hostile_"+name, "round trip while one "+k.text, f.server.latency)
		t.result.addLatency("hostile_"+name+"_decoy", "the same, on the decoy", f.decoy.latency)
		if perSecond := func(s hostileSide) float64 { return float64(s.steps) / s.wall.Seconds() }; perSecond(f.server) < perSecond(f.decoy)/2 {
			t.result.Notes = append(t.result.Notes, fmt.Sprintf("%s: %.0f steps a second, where a server that only reads lets it do %.0f",
				name, perSecond(f.server), perSecond(f.decoy)))
		}
	}
	t.result.add("hostile_worst", worst, "x", "the worst of these")
}

func p99(h *histogram) float64 { return float64(max(h.h.ValueAtQuantile(99), 1)) }

// echoesBeside sends for a period, beside a hostile client on target if k is not
// nil.
func (t *trial) echoesBeside(cfg *HostileConfig, step string, k *hostileKind, client *member, target hostileRequest) (hostileSide, error) {
	if k != nil {
		if _, err := client.call(t.ctx, request{Op: opHostile, Hostile: &target}); err != nil {
			return hostileSide{}, err
		}
	}
	t.progress.show(step, 0, 0)
	classes, use, err := t.traffic(step, cfg.Period, classSpec{name: step, take: func(int) bool { return true }, rate: cfg.Rate})
	side := hostileSide{server: use.server, wall: use.wall}
	if k != nil {
		r, calmErr := client.call(t.ctx, request{Op: opCalm})
		if r.Hostile != nil {
			side.steps = r.Hostile.Steps
		}
		if calmErr != nil {
			t.result.fault("the hostile client %s: %v", k.name, calmErr)
		}
	}
	if err != nil {
		return side, err
	}
	t.checkEchoes(step, classes[0])
	side.latency = classes[0].Latency
	return side, nil
}

// separate keeps clients and servers on different processors, where there are
// two or more, until release is called.
func (t *trial) separate(client, decoy *member) (release func(), err error) {
	clients := append(t.fleet.pids(), client.pid())
	servers := append(slices.Clone(t.opt.PIDs), decoy.pid())
	release, err = separateProcessors(clients, servers)
	if err != nil {
		t.result.warn("the clients share processors with the server: %v", err)
		release = func() {}
	}
	return release, lowestPriority(client.pid())
}
