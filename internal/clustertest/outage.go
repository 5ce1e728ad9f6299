package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// An Outage is a broker that is away for a while.
type Outage struct {
	Name string
	// Begin and End are its beginning and its end.
	Begin, End func()
	// Loses: it comes back without its memory.
	Loses bool
	// Reads, if it is not nil, returns how many scripts the broker has run. It is asked after
	// the end: it may have begun at 0 with it.
	Reads func() int
}

// RunOutage keeps clients connected to all nodes while the broker is away, and checks what
// docs/cluster.md says of it: connections stay, publications are refused with a clear
// problem, /readyz says what and since when, and every client gets what it missed or is told
// when the broker is back, for one read of each channel and node.
func RunOutage(t testing.TB, o Options, outage Outage, away time.Duration) {
	t.Helper()
	r := &Rig{t: t, o: o, known: newRecord(), begun: time.Now(), strict: !outage.Loses}
	r.calm.Store(true) // nobody is cut or stalled
	for i := range o.Nodes {
		r.nodes = append(r.nodes, newNode(r, i))
		r.nodes[i].start()
	}
	for _, n := range r.nodes {
		n.ready()
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var wanderers []*wanderer
	for i := range o.Clients {
		w := newWanderer(r, i)
		wanderers = append(wanderers, w)
		clients.Go(func() { w.run(stop) })
	}
	defer func() {
		close(stop)
		clients.Wait()
		for _, v := range r.known.violations() {
			t.Error(v)
		}
	}()
	r.settle(wanderers)
	connects := r.connects.Load()
	if connects != int64(o.Clients) {
		t.Fatalf("%d connections of %d clients", connects, o.Clients)
	}

	began := time.Now()
	outage.Begin()
	r.progress("the broker is away")
	var asked sync.WaitGroup
	for i := range r.nodes {
		asked.Go(func() { r.refusedClearly(i) }) // a broker that is silent is given 3 s
	}
	asked.Wait()
	for time.Since(began) < away {
		time.Sleep(50 * time.Millisecond)
	}
	for i := range r.nodes {
		r.refusedClearly(i)
		r.unready(i, began)
	}
	outage.End()
	back := time.Now()
	for _, n := range r.nodes {
		n.ready()
	}
	r.progress(fmt.Sprintf("ready %v after the end", time.Since(back).Round(time.Millisecond)))
	var reads int
	if outage.Reads != nil {
		reads = outage.Reads()
	}
	r.settle(wanderers)
	r.progress(fmt.Sprintf("exact or told %v after the end", time.Since(back).Round(time.Millisecond)))
	if n := r.connects.Load(); n != connects {
		t.Errorf("clients made %d connections anew", n-connects)
	}
	switch told := r.told.Load() + r.resets.Load(); {
	case outage.Loses && told == 0:
		t.Error("the memory was lost, and no client was told")
	case !outage.Loses && told > 0:
		t.Errorf("clients were told %d times, and nothing was lost", told)
	}
	if outage.Reads != nil {
		// Each node has each channel, and there is a publication to each. A message that comes
		// while its channel is read may cost that node another read.
		most := o.Channels*(o.Nodes+1)*5/4 + 3*o.Nodes
		t.Logf("%d scripts before it was ready again, %d in all, for %d channels on %d nodes", reads, outage.Reads(), o.Channels, o.Nodes)
		if got := outage.Reads(); got > most {
			t.Errorf("the broker has run %d scripts after its return, want %d at most", got, most)
		}
	}
}

// refusedClearly publishes through a node that can't, and checks what it says.
func (r *Rig) refusedClearly(i int) {
	began := time.Now()
	response, err := web.Post("http://"+r.nodes[i].admin+"/v1/publish", "application/json", strings.NewReader(fmt.Sprintf(`{"channel":%q,"data":{"k":"refused by %d at %d"},"wait":"0s"}`, r.channel(0), i, began.UnixNano())))
	if err != nil {
		r.t.Errorf("node %d: %v", i, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	var problem struct {
		Status       int
		Code, Detail string
		RetryAfter   float64 `json:"retry_after"`
	}
	_ = json.Unmarshal(text, &problem)
	clear := map[int]string{503: "broker_away", 504: "broker_silent"}[response.StatusCode]
	if problem.Code != clear || clear == "" || problem.Status != response.StatusCode || !strings.Contains(problem.Detail, "gain") ||
		response.StatusCode == 503 && (problem.RetryAfter <= 0 || response.Header.Get("Retry-After") == "") {
		r.t.Errorf("node %d, while the broker is away, after %v: %d %s, Retry-After %q", i, time.Since(began), response.StatusCode, text, response.Header.Get("Retry-After"))
	}
	if took := time.Since(began); took > 10*time.Second {
		r.t.Errorf("node %d refused after %v", i, took)
	}
}

// unready checks what /readyz and /healthz say of a node that can't publish.
func (r *Rig) unready(i int, since time.Time) {
	for path, want := range map[string]int{"/readyz": 503, "/healthz": 200} {
		response, err := web.Get("http://" + r.nodes[i].admin + path)
		if err != nil {
			r.t.Errorf("node %d: %v", i, err)
			continue
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want || want == http.StatusServiceUnavailable && !strings.Contains(string(text), "The broker has failed for ") {
			r.t.Errorf("node %d: %s: %d %s, %v after the beginning", i, path, response.StatusCode, text, time.Since(since).Round(time.Second))
		}
		r.t.Logf("node %d, %v after the beginning: %s: %s", i, time.Since(since).Round(100*time.Millisecond), path, text)
	}
}
