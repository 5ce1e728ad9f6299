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
// do they notice? Each time with it is compared with the times without it
// before and after, so that the machine's moods cancel out.
func RunHostile(ctx context.Context, cfg HostileConfig) (*Result, error) {
	setDefault(&cfg.Rate, 2000)
	setDefault(&cfg.Period, 3*time.Second)
	setDefault(&cfg.Rounds, 3)
	runs := time.Duration(cfg.Rounds * (2*len(hostileKinds) + 1))
	if err := cfg.setDefaults(10_000, 2*time.Minute+runs*(cfg.Period+6*time.Second)); err != nil {
		return nil, err
	}
	e, err := splitURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	var meets []string // those that such a server meets
	for _, k := range hostileKinds {
		if e.secure || !k.raw {
			meets = append(meets, k.name)
		}
	}
	if len(cfg.Kinds) == 0 {
		cfg.Kinds = meets
	}
	for _, name := range cfg.Kinds {
		if !slices.Contains(meets, name) {
			return nil, fmt.Errorf("no hostile client %q for %s: there are %s", name, cfg.URL, strings.Join(meets, ", "))
		}
	}
	return runTrial(ctx, "hostile", &cfg.Options, func(t *trial) error { return t.hostile(&cfg) })
}

func (t *trial) hostile(cfg *HostileConfig) error {
	if _, err := t.open("opening"); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	ratios := map[string][]float64{}
	quiet, with := newHistogram(), map[string]*histogram{}
	for range cfg.Rounds {
		before, err := t.echoesBeside(cfg, nil)
		if err != nil {
			return err
		}
		quiet.merge(before)
		for i := range hostileKinds {
			k := &hostileKinds[i]
			if !slices.Contains(cfg.Kinds, k.name) {
				continue
			}
			during, err := t.echoesBeside(cfg, k)
			if err != nil {
				return err
			}
			after, err := t.echoesBeside(cfg, nil)
			if err != nil {
				return err
			}
			ratios[k.name] = append(ratios[k.name], 2*p99(during)/(p99(before)+p99(after)))
			if with[k.name] == nil {
				with[k.name] = newHistogram()
			}
			with[k.name].merge(during)
			quiet.merge(after)
			before = after
		}
	}
	t.result.addLatency("quiet", "round trip, nobody hostile", quiet)
	worst := 0.0
	for _, k := range hostileKinds {
		if list := ratios[k.name]; len(list) > 0 {
			slices.Sort(list)
			ratio := list[len(list)/2]
			worst = max(worst, ratio)
			t.result.add("hostile_"+k.name, ratio, "x", "p99 of the others' round trips, against quiet times, while one "+k.text)
			t.result.addLatency("hostile_"+k.name, "round trip while one "+k.text, with[k.name])
		}
	}
	t.result.add("hostile_worst", worst, "x", "the worst of these")
	return nil
}

func p99(h *histogram) float64 { return float64(max(h.h.ValueAtQuantile(99), 1)) }

// echoesBeside sends for a period, beside a hostile client if k is not nil.
func (t *trial) echoesBeside(cfg *HostileConfig, k *hostileKind) (*histogram, error) {
	step := "quiet"
	if k != nil {
		step = k.name
		ctx, cancel := context.WithCancel(t.ctx)
		donec := make(chan error, 1)
		go func() {
			conns, err := k.run(ctx, cfg.URL, t.trust)
			if err == nil && conns == 0 {
				err = fmt.Errorf("it never connected")
			}
			donec <- err
		}()
		defer func() {
			cancel()
			if err := <-donec; err != nil {
				t.result.fault("the hostile client %s: %v", k.name, err)
			}
		}()
	}
	t.progress.show(step, 0, 0)
	classes, _, err := t.traffic(step, cfg.Period, classSpec{name: step, take: func(int) bool { return true }, rate: cfg.Rate})
	if err != nil {
		return nil, err
	}
	t.checkEchoes(step, classes[0])
	return classes[0].Latency, nil
}
