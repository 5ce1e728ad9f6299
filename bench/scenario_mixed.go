package bench

import (
	"context"
	"time"
)

// RunMixed is an echo server's ordinary day: of a hundred connections, 90 are
// idle, 9 send a message now and then, one is busy. What do the 9 notice of
// the rest?
func RunMixed(ctx context.Context, cfg MixedConfig) (*Result, error) {
	setDefault(&cfg.TrickleInterval, 5*time.Second)
	setDefault(&cfg.BusyInterval, 20*time.Millisecond)
	setDefault(&cfg.Period, 10*time.Second)
	if err := cfg.setDefaults(10_000, 2*time.Minute+cfg.Period); err != nil {
		return nil, err
	}
	return runTrial(ctx, "mixed", &cfg.Options, func(t *trial) error { return t.mixed(&cfg) })
}

// isBusy and isTrickle divide connections by their number.
func isBusy(n int) bool    { return n%100 == 0 }
func isTrickle(n int) bool { return n%100 >= 1 && n%100 <= 9 }

func (t *trial) mixed(cfg *MixedConfig) error {
	if _, err := t.open("opening"); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	rate := func(member func(int) bool, interval time.Duration) float64 {
		count := 0
		for n := range cfg.Connections {
			if member(n) {
				count++
			}
		}
		return float64(count) / interval.Seconds()
	}
	t.progress.show("mixed", 0, 0)
	classes, use, err := t.traffic("mixed", cfg.Period,
		classSpec{name: "trickle", take: isTrickle, rate: rate(isTrickle, cfg.TrickleInterval)},
		classSpec{name: "busy", take: isBusy, rate: rate(isBusy, cfg.BusyInterval)})
	if err != nil {
		return err
	}
	received := uint64(0)
	for _, c := range classes {
		t.checkEchoes(c.Name, c)
		t.checkLateness(c.Name, c.Lateness)
		t.result.add(c.Name+"_rate", float64(c.Received)/cfg.Period.Seconds(), "1/s", c.Name+": messages a second")
		t.result.addLatency(c.Name, c.Name+": round trip", c.Latency)
		received += c.Received
	}
	if t.measured() {
		t.result.add("mixed_cpu", per(use.server, received), "us", "server CPU per message")
	}
	return nil
}
