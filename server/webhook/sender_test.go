package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

// newSender starts a Sender that is quick to send and to try again, and closes
// it when the test ends.
func newSender(t *testing.T, url string, change func(*SenderConfig)) *Sender {
	t.Helper()
	c := SenderConfig{
		URL: url, Secrets: []string{testSecret}, BatchMaxDelay: time.Millisecond,
		RetryMinDelay: time.Millisecond, RetryMaxDelay: 5 * time.Millisecond, Timeout: 20 * time.Second,
	}
	if change != nil {
		change(&c)
	}
	s, err := NewSender(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Close(ctx) // what is left is of no interest
	})
	return s
}

func connected(n int) *protocol.Event {
	return &protocol.Event{Type: protocol.EventConnected, Time: time.Now(), Client: strconv.Itoa(n)}
}

func closeIn(t *testing.T, s *Sender, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s.Close(ctx)
}

// clients are the names in all batches, in order of arrival.
func clients(requests []received) (names []string) {
	for _, r := range requests {
		for _, e := range r.batch.Events {
			names = append(names, e.Client)
		}
	}
	return names
}

func numbers(from, to int) (names []string) {
	for n := from; n < to; n++ {
		names = append(names, strconv.Itoa(n))
	}
	return names
}

// Each type of event, as docs/webhooks.md shows it.
func TestEventsAsJSON(t *testing.T) {
	at := time.UnixMilli(1764000000123)
	position := history.Position{Epoch: "k3v9", Offset: 16}
	for _, tc := range []struct {
		event protocol.Event
		want  string
	}{
		{protocol.Event{Type: protocol.EventConnected, Time: at, Client: "c1", User: "42"},
			`{"type":"connected","time":1764000000123,"client":"c1","user":"42"}`},
		{protocol.Event{Type: protocol.EventConnected, Time: at, Client: "c1"},
			`{"type":"connected","time":1764000000123,"client":"c1"}`},
		{protocol.Event{Type: protocol.EventDisconnected, Time: at, Client: "c1", User: "42", Code: 1001, Reason: "bye", Age: 12345678 * time.Microsecond},
			`{"type":"disconnected","time":1764000000123,"client":"c1","user":"42","code":1001,"reason":"bye","age":12.346}`},
		{protocol.Event{Type: protocol.EventDisconnected, Time: at, Client: "c1"},
			`{"type":"disconnected","time":1764000000123,"client":"c1","code":0,"age":0}`},
		{protocol.Event{Type: protocol.EventSubscribed, Time: at, Client: "c1", User: "42", Channel: "news"},
			`{"type":"subscribed","time":1764000000123,"client":"c1","user":"42","channel":"news"}`},
		{protocol.Event{Type: protocol.EventOccupied, Time: at, Channel: "news"},
			`{"type":"occupied","time":1764000000123,"channel":"news"}`},
		{protocol.Event{Type: protocol.EventMessage, Time: at, Client: "c1", User: "42", Channel: "room:1", Position: position, Data: []byte(`{"text":"a < b & c"}`)},
			`{"type":"message","time":1764000000123,"client":"c1","user":"42","channel":"room:1","epoch":"k3v9","offset":16,"data":{"text":"a < b & c"}}`},
		{protocol.Event{Type: protocol.EventMessage, Time: at, Client: "c1", Channel: "room:1", Data: []byte("\xff{")},
			`{"type":"message","time":1764000000123,"client":"c1","channel":"room:1","data":"/3s=","encoding":"base64"}`},
		{protocol.Event{Type: protocol.EventAcknowledged, Time: at, Client: "c1", User: "42", Channel: "room:1", Position: history.Position{Epoch: "k3v9"}},
			`{"type":"acknowledged","time":1764000000123,"client":"c1","user":"42","channel":"room:1","epoch":"k3v9","offset":0}`},
	} {
		if got := string(encode(&tc.event)); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.event.Type, got, tc.want)
		}
	}
}

// Every type of event that the server has can be sent.
func TestEveryEventTypeCanBeSent(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../protocol/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(spec.Type) == "EventType" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, text)
		}
		return true
	})
	if len(declared) < 8 {
		t.Fatalf("only %q were found: the test looks at the wrong place", declared)
	}
	for _, kind := range declared {
		if !slices.Contains(allEvents, protocol.EventType(kind)) {
			t.Errorf("allEvents lacks %q", kind)
		}
	}
}

func TestEventsArriveInOrderAndSigned(t *testing.T) {
	rec := newReceiver(t, nil)
	s := newSender(t, rec.URL+"/hook?x=1", func(c *SenderConfig) {
		c.BatchMaxEvents = 7
		c.Secrets = []string{testSecret, oldSecret}
	})
	for n := range 100 {
		s.Event(connected(n))
	}
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	requests := rec.all()
	if got := clients(requests); !slices.Equal(got, numbers(0, 100)) {
		t.Errorf("got %q", got)
	}
	ids := map[string]bool{}
	for _, r := range requests {
		if n := len(r.batch.Events); n < 1 || n > 7 {
			t.Errorf("a batch of %d events, want 1 to 7", n)
		}
		id, timestamp := r.header.Get("webhook-id"), r.header.Get("webhook-timestamp")
		if ids[id] || !strings.HasPrefix(id, "msg_") || strings.Contains(id, ".") {
			t.Errorf("webhook-id %q", id)
		}
		ids[id] = true
		if seconds, err := strconv.ParseInt(timestamp, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
			t.Errorf("webhook-timestamp %q is not now", timestamp)
		}
		// Computed here once more, with nothing of what is tested.
		var want []string
		for _, key := range []string{"ABCABCABCABCABCABCABCABC", "xyzxyzxyzxyzxyzxyzxyzxyz"} {
			mac := hmac.New(sha256.New, []byte(key))
			fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, r.body)
			want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
		if got := r.header.Get("webhook-signature"); got != strings.Join(want, " ") {
			t.Errorf("webhook-signature %q, want %q", got, want)
		}
		for _, secret := range []string{testSecret, oldSecret} {
			if err := Verify(secret, r.header, r.body, 0); err != nil {
				t.Errorf("Verify: %v", err)
			}
		}
		if got := r.header.Get("content-type"); got != "application/json" {
			t.Errorf("content-type %q", got)
		}
	}
	stats := s.Stats()
	if stats.Sent != 100 || stats.Batches != uint64(len(requests)) || stats.Dropped != 0 || stats.FailedTries != 0 ||
		stats.QueuedEvents != 0 || stats.QueuedBytes != 0 || stats.SentByType[protocol.EventConnected] != 100 {
		t.Errorf("%+v after 100 events in %d batches", stats, len(requests))
	}
}

// Several loops give events at the same time; those of each stay in order.
func TestOrderOfManyLoops(t *testing.T) {
	rec := newReceiver(t, nil)
	s := newSender(t, rec.URL, nil)
	const loops, each = 8, 200
	var wg sync.WaitGroup
	for loop := range loops {
		wg.Go(func() {
			for n := range each {
				s.Event(&protocol.Event{Type: protocol.EventMessage, Client: strconv.Itoa(loop), Data: []byte(strconv.Itoa(n))})
			}
		})
	}
	wg.Wait()
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for _, r := range rec.all() {
		for _, e := range r.batch.Events {
			if got := string(e.Data); got != strconv.Itoa(next[e.Client]) {
				t.Fatalf("loop %s: got message %s, want %d", e.Client, got, next[e.Client])
			}
			next[e.Client]++
		}
	}
	for loop := range loops {
		if got := next[strconv.Itoa(loop)]; got != each {
			t.Errorf("loop %d: %d messages, want %d", loop, got, each)
		}
	}
}

func TestOnlyWantedEventsAreSent(t *testing.T) {
	all := func(s *Sender) {
		for _, kind := range allEvents {
			s.Event(&protocol.Event{Type: kind})
		}
		s.Event(&protocol.Event{Type: "of a later version"})
	}
	for _, tc := range []struct {
		events []protocol.EventType
		want   []string
	}{
		{nil, []string{"called", "connected", "disconnected", "message", "occupied", "vacated"}},
		{[]protocol.EventType{"subscribed", "acknowledged"}, []string{"acknowledged", "subscribed"}},
	} {
		rec := newReceiver(t, nil)
		s := newSender(t, rec.URL, func(c *SenderConfig) { c.Events = tc.events })
		all(s)
		if err := closeIn(t, s, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range rec.all() {
			for _, e := range r.batch.Events {
				got = append(got, string(e.Type))
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("Events %q: got %q, want %q", tc.events, got, tc.want)
		}
	}
}

// A batch ends before it is larger than it may be; an event that is larger
// alone travels alone.
func TestBatchMaxBytes(t *testing.T) {
	rec := newReceiver(t, nil)
	s := newSender(t, rec.URL, func(c *SenderConfig) { c.BatchMaxBytes = 2000; c.BatchMaxDelay = time.Second })
	for n := range 40 {
		size := 300
		if n == 20 {
			size = 5000
		}
		e := connected(n)
		e.User = strings.Repeat("u", size)
		s.Event(e)
	}
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	requests := rec.all()
	if got := clients(requests); !slices.Equal(got, numbers(0, 40)) {
		t.Errorf("got %q", got)
	}
	for _, r := range requests {
		if len(r.body) > 2000 && len(r.batch.Events) != 1 {
			t.Errorf("%d bytes in a batch of %d events, want at most 2000", len(r.body), len(r.batch.Events))
		}
	}
	if len(requests) < 9 || len(requests) > 20 {
		t.Errorf("%d batches, want about 10", len(requests))
	}
}

// After any kind of failure the same batch comes again, in its place, with the same id
// and body.
func TestFailuresAreTriedAgain(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	cut := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for _, tc := range []struct {
		name string
		fail func(http.ResponseWriter, *http.Request)
		log  string
	}{
		{"500", status(500), "HTTP 500 Internal Server Error"},
		{"503", status(503), "HTTP 503"},
		{"429", status(429), "HTTP 429"},
		{"408", status(408), "HTTP 408"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "redirects are not followed"},
		{"hangs", hang, "Client.Timeout exceeded"},
		{"ends without an answer", cut, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const failures = 3
			rec := newReceiver(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if n >= 1 && n <= failures {
					tc.fail(w, r)
				}
			})
			var log logBuffer
			s := newSender(t, rec.URL, func(c *SenderConfig) {
				c.BatchMaxEvents, c.Timeout, c.Logger = 1, 20*time.Second, log.logger()
				if tc.name == "hangs" {
					c.Timeout = time.Second
				}
			})
			for n := range 3 {
				s.Event(connected(n))
			}
			if err := closeIn(t, s, 60*time.Second); err != nil {
				t.Fatal(err)
			}
			requests := rec.all()
			got := slices.Compact(clients(requests))
			if !slices.Equal(got, numbers(0, 3)) {
				t.Errorf("got %q, want 0, 1, 2", got)
			}
			tries := 0
			for i, r := range requests[1:] {
				if err := Verify(testSecret, r.header, r.body, 0); err != nil {
					t.Errorf("request %d: %v", i+1, err)
				}
				if slices.Equal(clients([]received{r}), []string{"1"}) {
					tries++
					if id := r.header.Get(HeaderID); id != requests[1].header.Get(HeaderID) || !bytes.Equal(r.body, requests[1].body) {
						t.Errorf("try %d of the same batch has the id %s and the body %s; the first had %s and %s",
							tries, id, r.body, requests[1].header.Get(HeaderID), requests[1].body)
					}
				}
			}
			// One that ends without an answer on a connection that was used before
			// is repeated by net/http itself.
			if stats := s.Stats(); tries < failures+1 || stats.FailedTries < failures-1 || stats.Sent != 3 || stats.Dropped != 0 {
				t.Errorf("%d tries, %+v", tries, stats)
			}
			if text := log.String(); !strings.Contains(text, tc.log) || !strings.Contains(text, "works again") {
				t.Errorf("the log lacks %q or that it works again:\n%s", tc.log, text)
			}
		})
	}
}

// A refusal would come again: the batch is dropped, and the next one tells it.
func TestRefusedBatchesAreDroppedAndTold(t *testing.T) {
	rec := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 2 {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	var log logBuffer
	s := newSender(t, rec.URL, func(c *SenderConfig) { c.BatchMaxEvents, c.Logger = 1, log.logger() })
	for n := range 4 {
		s.Event(connected(n))
	}
	err := closeIn(t, s, 30*time.Second)
	if got := clients(rec.all()); !slices.Equal(got, numbers(0, 4)) {
		t.Errorf("got %q, want each event once", got)
	}
	var told []uint64
	for _, r := range rec.all() {
		told = append(told, r.batch.Dropped)
	}
	if want := []uint64{0, 1, 2, 0}; !slices.Equal(told, want) {
		t.Errorf("the batches tell %d dropped, want %d", told, want)
	}
	stats := s.Stats()
	if stats.Dropped != 2 || stats.DroppedByType[protocol.EventConnected] != 2 || stats.Sent != 2 || stats.FailedTries != 2 || stats.QueuedEvents != 0 {
		t.Errorf("%+v (Close: %v)", stats, err)
	}
	if text := log.String(); !strings.Contains(text, "events are lost") || !strings.Contains(text, "HTTP 400") {
		t.Errorf("the log says nothing of it:\n%s", text)
	}
}

// While the application is away the queue fills up; what does not fit is
// counted by type, and told when it is back.
func TestFullQueue(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*SenderConfig)
	}{
		{"events", func(c *SenderConfig) { c.QueueMaxEvents = 10 }},
		{"bytes", func(c *SenderConfig) { c.QueueMaxBytes = 10 * cost(connected(100)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			release := make(chan struct{})
			rec := newReceiver(t, func(n int, _ http.ResponseWriter, r *http.Request) {
				if n == 0 {
					select {
					case <-release:
					case <-r.Context().Done():
					}
				}
			})
			var log logBuffer
			s := newSender(t, rec.URL, func(c *SenderConfig) { c.BatchMaxEvents, c.Logger = 1, log.logger(); tc.change(c) })
			s.Event(connected(100))
			waitFor(t, "the first batch is under way", func() bool { return len(rec.all()) == 1 })
			for n := range 30 {
				s.Event(connected(101 + n))
			}
			s.Event(&protocol.Event{Type: protocol.EventMessage, Client: "101"})
			stats := s.Stats()
			if stats.QueuedEvents != 11 || stats.Dropped != 21 || stats.DroppedByType[protocol.EventConnected] != 20 || stats.DroppedByType[protocol.EventMessage] != 1 {
				t.Errorf("%+v, want 11 that wait and 21 dropped", stats)
			}
			// Losses are in the log when they begin, not only when they are over.
			if text := log.String(); strings.Count(text, "events are lost") != 1 || !strings.Contains(text, "events=1 dropped=1") {
				t.Errorf("want one line about what is lost:\n%s", text)
			}
			close(release)
			waitFor(t, "the rest has come", func() bool { return len(rec.all()) == 11 })
			requests := rec.all()
			if got := clients(requests); !slices.Equal(got, numbers(100, 111)) {
				t.Errorf("got %q, want the eleven oldest", got)
			}
			for i, want := range []uint64{0, 21, 0, 0} {
				if got := requests[i].batch.Dropped; got != want {
					t.Errorf("batch %d tells %d dropped, want %d", i, got, want)
				}
			}
			waitFor(t, "nothing waits", func() bool { return s.Stats().QueuedEvents == 0 })
			if got := s.Stats().QueuedBytes; got != 0 {
				t.Errorf("%d bytes are said to wait, want 0", got)
			}
		})
	}
}

// An application that hangs does not block the callers of Event.
func TestEventNeverBlocks(t *testing.T) {
	rec := newReceiver(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := newSender(t, rec.URL, func(c *SenderConfig) { c.QueueMaxEvents = 100 })
	donec := make(chan struct{})
	go func() {
		defer close(donec)
		for n := range 100_000 {
			s.Event(connected(n))
		}
	}()
	select {
	case <-donec:
	case <-time.After(30 * time.Second):
		t.Fatal("Event blocks")
	}
	if stats := s.Stats(); stats.QueuedEvents > 100+500 || uint64(stats.QueuedEvents)+stats.Dropped != 100_000 {
		t.Errorf("%+v: want all of 100,000 queued or dropped", stats)
	}
}

// What the caller does with its Event afterwards changes nothing.
func TestEventIsCopied(t *testing.T) {
	rec := newReceiver(t, nil)
	s := newSender(t, rec.URL, func(c *SenderConfig) { c.BatchMaxDelay = 50 * time.Millisecond })
	e := connected(1)
	s.Event(e)
	e.Client, e.Type = "changed", protocol.EventVacated
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := clients(rec.all()); !slices.Equal(got, []string{"1"}) {
		t.Errorf("got %q, want 1", got)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	var mu sync.Mutex
	var times []time.Time
	rec := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		times = append(times, time.Now())
		mu.Unlock()
		if n == 0 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	s := newSender(t, rec.URL, nil)
	s.Event(connected(1))
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if len(times) != 2 {
		t.Fatalf("%d tries, want 2", len(times))
	}
	// The pause without it is 5 ms at most.
	if waited := times[1].Sub(times[0]); waited < 900*time.Millisecond {
		t.Errorf("tried again after %v, want 1s", waited)
	}
}

// An application that is away for RetryMaxAge loses events, and is told.
func TestRetryMaxAge(t *testing.T) {
	var mu sync.Mutex
	away := true
	rec := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	var log logBuffer
	s := newSender(t, rec.URL, func(c *SenderConfig) {
		c.BatchMaxEvents, c.RetryMaxAge, c.Logger = 2, 50*time.Millisecond, log.logger()
	})
	s.Event(connected(1))
	s.Event(connected(2))
	waitFor(t, "the events are given up", func() bool { return s.Stats().Dropped == 2 })
	mu.Lock()
	away = false
	mu.Unlock()
	s.Event(connected(3))
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	requests := rec.all()
	last := requests[len(requests)-1]
	if last.batch.Dropped != 2 || !slices.Equal(clients([]received{last}), []string{"3"}) {
		t.Errorf("the last batch is %s, want event 3 and 2 dropped", last.body)
	}
	if stats := s.Stats(); stats.FailedTries < 2 || stats.Sent != 1 {
		t.Errorf("%+v", stats)
	}
	if text := log.String(); !strings.Contains(text, "it failed for 50ms, last with: HTTP 500") || !regexp.MustCompile(`works again.* dropped=2`).MatchString(text) {
		t.Errorf("the log does not say why, or how many:\n%s", text)
	}
}

// The pause follows the back-off, within a few seconds by default, unless the
// application asks for another.
func TestPause(t *testing.T) {
	if d, _ := SenderSettings().Lookup("RetryMaxDelay"); d.Default.(time.Duration) > 5*time.Second {
		t.Errorf("after an outage events come up to %v late", d.Default)
	}
	s := &Sender{cfg: SenderConfig{RetryMaxAge: time.Hour}}
	s.backoff = retry.Backoff{Min: time.Millisecond, Max: 4 * time.Millisecond}
	for _, most := range []time.Duration{1, 2, 4, 4, 4} {
		if wait := s.delay(0); wait < 0 || wait > most*time.Millisecond {
			t.Errorf("the pause is %v, want at most %vms", wait, int(most))
		}
	}
	s.after = 3 * time.Hour
	if got := s.delay(0); got != time.Hour {
		t.Errorf("Retry-After of 3h: %v, want RetryMaxAge", got)
	}
	s.recovered()
	if s.backoff.Attempts != 0 || s.after != 0 {
		t.Errorf("after a success: %+v", s.backoff)
	}
}

// A body without end does not hold up the next batch for longer than the timeout, and is
// not kept: the status is enough.
func TestAnswersAreBounded(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		block := bytes.Repeat([]byte("x"), 32<<10)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	short := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, answer := range map[string]http.HandlerFunc{"endless": endless, "drip": drip, "cut short": short} {
		t.Run(name, func(t *testing.T) {
			rec := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) { answer(w, r) })
			s := newSender(t, rec.URL, func(c *SenderConfig) {
				c.BatchMaxEvents = 1
				if name == "drip" {
					c.Timeout = time.Second
				}
			})
			s.Event(connected(1))
			s.Event(connected(2))
			if err := closeIn(t, s, 30*time.Second); err != nil {
				t.Fatal(err)
			}
			if got := clients(rec.all()); !slices.Equal(got, numbers(1, 3)) {
				t.Errorf("got %q, want each event once", got)
			}
			if stats := s.Stats(); stats.Sent != 2 {
				t.Errorf("%+v, want 2 sent", stats)
			}
		})
	}
}

// Close delivers what waits, also when that takes several tries.
func TestCloseFlushes(t *testing.T) {
	rec := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n%2 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	s := newSender(t, rec.URL, func(c *SenderConfig) { c.BatchMaxEvents, c.BatchMaxDelay = 4, time.Minute })
	for n := range 18 {
		s.Event(connected(n))
	}
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	s.Event(connected(18)) // too late: counted
	if stats := s.Stats(); stats.Sent != 18 || stats.Dropped != 1 || stats.QueuedEvents != 0 {
		t.Errorf("%+v, want 18 sent and the late one dropped", stats)
	}
	if err := closeIn(t, s, time.Second); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// Close does not wait longer than it was told to, and says what is lost.
func TestCloseWithoutTime(t *testing.T) {
	rec := newReceiver(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := newSender(t, rec.URL, func(c *SenderConfig) { c.BatchMaxEvents = 2 })
	for n := range 9 {
		s.Event(connected(n))
	}
	waitFor(t, "the first batch is under way", func() bool { return len(rec.all()) == 1 })
	begin := time.Now()
	err := closeIn(t, s, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "9 events were not delivered to "+rec.URL) {
		t.Errorf("Close: %v, want it to name 9 events", err)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("Close took %v", took)
	}
	if stats := s.Stats(); stats.Dropped != 9 || stats.QueuedEvents != 0 || stats.QueuedBytes != 0 {
		t.Errorf("%+v, want 9 dropped", stats)
	}
}

func TestTLSIsVerified(t *testing.T) {
	rec := &receiver{}
	rec.Server = httptest.NewUnstartedServer(rec)
	rec.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo) // it tells of the refused certificate
	rec.StartTLS()
	defer rec.Close()
	var log logBuffer
	s := newSender(t, rec.URL, func(c *SenderConfig) { c.RetryMaxAge, c.Logger = time.Millisecond, log.logger() })
	s.Event(connected(1))
	waitFor(t, "the event is given up", func() bool { return s.Stats().Dropped == 1 })
	if len(rec.all()) != 0 || !strings.Contains(log.String(), "certificate") {
		t.Errorf("an authority that nobody knows: %d requests, log:\n%s", len(rec.all()), log.String())
	}
	roots := x509.NewCertPool()
	roots.AddCert(rec.Certificate())
	s = newSender(t, rec.URL, func(c *SenderConfig) { c.TLS = &tls.Config{RootCAs: roots} })
	s.Event(connected(2))
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := clients(rec.all()); !slices.Equal(got, []string{"2"}) {
		t.Errorf("got %q, want 2", got)
	}
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal("an IPv6 loopback is needed, as in the tests of the listeners: ", err)
	}
	rec := &receiver{}
	rec.Server = httptest.NewUnstartedServer(rec)
	_ = rec.Listener.Close() // that of IPv4
	rec.Listener = l
	rec.Start()
	defer rec.Close()
	s := newSender(t, "http://"+l.Addr().String()+"/", nil)
	s.Event(connected(1))
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if len(rec.all()) != 1 {
		t.Errorf("%d requests, want 1", len(rec.all()))
	}
}

// A password in the URL is for the application alone.
func TestURLPasswordIsNotShown(t *testing.T) {
	rec := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNotFound)
	})
	var log logBuffer
	s := newSender(t, strings.Replace(rec.URL, "://", "://roost:verysecret@", 1)+"/hook?token=verysecret", func(c *SenderConfig) { c.Logger = log.logger() })
	s.Event(connected(1))
	err := closeIn(t, s, 30*time.Second)
	if err == nil || strings.Contains(err.Error(), "verysecret") || strings.Contains(log.String(), "verysecret") {
		t.Errorf("Close: %v, log:\n%s", err, log.String())
	}
	if got := rec.all()[0].header.Get("Authorization"); got != "Basic "+base64.StdEncoding.EncodeToString([]byte("roost:verysecret")) {
		t.Errorf("Authorization %q", got)
	}
	for _, address := range []string{"https://roost:verysecret@host:bad port/", "ftp://roost:verysecret@host/"} {
		if _, err := NewSender(SenderConfig{URL: address, Secrets: []string{testSecret}}); err == nil || strings.Contains(err.Error(), "verysecret") {
			t.Errorf("NewSender(%s): %v", address, err)
		}
	}
}

func TestSenderConfigErrors(t *testing.T) {
	bad := SenderConfig{
		URL: "example.com/hook", Secrets: []string{"guess"}, Events: []protocol.EventType{"conected"},
		BatchMaxEvents: -1, BatchMaxBytes: 10, BatchMaxDelay: time.Hour, QueueMaxEvents: -1, QueueMaxBytes: 1,
		Timeout: -1, RetryMinDelay: time.Hour, RetryMaxDelay: 2 * time.Hour, RetryMaxAge: 48 * time.Hour,
	}
	_, err := NewSender(bad)
	if err == nil {
		t.Fatal("NewSender took everything")
	}
	for _, field := range []string{"URL", "Secrets: number 1", "Events", "BatchMaxEvents", "BatchMaxBytes", "BatchMaxDelay", "QueueMaxEvents", "QueueMaxBytes", "Timeout", "RetryMaxDelay", "RetryMaxAge"} {
		if !strings.Contains(err.Error(), "webhook: SenderConfig."+field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
	if _, err := NewSender(SenderConfig{URL: "http://localhost/"}); err == nil || !strings.Contains(err.Error(), "SenderConfig.Secrets: 0 of them") {
		t.Errorf("without secrets: %v", err)
	}
	if _, err := NewSender(SenderConfig{URL: "http://localhost/", Secrets: []string{testSecret}, RetryMinDelay: time.Minute}); err == nil || !strings.Contains(err.Error(), "RetryMinDelay") {
		t.Errorf("RetryMinDelay above RetryMaxDelay: %v", err)
	}
}

// A batch is JSON, whatever the strings hold.
func TestStrangeStringsAreJSON(t *testing.T) {
	b := newBatch()
	for _, text := range []string{"\"", "\\", "\x00", "\xff", "é", "\u2028", "</script>"} {
		e := &protocol.Event{Type: protocol.EventConnected, User: text, Channel: text, Reason: text}
		b.add(&encoded{kind: e.Type, json: encode(e)})
	}
	b.prepare(nil, 0, 1<<64-1)
	var got Batch
	if err := json.Unmarshal(b.body, &got); err != nil || len(got.Events) != 7 || got.Dropped != 1<<64-1 || got.Events[4].User != "é" {
		t.Errorf("%v: %s", err, b.body)
	}
}
