package bench

import (
	"context"
	"errors"
	"fmt"
)

// RunSlow publishes to receivers of whom some do not read: the others must not
// notice, and the server's memory must not grow with what is not read.
func RunSlow(ctx context.Context, cfg SlowConfig) (*Result, error) {
	setDefault(&cfg.StalledPercent, 5)
	setDefault(&cfg.PayloadBytes, 1024)
	setDefault(&cfg.Rate, 10)
	if err := cfg.setBroadcastDefaults(); err != nil {
		return nil, err
	}
	if cfg.StalledPercent < 1 || cfg.StalledPercent > 99 {
		return nil, errors.New("stalled percent: must be between 1 and 99")
	}
	return runTrial(ctx, "slow", &cfg.Options, func(t *trial) error { return t.slow(&cfg) })
}

func (t *trial) slow(cfg *SlowConfig) error {
	audiences, err := t.openAudiences(&cfg.BroadcastConfig)
	if err != nil {
		return err
	}
	run := func(name string) error {
		p := newPart(name)
		for _, a := range audiences {
			if err := t.publishPaced(&cfg.BroadcastConfig, a, p); err != nil {
				return err
			}
		}
		t.reportPart(p)
		return nil
	}
	// What it is like when all read; where most will stall, that would be
	// another load altogether.
	if cfg.StalledPercent <= 50 {
		if err := run("paced"); err != nil {
			return err
		}
	}
	if err := t.settle(); err != nil {
		return err
	}
	before, err := readMemory(t.opt.PIDs)
	if err != nil {
		return err
	}
	replies, err := t.fleet.sendAll(t.ctx, request{Op: opStall, Percent: cfg.StalledPercent})
	if err != nil {
		return err
	}
	stalled := 0
	for _, r := range replies {
		stalled += r.Count
	}
	if err := run("stalled"); err != nil {
		return err
	}
	after, err := readMemory(t.opt.PIDs)
	if err != nil {
		return err
	}
	t.result.add("stalled", float64(stalled), "", "receivers that do not read")
	if t.measured() {
		t.result.add("stalled_bytes", float64(after.anonymous-before.anonymous), "B", "user-space memory added meanwhile")
	}
	return t.wakeStalled(stalled)
}

// wakeStalled lets the stalled read again. What a server did with them is its
// policy: being cut off is no fault, being forgotten half open would be.
func (t *trial) wakeStalled(stalled int) error {
	closedBefore, err := t.views()
	if err != nil {
		return err
	}
	t.progress.show("stalled ones read again", 0, 0)
	if _, err := t.fleet.sendAll(t.ctx, request{Op: opResume}); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	v, err := t.views()
	if err != nil {
		return err
	}
	t.result.add("stalled_closed", float64(v.Closed), "", "of them, closed by the server")
	if v.Closed > stalled || closedBefore.Closed > stalled {
		t.result.fault("%d connections were closed, %d were stalled", v.Closed, stalled)
	}
	for reason, n := range v.ClosedBy {
		t.result.Notes = append(t.result.Notes, fmt.Sprintf("%d stalled connections: %s", n, reason))
	}
	t.forgiven = v.Closed
	return nil
}
