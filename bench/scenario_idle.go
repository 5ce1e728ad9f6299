package bench

import (
	"context"
	"time"
)

// RunIdle opens connections and leaves them alone: what does one cost to open,
// and to keep? It ends within about a minute and Period. By default the server
// gets 5 s to come to rest, since some clean up only after some idle seconds.
func RunIdle(ctx context.Context, cfg IdleConfig) (*Result, error) {
	setDefault(&cfg.Period, 10*time.Second)
	setDefault(&cfg.Settle, 5*time.Second)
	if err := cfg.over(cfg.Transport); err != nil {
		return nil, err
	}
	if err := cfg.setDefaults(10_000, 2*time.Minute+cfg.Period); err != nil {
		return nil, err
	}
	return runTrial(ctx, "idle", &cfg.Options, func(t *trial) error { return t.idle(cfg.Period) })
}

func (t *trial) idle(period time.Duration) error {
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
	o, err := t.open("opening")
	if err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	after, err := readMemory(t.opt.PIDs)
	if err != nil {
		return err
	}
	t.progress.show("idle", 0, 0)
	p := t.begin("idle")
	if err := t.pause(period); err != nil {
		return err
	}
	rest := t.end(p)
	v, err := t.views()
	if err != nil {
		return err
	}

	r, n := t.result, float64(o.count)
	if t.measured() {
		r.add("user_bytes_per_conn", float64(after.anonymous-before.anonymous)/n, "B", "user-space memory per connection")
		r.add("pss_bytes_per_conn", float64(after.pss-before.pss)/n, "B", "the same by Pss")
		r.add("open_cpu", per(o.server, uint64(o.count)), "us", "server CPU per connection opened")
		r.add("idle_cpu", rest.server.Seconds()/rest.wall.Seconds()*100, "%", "server CPU while idle, of one core")
		r.add("idle_cpu_100k", rest.server.Seconds()/rest.wall.Seconds()*100*100_000/n, "%", "the same for 100,000 connections, if it grows with them")
	}
	r.add("kernel_bytes_per_pair", float64(after.slab-before.slab)/n, "B", "kernel memory per connection, both ends")
	r.add("open_rate", n/o.wall.Seconds(), "1/s", "connections opened a second")
	r.addLatency("open", t.opt.transport.openText(), o.latency)
	r.add("pings", float64(v.Pings), "", "pings received")
	return nil
}
