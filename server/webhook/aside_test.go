package webhook

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/server/protocol"
)

// picky is an application that fails on batches with certain messages and keeps the
// events of those that it accepts.
type picky struct {
	*receiver
	fail func(w http.ResponseWriter, r *http.Request)

	mu       sync.Mutex
	poison   map[string]bool // by data; guarded by mu
	accepted []Event         // guarded by mu
	late     []Event         // those of accepted that were said to be late; guarded by mu
	dropped  uint64          // as told; guarded by mu
}

func newPicky(t *testing.T, poison ...int) *picky {
	t.Helper()
	p := &picky{poison: map[string]bool{}, fail: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }}
	for _, n := range poison {
		p.poison[strconv.Itoa(n)] = true
	}
	p.receiver = newReceiver(t, func(n int, w http.ResponseWriter, r *http.Request) {
		b := p.receiver.all()[n].batch
		if p.take(b) {
			return
		}
		p.fail(w, r)
	})
	return p
}

// take reports whether a batch is accepted.
func (p *picky) take(b Batch) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range b.Events {
		if p.poison[string(e.Data)] {
			return false
		}
	}
	p.accepted = append(p.accepted, b.Events...)
	if b.Late {
		p.late = append(p.late, b.Events...)
	}
	p.dropped += b.Dropped
	return true
}

// mend lets the application accept everything.
func (p *picky) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.poison)
}

// got returns the numbers of the accepted messages, and of those that were late.
func (p *picky) got() (all, late []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.accepted {
		all = append(all, string(e.Data))
	}
	for _, e := range p.late {
		late = append(late, string(e.Data))
	}
	return all, late
}

// message is number n, of one of ten clients, in one of channels channels.
func message(n, channels int) *protocol.Event {
	return &protocol.Event{
		Type: protocol.EventMessage, Client: "client" + strconv.Itoa(n%10), Channel: "channel" + strconv.Itoa(n%channels),
		Data: []byte(strconv.Itoa(n)),
	}
}

// without returns the names that are not in left.
func without(names []string, left ...int) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		n, err := strconv.Atoi(name)
		return err == nil && slices.Contains(left, n)
	})
}

// An event that the application fails on is found and set aside, wherever it is and
// however the application fails; all others arrive, in order. When the application is
// mended the event arrives too, and is said to be late.
func TestPoisonedEventDoesNotHoldUpOthers(t *testing.T) {
	const events = 40
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, tc := range []struct {
		name            string
		poison          []int
		batch, channels int
		fail            func(http.ResponseWriter, *http.Request)
	}{
		{"in the middle", []int{17}, 500, 40, status(500)},
		{"first", []int{0}, 500, 40, status(500)},
		{"last", []int{39}, 500, 40, status(500)},
		{"side by side", []int{16, 17, 18}, 500, 40, status(500)},
		{"the first of all, side by side", []int{0, 1, 2}, 500, 40, status(500)},
		{"small batches", []int{5, 6, 30}, 1, 40, status(502)},
		{"a single channel", []int{0, 20, 21}, 7, 1, status(503)},
		{"the connection is cut", []int{11}, 9, 3, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			app := newPicky(t, tc.poison...)
			app.fail = tc.fail
			var log logBuffer
			s := newSender(t, app.URL, func(c *SenderConfig) { c.BatchMaxEvents, c.Logger = tc.batch, log.logger() })
			for n := range events {
				s.Event(message(n, tc.channels))
			}
			waitFor(t, "all other events are accepted", func() bool {
				all, _ := app.got()
				return len(all) == events-len(tc.poison)
			})
			// The last one is set aside only when there is proof; then it waits.
			for n := events; s.Stats().SetAside < uint64(len(tc.poison)); n++ {
				s.Event(message(n, tc.channels))
				waitFor(t, "another event is accepted", func() bool { all, _ := app.got(); return len(all) == n+1-len(tc.poison) })
			}
			all, late := app.got()
			if want := without(numbers(0, len(all)+len(tc.poison)), tc.poison...); len(late) == 0 && !slices.Equal(all, want) {
				t.Errorf("got %q, want all others in order", all)
			}
			checkOrder(t, app)
			waitFor(t, "only those wait", func() bool { return s.Stats().QueuedEvents == int64(len(tc.poison)) })
			if stats := s.Stats(); stats.AsideEvents != int64(len(tc.poison)) || stats.QueuedBytes == 0 || stats.Dropped != 0 {
				t.Errorf("%+v, want %d events set aside", stats, len(tc.poison))
			}
			if text := log.String(); !strings.Contains(text, "an event is set aside") || !strings.Contains(text, "type=message") {
				t.Errorf("the log does not say that an event is set aside:\n%s", text)
			}
			app.mend()
			waitFor(t, "the events that were set aside arrive", func() bool { return s.Stats().AsideEvents == 0 })
			_, late = app.got()
			for _, n := range tc.poison {
				if !slices.Contains(late, strconv.Itoa(n)) {
					t.Errorf("event %d is not among the late ones, %q", n, late)
				}
			}
			waitFor(t, "nothing waits", func() bool { return s.Stats().QueuedEvents == 0 })
			if stats := s.Stats(); stats.QueuedEvents != 0 || stats.QueuedBytes != 0 || stats.Dropped != 0 || stats.Sent != uint64(len(all)+len(tc.poison)) {
				t.Errorf("%+v, want all sent", stats)
			}
		})
	}
}

// checkOrder checks the promise: each event once, and in order for each client and
// each channel, unless it is late.
func checkOrder(t *testing.T, app *picky) {
	t.Helper()
	app.mu.Lock()
	defer app.mu.Unlock()
	late := map[string]bool{}
	for _, e := range app.late {
		late[string(e.Data)] = true
	}
	last, seen := map[string]int{}, map[string]bool{}
	for _, e := range app.accepted {
		if seen[string(e.Data)] {
			t.Errorf("event %s was accepted twice", e.Data)
		}
		if seen[string(e.Data)] = true; late[string(e.Data)] {
			continue
		}
		n, err := strconv.Atoi(string(e.Data))
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range []string{e.Client, e.Channel} {
			if before, ok := last[of]; ok && before > n {
				t.Errorf("%s: event %d comes after %d and is not late", of, n, before)
			}
			last[of] = n
		}
	}
}

// An application that fails on everything gets one request after each pause, whose
// length grows; nothing is set aside, nothing is lost, and the order holds.
func TestOutageIsNotTakenForPoison(t *testing.T) {
	for _, batch := range []int{1, 500} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			t.Parallel()
			app := newPicky(t)
			var down sync.Map
			down.Store("", true)
			app.receiver.answer = func(n int, w http.ResponseWriter, r *http.Request) {
				if _, is := down.Load(""); is {
					w.WriteHeader(500)
				} else if !app.take(app.receiver.all()[n].batch) {
					t.Error("an event is refused")
				}
			}
			c := SenderConfig{
				URL: app.URL, Secrets: []string{testSecret}, BatchMaxDelay: time.Millisecond, BatchMaxEvents: batch,
				RetryMinDelay: time.Millisecond, RetryMaxDelay: time.Millisecond,
			}
			s, err := makeSender(c)
			if err != nil {
				t.Fatal(err)
			}
			defer s.endpoint.close()
			const events = 60
			for n := range events {
				s.Event(message(n, 30))
			}
			s.gather(nil)
			const tries = 50
			for try := range tries {
				s.step()
				if s.failures != try+1 || s.backoff.Attempts != try {
					t.Fatalf("after try %d: %d failures, %d pauses", try+1, s.failures, s.backoff.Attempts)
				}
			}
			if got := len(app.receiver.all()); got != tries {
				t.Errorf("%d requests in %d tries", got, tries)
			}
			down.Delete("")
			go s.run()
			if err := closeIn(t, s, 30*time.Second); err != nil {
				t.Fatal(err)
			}
			checkOrder(t, app)
			all, late := app.got()
			if stats := s.Stats(); len(all) != events || len(late) != 0 || stats.SetAside != 0 || stats.Sent != events {
				t.Errorf("%d events arrived, %q of them late; %+v", len(all), late, stats)
			}
		})
	}
}

// A random application fails on random events, and now and then on everything: each
// event arrives exactly once, and the order is as promised.
func TestRandomFailures(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			const events = 300
			var poison []int
			for range rng.IntN(12) {
				poison = append(poison, rng.IntN(events))
			}
			app := newPicky(t, poison...)
			var downs []int
			for range rng.IntN(4) {
				downs = append(downs, rng.IntN(60))
			}
			length := 1 + rng.IntN(10)
			app.receiver.answer = func(n int, w http.ResponseWriter, r *http.Request) {
				for _, from := range downs {
					if n >= from && n < from+length {
						w.WriteHeader(500 + n%5)
						return
					}
				}
				if !app.take(app.receiver.all()[n].batch) {
					w.WriteHeader(500)
				}
			}
			s := newSender(t, app.URL, func(c *SenderConfig) {
				c.BatchMaxEvents = 1 + rng.IntN(50)
				c.RetryMinDelay, c.RetryMaxDelay = time.Millisecond, time.Millisecond
			})
			channels := 1 + rng.IntN(20)
			for n := range events {
				s.Event(message(n, channels))
			}
			waitFor(t, "all other events are accepted", func() bool {
				all, _ := app.got()
				return len(without(all, poison...)) == len(without(numbers(0, events), poison...))
			})
			app.mend()
			waitFor(t, "all are delivered", func() bool { return s.Stats().QueuedEvents == 0 })
			if err := closeIn(t, s, 30*time.Second); err != nil {
				t.Errorf("poison %v, down at %v for %d: %v", poison, downs, length, err)
			}
			checkOrder(t, app)
			all, _ := app.got()
			slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
			if !slices.Equal(all, numbers(0, events)) {
				t.Errorf("poison %v, down at %v for %d: got %q", poison, downs, length, all)
			}
		})
	}
}

// At most asideMaxEvents are set aside; further ones are dropped and told, as are those
// that fail for RetryMaxAge.
func TestSetAsideIsBounded(t *testing.T) {
	var poison []int
	for n := range asideMaxEvents + 20 {
		poison = append(poison, 2*n)
	}
	app := newPicky(t, poison...)
	s := newSender(t, app.URL, func(c *SenderConfig) { c.BatchMaxEvents = 8 })
	const events = 2 * (asideMaxEvents + 20)
	for n := range events {
		s.Event(message(n, events))
	}
	waitFor(t, "all others are accepted and the rest is dropped", func() bool {
		s.Event(message(events+1, 1)) // what was last may be waiting for a proof
		all, _ := app.got()
		return len(without(all, events+1)) == asideMaxEvents+20 && s.Stats().Dropped == 20
	})
	if stats := s.Stats(); stats.AsideEvents != asideMaxEvents || stats.SetAside != asideMaxEvents || stats.DroppedByType[protocol.EventMessage] != 20 {
		t.Errorf("%+v, want %d set aside and 20 dropped", stats, asideMaxEvents)
	}
	err := closeIn(t, s, 30*time.Second)
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(asideMaxEvents)+" events were not delivered") {
		t.Errorf("Close: %v, want it to count the events that were set aside", err)
	}
	if app.dropped != 20 {
		t.Errorf("%d dropped events were told, want 20", app.dropped)
	}
}

// An event that fails for RetryMaxAge after it was set aside is dropped, and told.
func TestSetAsideUntilRetryMaxAge(t *testing.T) {
	app := newPicky(t, 0)
	var log logBuffer
	s := newSender(t, app.URL, func(c *SenderConfig) { c.BatchMaxEvents, c.RetryMaxAge, c.Logger = 1, time.Second, log.logger() })
	s.Event(message(0, 10))
	s.Event(message(1, 10))
	waitFor(t, "the event is set aside", func() bool { return s.Stats().SetAside == 1 })
	waitFor(t, "it is given up", func() bool { return s.Stats().AsideEvents == 0 })
	s.Event(message(2, 10))
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	stats := s.Stats()
	if stats.Dropped != 1 || stats.Sent != 2 || stats.QueuedBytes != 0 || app.dropped != 1 {
		t.Errorf("%+v, %d told as dropped; want 1 event dropped and told", stats, app.dropped)
	}
	if text := log.String(); !strings.Contains(text, "it failed for 1s, last with: HTTP 500") {
		t.Errorf("the log does not say why:\n%s", text)
	}
}

// The body of a late batch, as docs/webhooks.md shows it.
func TestLateBatchAsJSON(t *testing.T) {
	b := newBatch(&encoded{json: []byte(`{"type":"connected","time":1}`)})
	b.setLate()
	b.prepare(nil, 2, 5)
	if got, want := string(b.body), `{"events":[{"type":"connected","time":1}],"late":true,"dropped":3}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var back Batch
	if err := json.Unmarshal(b.body, &back); err != nil || !back.Late || back.Dropped != 3 {
		t.Errorf("%+v, %v", back, err)
	}
	id := b.id
	if b.prepare(nil, 2, 7); b.id != id {
		t.Error("another attempt has another id")
	}
	if b.prepare(nil, 5, 7); b.id == id || b.untold != 2 {
		t.Error("what another batch has told is told again")
	}
}
