package bench

import (
	"context"
	"fmt"
	"time"
)

// stormRounds is how often connections that were refused are tried again, each a second
// after the last, as by impatient clients.
const stormRounds = 10

// RunStorm lets all clients come at once, vanish at once without a goodbye (RST),
// and come back at once.
func RunStorm(ctx context.Context, cfg StormConfig) (*Result, error) {
	if err := cfg.setDefaults(10_000, 4*time.Minute); err != nil {
		return nil, err
	}
	cfg.InFlight = cfg.Connections
	return runTrial(ctx, "storm", &cfg.Options, (*trial).storm)
}

func (t *trial) storm() error {
	if err := t.warmUp(); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	before, err := readMemory(t.opt.PIDs)
	if err != nil {
		return err
	}
	for _, wave := range []struct{ name, text string }{
		{"arrival", "all come"},
		{"return", "all are cut off and come back"},
	} {
		if err := t.wave(wave.name, wave.text); err != nil {
			return err
		}
		if err := t.settle(); err != nil {
			return err
		}
	}
	return t.leave(before)
}

// wave lets all come, again if need be, and reports how that went.
func (t *trial) wave(name, text string) error {
	p := t.begin(text)
	if _, err := t.fleet.sendAll(t.ctx, request{Op: opReset}); err != nil {
		return err
	}
	latency, refused, in := newHistogram(), 0, 0
	for round := 0; in < t.opt.Connections && round < stormRounds; round++ {
		if round > 0 {
			if err := t.pause(time.Second); err != nil {
				return err
			}
		}
		faults := len(t.result.Faults)
		o, err := t.open(fmt.Sprintf("%s, attempt %d", text, round+1))
		t.result.Faults = t.result.Faults[:faults] // to be turned away and come again is no fault here
		if err != nil {
			return err
		}
		latency.merge(o.latency)
		in = o.count
		refused += t.opt.Connections - in
	}
	use := t.end(p)
	if in < t.opt.Connections {
		t.result.fault("%s: %d of %d had no luck in %d attempts", text, t.opt.Connections-in, t.opt.Connections, stormRounds)
	}
	t.result.add(name+"_seconds", use.wall.Seconds(), "s", text+": until the last is in")
	t.result.add(name+"_refused", float64(refused), "", text+": attempts refused")
	if t.measured() {
		t.result.add(name+"_cpu", per(use.server, uint64(in)), "us", text+": server CPU per connection")
	}
	t.result.addLatency(name, text+": connect to upgrade", latency)
	return nil
}

// forgetLimit is how long a server may take to close what its clients have left.
const forgetLimit = 10 * time.Second

// leave cuts all clients off and checks that the server forgets them.
func (t *trial) leave(before memory) error {
	t.progress.show("all leave", 0, 0)
	if _, err := t.fleet.sendAll(t.ctx, request{Op: opReset}); err != nil || !t.measured() {
		return err
	}
	started := time.Now()
	left := 0
	for {
		m, err := readMemory(t.opt.PIDs)
		if err != nil {
			return err
		}
		if left = m.descriptors - before.descriptors; left <= 0 || time.Since(started) > forgetLimit {
			break
		}
		if err := t.pause(20 * time.Millisecond); err != nil {
			return err
		}
	}
	if left > 0 {
		t.result.fault("%d descriptors are still open %v after all clients left", left, forgetLimit)
	}
	t.result.add("forget_seconds", time.Since(started).Seconds(), "s", "until the server has closed the last descriptor")
	if err := t.settle(); err != nil {
		return err
	}
	after, err := readMemory(t.opt.PIDs)
	if err != nil {
		return err
	}
	t.result.add("left_bytes_per_conn", float64(after.anonymous-before.anonymous)/float64(t.opt.Connections), "B", "user-space memory left per connection that was")
	return nil
}
