// Package clustertest tries to break a cluster of roost serve from outside: processes on
// loopback addresses of their own, clients that wander between them and are cut and stalled,
// publishers with idempotency keys, and faults of nodes, links and the broker meanwhile.
//
//	rig.go       Run: what happens
//	node.go      one process of roost serve
//	wanderer.go  clients
//	publisher.go publishers
//	record.go    what is known of the messages, and what contradicts it
//	links.go     what lies between them and the broker
//	redis.go     Redis as the broker, and its faults
//	nats.go      NATS as the broker
//
// The clients share no code with the server, and follow docs/protocol.md by the letter.
package clustertest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Options say what Run does.
type Options struct {
	// Seed decides on everything that is drawn; what the machine does is drawn anew.
	Seed uint64
	// Binary is a built cmd/roost.
	Binary string
	// Nodes, Clients, Channels and Messages are how many there are.
	Nodes, Clients, Channels, Messages int
	// Backend is what connects the nodes.
	Backend Backend
	// Faults are how many happen, drawn from those of the backend and of nodes: each once
	// before one comes again. 0: each once.
	Faults int
	// Only, if it is not empty, are the names of the faults that are drawn.
	Only []string
	// Patience bounds the wait for the clients at the end.
	Patience time.Duration
}

// A Backend is what connects the nodes: a broker, or what they bring themselves.
type Backend interface {
	// Flags returns the flags of roost serve that node i needs.
	Flags(i int) []string
	// Faults returns what can happen to it.
	Faults(r *Rig) []Fault
}

// A Fault is something that happens to the cluster.
type Fault struct {
	Name string
	// Loses: acknowledged messages may be lost, so that clients are told.
	Loses bool
	// Do lets it happen, and returns when it is over.
	Do func(rng *rand.Rand)
}

// A Rig is one run.
type Rig struct {
	t     testing.TB
	o     Options
	nodes []*node
	known *record
	// strict: nothing is lost, so that nothing may be told.
	strict bool
	calm   atomic.Bool
	begun  time.Time

	acked, refused, unknown, unreached atomic.Int64
	received, connects, cuts, stalls   atomic.Int64
	resumed, told, resets, stale       atomic.Int64
}

// A Result is what has happened.
type Result struct {
	Seed       uint64 `json:"seed"`
	Nodes      int    `json:"nodes"`
	Clients    int    `json:"clients"`
	Channels   int    `json:"channels"`
	Messages   int64  `json:"messages"`
	Refused    int64  `json:"refused"`
	Unknown    int64  `json:"unknown"`
	Unreached  int64  `json:"unreached"`
	Deliveries int64  `json:"deliveries"`
	Connects   int64  `json:"connects"`
	Cuts       int64  `json:"cuts"`
	Stalls     int64  `json:"stalls"`
	Resumed    int64  `json:"resumed"`
	Told       int64  `json:"told"`
	Resets     int64  `json:"resets"`
	Epochs     int    `json:"epochs"`
	// Stale counts how often a client was told of an epoch that it had left already: its new
	// node did not know yet that it was over.
	Stale      int64         `json:"stale"`
	Seconds    float64       `json:"seconds"`
	Faults     []FaultResult `json:"faults"`
	Violations []string      `json:"violations"`
}

// A FaultResult is what has happened during one fault, and until a publication to each node
// succeeded after it.
type FaultResult struct {
	Name    string  `json:"name"`
	Second  float64 `json:"second"`
	Took    float64 `json:"took"`
	Back    float64 `json:"back"`
	Refused int64   `json:"refused"`
	Unknown int64   `json:"unknown"`
	Told    int64   `json:"told"`
}

// Run lets it all happen, and returns what has. Violations are in the result: it is for the
// caller to fail the test.
func Run(t testing.TB, o Options) *Result {
	t.Helper()
	rng := rand.New(rand.NewPCG(o.Seed, 10))
	r := &Rig{t: t, o: o, known: newRecord(), begun: time.Now()}
	faults := r.draw(rng)
	for i := range o.Nodes {
		r.nodes = append(r.nodes, newNode(r, i))
	}
	for _, n := range r.nodes {
		n.start()
	}
	for _, n := range r.nodes {
		n.ready()
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	wanderers := make([]*wanderer, o.Clients)
	for i := range wanderers {
		w := newWanderer(r, i)
		wanderers[i] = w
		clients.Go(func() { w.run(stop) })
	}
	var publishers sync.WaitGroup
	const publisherCount = 12
	var next atomic.Int64
	for i := range publisherCount {
		p := newPublisher(r, i)
		publishers.Go(func() {
			for n := next.Add(1); n <= int64(o.Messages); n = next.Add(1) {
				p.publish(int(n))
			}
		})
	}
	defer r.report()()
	result := &Result{Seed: o.Seed, Nodes: o.Nodes, Clients: o.Clients, Channels: o.Channels}
	for k, f := range faults {
		due := int64(o.Messages) * int64(k+1) / int64(len(faults)+1)
		for next.Load() < due {
			time.Sleep(20 * time.Millisecond)
		}
		result.Faults = append(result.Faults, r.do(f, rng))
	}
	publishers.Wait()
	r.progress("published; waiting for the clients")
	r.calm.Store(true)
	r.settle(wanderers)
	close(stop)
	clients.Wait()
	result.Messages, result.Refused, result.Unknown, result.Unreached = r.acked.Load(), r.refused.Load(), r.unknown.Load(), r.unreached.Load()
	result.Deliveries, result.Connects, result.Cuts, result.Stalls = r.received.Load(), r.connects.Load(), r.cuts.Load(), r.stalls.Load()
	result.Resumed, result.Told, result.Resets, result.Epochs = r.resumed.Load(), r.told.Load(), r.resets.Load(), r.known.epochs()
	result.Stale = r.stale.Load()
	result.Seconds = time.Since(r.begun).Seconds()
	result.Violations = r.known.violations()
	return result
}

// draw draws the faults, and decides how strict the run is.
func (r *Rig) draw(rng *rand.Rand) []Fault {
	var all []Fault
	for _, f := range append(r.o.Backend.Faults(r), r.nodeFaults()...) {
		if len(r.o.Only) == 0 {
			all = append(all, f)
		}
		for _, name := range r.o.Only {
			if f.Name == name {
				all = append(all, f)
			}
		}
	}
	var faults []Fault
	count := r.o.Faults
	if count == 0 {
		count = len(all)
	}
	for len(all) > 0 && len(faults) < count {
		for _, k := range rng.Perm(len(all)) {
			if len(faults) < count {
				faults = append(faults, all[k])
			}
		}
	}
	r.strict = true
	for _, f := range faults {
		r.strict = r.strict && !f.Loses
	}
	return faults
}

// do lets one fault happen, and waits until each node publishes again.
func (r *Rig) do(f Fault, rng *rand.Rand) FaultResult {
	began := time.Now()
	refused, unknown, told := r.refused.Load()+r.unreached.Load(), r.unknown.Load(), r.told.Load()+r.resets.Load()
	r.progress("fault: " + f.Name)
	f.Do(rng)
	over := time.Now()
	for i := range r.nodes {
		for deadline := time.Now().Add(r.o.Patience); ; time.Sleep(20 * time.Millisecond) {
			if _, err := r.post(i, publication{Channel: r.channel(0), Key: fmt.Sprintf("probe-%d-%d", i, time.Now().UnixNano())}); err == nil {
				break
			}
			if time.Now().After(deadline) {
				r.known.violate("node %d does not publish %v after %s", i, r.o.Patience, f.Name)
				break
			}
		}
	}
	return FaultResult{
		Name: f.Name, Second: began.Sub(r.begun).Seconds(), Took: over.Sub(began).Seconds(), Back: time.Since(over).Seconds(),
		Refused: r.refused.Load() + r.unreached.Load() - refused, Unknown: r.unknown.Load() - unknown, Told: r.told.Load() + r.resets.Load() - told,
	}
}

// channel is the name of channel i.
func (r *Rig) channel(i int) string { return fmt.Sprintf("news:%d", i) }

// progress says how far the run is.
func (r *Rig) progress(what string) {
	r.t.Logf("%6.1f s  %7d published (%d refused, %d unknown, %d nodes not reached)  %8d delivered  %6d connects  %5d told  %5d resets  %s",
		time.Since(r.begun).Seconds(), r.acked.Load(), r.refused.Load(), r.unknown.Load(), r.unreached.Load(), r.received.Load(), r.connects.Load(), r.told.Load(), r.resets.Load(), what)
}

// report says every 10 s how far the run is, until its result is called.
func (r *Rig) report() (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(10 * time.Second); ; r.progress("") {
			select {
			case <-over:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(over); <-ended }
}

// settle publishes once more to each channel, waits until every client is there, and
// compares what was acknowledged with the histories that the nodes return.
func (r *Rig) settle(wanderers []*wanderer) {
	tips := map[string]place{}
	for i := range r.o.Channels {
		p := publication{Channel: r.channel(i), Key: fmt.Sprintf("last-%d-%d", i, time.Now().UnixNano())}
		for deadline := time.Now().Add(r.o.Patience); ; time.Sleep(20 * time.Millisecond) {
			at, err := r.post(i%len(r.nodes), p)
			if err == nil {
				tips[p.Channel] = at
				break
			}
			if time.Now().After(deadline) {
				r.known.violate("%s: nothing can be published at the end: %v", p.Channel, err)
				return
			}
		}
	}
	for deadline := time.Now().Add(r.o.Patience); ; time.Sleep(50 * time.Millisecond) {
		behind, example := 0, ""
		for _, w := range wanderers {
			if missing := w.missing(tips); missing != "" {
				behind, example = behind+1, missing
			}
		}
		if behind == 0 {
			break
		}
		if time.Now().After(deadline) {
			r.known.violate("%d clients do not come to the end; one of them: %s", behind, example)
			break
		}
	}
	r.progress("the clients are at the end")
	for i := range r.o.Channels {
		name := r.channel(i)
		r.known.compare(name, tips[name], r.history(i%len(r.nodes), name))
	}
}

// Table is the result for people.
func (r *Result) Table() string {
	s := fmt.Sprintf("seed %d: %d nodes, %d clients, %d channels, %d messages (%d refused, %d unknown, %d nodes not reached), %d deliveries, %d connections, %d cuts, %d stalls; "+
		"resumed %d times, told %d times that something may be missing and by %d resets (%d of an epoch that was over), %d epochs; %.0f s\n\n",
		r.Seed, r.Nodes, r.Clients, r.Channels, r.Messages, r.Refused, r.Unknown, r.Unreached, r.Deliveries, r.Connects, r.Cuts, r.Stalls, r.Resumed, r.Told, r.Resets, r.Stale, r.Epochs, r.Seconds)
	s += "| fault | at | took | until all nodes publish | refused | unknown | told |\n|---|---|---|---|---|---|---|\n"
	for _, f := range r.Faults {
		s += fmt.Sprintf("| %s | %.1f s | %.1f s | %.2f s | %d | %d | %d |\n", f.Name, f.Second, f.Took, f.Back, f.Refused, f.Unknown, f.Told)
	}
	return s + fmt.Sprintf("\n%d violations\n", len(r.Violations))
}

// Write writes the result as JSON.
func (r *Result) Write(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
