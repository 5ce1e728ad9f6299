package bench

import (
	"context"
	"fmt"
	"time"
)

// RunBroadcast publishes to all connections: one message at a time, at a rate,
// and without pause. Everything that is published must arrive at every connection,
// once and in order.
func RunBroadcast(ctx context.Context, cfg BroadcastConfig) (*Result, error) {
	if err := cfg.setBroadcastDefaults(); err != nil {
		return nil, err
	}
	return runTrial(ctx, "broadcast", &cfg.Options, func(t *trial) error {
		if cfg.Compression {
			return t.broadcastBoth(&cfg)
		}
		_, err := t.broadcast(&cfg)
		return err
	})
}

func (cfg *BroadcastConfig) setBroadcastDefaults() error {
	if err := cfg.over(cfg.Transport); err != nil {
		return err
	}
	if err := cfg.nativePublisher(); err != nil {
		return err
	}
	if cfg.Compression {
		setDefault(&cfg.PayloadBytes, 1024) // what is worth compressing
	}
	setDefault(&cfg.Singles, 20)
	setDefault(&cfg.Period, 5*time.Second)
	setDefault(&cfg.Window, 64)
	return cfg.setDefaults(10_000, 5*time.Minute+8*cfg.Period)
}

// broadcast returns its parts by name.
func (t *trial) broadcast(cfg *BroadcastConfig) (map[string]*part, error) {
	audiences, err := t.openAudiences(cfg)
	if err != nil {
		return nil, err
	}
	parts := []struct {
		name string
		run  func(t *trial, cfg *BroadcastConfig, a *audience, p *part) error
	}{
		{"single", (*trial).publishSingles},
		{"paced", (*trial).publishPaced},
		{"saturated", (*trial).publishWithoutPause},
	}
	done := make(map[string]*part)
	for _, do := range parts {
		p := newPart(do.name)
		done[do.name] = p
		for _, a := range audiences {
			if err := do.run(t, cfg, a, p); err != nil {
				return nil, err
			}
		}
		t.reportPart(p)
		if do.name == "single" && cfg.Rate == 0 {
			cfg.Rate = 20
			if mean := p.toLast.h.Mean() / 1e9; mean > 0 {
				cfg.Rate = min(cfg.Rate, 0.5/mean)
			}
		}
	}
	return done, nil
}

// openAudiences opens the connections and finds out which of them receives what.
func (t *trial) openAudiences(cfg *BroadcastConfig) ([]*audience, error) {
	var api publisher
	if cfg.PublishURL != "" {
		var err error
		if api, err = newHTTPPublisher(cfg); err != nil {
			return nil, err
		}
	}
	if _, err := t.open("opening"); err != nil {
		return nil, err
	}
	if err := t.settle(); err != nil {
		return nil, err
	}
	return t.findAudiences(api)
}

// part sums up one way of publishing over all audiences.
type part struct {
	name              string
	published         int
	delivered         uint64
	expected          uint64
	server            time.Duration
	elapsed           time.Duration // from the first message to the last delivery
	arrivals          Arrivals
	toLast, toEach    *histogram
	lateness          *histogram
	publisherTooEager uint64
	// frameBytes and messageBytes are those of all deliveries.
	frameBytes, messageBytes uint64
}

func newPart(name string) *part {
	return &part{name: name, toLast: newHistogram(), toEach: newHistogram(), lateness: newHistogram()}
}

// publishing measures one audience: body publishes, starting at the audience's
// next sequence number, and returns how many it published.
func (t *trial) publishing(a *audience, p *part, body func(d *deliveries) (int, error)) error {
	d, err := t.arm(a)
	if err != nil {
		return err
	}
	defer t.fleet.notices(nil)
	ph := t.begin(p.name)
	started := nowNs()
	count, err := body(d)
	if err != nil {
		return err
	}
	if err := d.await(t, count, t.opt.Patience); err != nil {
		return err
	}
	use := t.end(ph)
	a.nextSeq += uint64(count)
	v, err := t.views()
	if err != nil {
		return err
	}
	p.published += count
	p.expected += uint64(count) * uint64(d.members)
	p.delivered += v.Arrivals.Unique
	p.server += use.server
	p.arrivals.add(v.Arrivals)
	p.frameBytes += v.FrameBytes
	p.messageBytes += v.MessageBytes
	p.toEach.merge(v.Latency)
	p.lateness.merge(v.Lateness)
	p.publisherTooEager += v.Backlogged
	d.mu.Lock()
	defer d.mu.Unlock()
	p.toLast.merge(d.toLast)
	if d.lastNs > started {
		p.elapsed += time.Duration(d.lastNs - started)
	}
	return nil
}

func (t *trial) publishSingles(cfg *BroadcastConfig, a *audience, p *part) error {
	return t.publishing(a, p, func(d *deliveries) (int, error) {
		for i := range cfg.Singles {
			t.progress.show("one at a time", i, cfg.Singles)
			r := publishRequest{Stream: a.stream, Seq: a.nextSeq + uint64(i), Count: 1, Bytes: cfg.PayloadBytes}
			if err := a.publisher.publish(t, r); err != nil {
				return i, err
			}
			if err := d.await(t, i+1, t.opt.Patience); err != nil {
				return i, err
			}
			if d.completed() <= i {
				return i + 1, nil // lost: no sense in waiting for the others
			}
		}
		return cfg.Singles, nil
	})
}

func (t *trial) publishPaced(cfg *BroadcastConfig, a *audience, p *part) error {
	count := max(1, int(cfg.Rate*cfg.Period.Seconds()))
	return t.publishing(a, p, func(d *deliveries) (int, error) {
		t.progress.show(fmt.Sprintf("%.3g a second", cfg.Rate), 0, 0)
		r := publishRequest{
			Stream: a.stream, Seq: a.nextSeq, Count: count, Bytes: cfg.PayloadBytes,
			StartNs: nowNs() + int64(trafficLead), IntervalNs: int64(float64(time.Second) / cfg.Rate),
		}
		if err := a.publisher.publish(t, r); err != nil {
			return 0, err
		}
		return count, d.await(t, count, t.opt.Patience+time.Duration(r.IntervalNs))
	})
}

// publishWithoutPause keeps a window of messages under way: without one, the
// figure would be how much a server drops, or buffers.
func (t *trial) publishWithoutPause(cfg *BroadcastConfig, a *audience, p *part) error {
	return t.publishing(a, p, func(d *deliveries) (int, error) {
		sent, end := 0, time.Now().Add(cfg.Period)
		for time.Now().Before(end) {
			done := d.completed()
			t.progress.show("without pause", done, 0)
			if more := cfg.Window - (sent - done); more > 0 {
				r := publishRequest{Stream: a.stream, Seq: a.nextSeq + uint64(sent), Count: more, Bytes: cfg.PayloadBytes}
				if err := a.publisher.publish(t, r); err != nil {
					return sent, err
				}
				sent += more
			}
			if err := d.await(t, done+1, t.opt.Patience); err != nil {
				return sent, err
			}
			if d.completed() == done {
				break // lost
			}
		}
		return sent, nil
	})
}

// partTexts introduce the figures of each part.
var partTexts = map[string]string{"single": "one at a time", "paced": "at a rate", "saturated": "without pause", "stalled": "with stalled receivers"}

func (t *trial) reportPart(p *part) {
	text, name := partTexts[p.name]+t.remark, t.prefix+p.name
	if t.measured() {
		t.result.add(name+"_cpu", per(p.server, p.delivered), "us", "server CPU per delivery, "+text)
	}
	if p.name == "saturated" && p.elapsed > 0 {
		t.result.add(t.prefix+"delivery_rate", float64(p.delivered)/p.elapsed.Seconds(), "1/s", "deliveries a second, "+text)
	}
	t.result.addLatency(name+"_last", "to the last receiver, "+text, p.toLast)
	if p.name != "saturated" {
		t.result.addLatency(name+"_each", "to each receiver, "+text, p.toEach)
		t.checkLateness(text, p.lateness)
	}
	t.checkPart(p)
}

func (t *trial) checkPart(p *part) {
	text := partTexts[p.name]
	if p.expected == 0 {
		t.result.fault("%s: nothing was published", text)
	}
	if lost := p.arrivals.Lost(p.expected); lost > 0 {
		t.result.fault("%s: %d of %d deliveries were lost", text, lost, p.expected)
	}
	if p.arrivals.Repeated > 0 || p.arrivals.Disordered > 0 {
		t.result.fault("%s: %d messages came twice, %d out of order", text, p.arrivals.Repeated, p.arrivals.Disordered)
	}
	if p.publisherTooEager > 0 {
		t.result.fault("%s: %d messages were not sent: the server did not read", text, p.publisherTooEager)
	}
	if f := p.arrivals; f.Damaged > 0 || f.Foreign > 0 {
		t.result.fault("%s: %d messages arrived damaged, %d at another connection than theirs", text, f.Damaged, f.Foreign)
	}
}
