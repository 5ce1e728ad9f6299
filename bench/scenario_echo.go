package bench

import (
	"context"
	"time"
)

// RunEcho sends messages to a server that sends each one back: at a given rate,
// for latencies, then as fast as they come back, for CPU per message.
//
// Coordinated omission: the messages of the paced part have a timetable that
// does not depend on the server. A latency counts from the time at which the
// message was due, so that a server that stops for 100 ms delays all messages
// of these 100 ms in the figures, too.
func RunEcho(ctx context.Context, cfg EchoConfig) (*Result, error) {
	setDefault(&cfg.Rate, 2000)
	setDefault(&cfg.Period, 10*time.Second)
	if err := cfg.setDefaults(1000, 2*time.Minute+2*cfg.Period); err != nil {
		return nil, err
	}
	return runTrial(ctx, "echo", &cfg.Options, func(t *trial) error { return t.echo(&cfg) })
}

func (t *trial) echo(cfg *EchoConfig) error {
	if _, err := t.open("opening"); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	every := func(int) bool { return true }
	t.progress.show("at a rate", 0, 0)
	paced, use, err := t.traffic("at a rate", cfg.Period, classSpec{name: "paced", take: every, rate: cfg.Rate})
	if err != nil {
		return err
	}
	c := paced[0]
	t.checkEchoes("at a rate", c)
	t.checkLateness("at a rate", c.Lateness)
	t.result.add("paced_rate", float64(c.Received)/cfg.Period.Seconds(), "1/s", "messages a second, at a rate")
	if t.measured() {
		t.result.add("paced_cpu", per(use.server, c.Received), "us", "server CPU per message, at a rate")
	}
	t.result.addLatency("echo", "round trip at a rate", c.Latency)

	t.progress.show("saturated", 0, 0)
	full, use, err := t.traffic("saturated", cfg.Period, classSpec{name: "saturated", take: every})
	if err != nil {
		return err
	}
	c = full[0]
	t.checkEchoes("saturated", c)
	t.result.add("echo_rate", float64(c.Received)/cfg.Period.Seconds(), "1/s", "messages a second, saturated")
	if t.measured() {
		t.result.add("echo_cpu", per(use.server, c.Received), "us", "server CPU per message, saturated")
	}
	return nil
}

// classSpec is a traffic class of all generators together.
type classSpec struct {
	name string
	// take reports whether a connection, by its number, belongs to the class.
	take func(n int) bool
	// rate is messages a second of the whole class, 0 for as fast as they come
	// back.
	rate float64
}

// trafficLead is the time between telling the generators and the start.
const trafficLead = 100 * time.Millisecond

// traffic runs classes for period and returns what was sent and received of each.
func (t *trial) traffic(step string, period time.Duration, specs ...classSpec) ([]classReply, spent, error) {
	start := nowNs() + int64(trafficLead)
	p := t.begin(step)
	replies, err := t.fleet.callAll(t.ctx, func(m *member) request {
		r := &trafficRequest{
			StartNs: start, RecordNs: start + int64(period)/10, EndNs: start + int64(period),
			DrainNs: int64(t.opt.Patience), Bytes: t.opt.PayloadBytes,
		}
		for _, spec := range specs {
			r.Classes = append(r.Classes, m.class(spec, t.opt.Connections))
		}
		return request{Op: opTraffic, Traffic: r}
	})
	if err != nil {
		return nil, spent{}, err
	}
	use := t.end(p)
	sums := make([]classReply, len(specs))
	for k := range sums {
		sums[k] = classReply{Name: specs[k].name, Latency: newHistogram(), Lateness: newHistogram()}
		for _, r := range replies {
			c := r.Traffic[k]
			sums[k].Sent += c.Sent
			sums[k].Received += c.Received
			sums[k].Backlogged += c.Backlogged
			sums[k].Arrivals.add(c.Arrivals)
			sums[k].Latency.merge(c.Latency)
			sums[k].Lateness.merge(c.Lateness)
		}
	}
	return sums, use, nil
}

// class is this member's part of a class of conns connections in all.
func (m *member) class(spec classSpec, conns int) trafficClass {
	c := trafficClass{Name: spec.name}
	all := 0
	for n := range conns {
		if !spec.take(n) {
			continue
		}
		all++
		if n >= m.first && n < m.first+m.count {
			c.Conns = append(c.Conns, n)
		}
	}
	if spec.rate > 0 && len(c.Conns) > 0 {
		share := spec.rate * float64(len(c.Conns)) / float64(all)
		c.IntervalNs = max(1, int64(float64(time.Second)/share))
	}
	return c
}

func (t *trial) checkEchoes(step string, c classReply) {
	if c.Sent == 0 {
		t.result.fault("%s: nothing was sent", step)
	}
	if lost := c.Arrivals.Lost(c.Sent); lost > 0 {
		t.result.fault("%s: %d of %d messages did not come back", step, lost, c.Sent)
	}
	if c.Arrivals.Repeated > 0 || c.Arrivals.Disordered > 0 {
		t.result.fault("%s: %d messages came back twice, %d out of order", step, c.Arrivals.Repeated, c.Arrivals.Disordered)
	}
	if c.Backlogged > 0 {
		t.result.fault("%s: %d messages were not sent: the server did not read", step, c.Backlogged)
	}
}
