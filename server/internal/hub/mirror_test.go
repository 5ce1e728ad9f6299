package hub

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// silentBroker does nothing by itself: a test completes what was asked of it.
type silentBroker struct {
	in        broker.Inbound
	published []func(broker.Placed, error)
	reads     []func(broker.Page, error)
}

func (b *silentBroker) Start(in broker.Inbound) error { b.in = in; return nil }
func (b *silentBroker) Publish(_ *broker.Publication, done func(broker.Placed, error)) {
	b.published = append(b.published, done)
}
func (b *silentBroker) Attach(string) {}
func (b *silentBroker) Detach(string) {}
func (b *silentBroker) Read(_ string, _ broker.Keep, _ *history.Position, done func(broker.Page, error)) {
	b.reads = append(b.reads, done)
}
func (b *silentBroker) Health() broker.Health { return broker.Health{} }
func (b *silentBroker) Close() error          { return nil }

func silentRig(t *testing.T) (*rig, *silentBroker) {
	b := &silentBroker{}
	r := newRig(t, 10, PolicyDisconnect, func(c *Config) { c.Broker = b })
	if err := r.StartBroker(); err != nil {
		t.Fatal(err)
	}
	return r, b
}

// While the broker is away, clients try to subscribe again and again: those that have given
// up cost nothing, and do not keep the channel attached.
func TestWantForgotten(t *testing.T) {
	r, b := silentRig(t)
	called := 0
	for range 1000 {
		forgo := r.Want("h:1", nil, func() { called++ })
		if forgo == nil {
			t.Fatal("the channel is known, although nothing was read")
		}
		forgo()
	}
	st, _ := r.stripe("h:1")
	if n := len(st.mirrors["h:1"].waiting); n != 0 {
		t.Errorf("%d callers still wait", n)
	}
	r.now = r.now.Add(2 * lingerMillis * time.Millisecond)
	r.sweepAll()
	if st.mirrors["h:1"] != nil {
		t.Error("the channel is still attached")
	}

	// One that waits is called, once.
	waited := 0
	forgo := r.Want("h:1", nil, func() { waited++ })
	b.in.Attached("h:1")
	b.reads[len(b.reads)-1](broker.Page{Position: history.Position{Epoch: "e", Offset: 3}}, nil)
	forgo()
	if called != 0 || waited != 1 {
		t.Errorf("called: %d of those that gave up, and the one that waits %d times", called, waited)
	}
	if r.Want("h:1", nil, func() {}) != nil {
		t.Error("the channel is not known, although it was read")
	}
}

// A storm of clients that resume reads each channel once, whether they come before,
// while or after the page comes, and whatever their positions.
func TestStormReadsEachChannelOnce(t *testing.T) {
	r, b := silentRig(t)
	const channels, clients = 100, 12_000
	page := broker.Page{Position: history.Position{Epoch: "e", Offset: 5}}
	for offset := uint64(1); offset <= page.Position.Offset; offset++ {
		page.Messages = append(page.Messages, &broker.Message{Position: history.Position{Epoch: "e", Offset: offset}, Type: frame.OpText, Payload: []byte("x")})
	}
	name := func(i int) string { return fmt.Sprintf("h:%d", i%channels) }
	ready := 0
	come := func(from, to int) {
		for i := from; i < to; i++ {
			if r.Want(name(i), &history.Position{Epoch: "e", Offset: uint64(i % 6)}, func() { ready++ }) == nil {
				ready++
			}
		}
	}
	come(0, clients/3)
	for i := range channels {
		b.in.Attached(name(i))
	}
	come(clients/3, 2*clients/3)                             // while the pages are on their way
	for answered := 0; answered < len(b.reads); answered++ { // an answer may make room for the next read
		b.reads[answered](page, nil)
	}
	come(2*clients/3, clients)
	if len(b.reads) != channels || ready != clients {
		t.Errorf("%d reads for %d channels; %d of %d clients may go on", len(b.reads), channels, ready, clients)
	}
}

// What the broker has not answered is bounded.
func TestPublishingBounded(t *testing.T) {
	r, b := silentRig(t)
	const size = 1 << 20
	results := map[string]int{}
	publish := func() {
		p := &broker.Publication{Message: broker.Message{Channel: "h:1", Payload: make([]byte, size)}}
		r.Publish(p, nil, func(_ broker.Placed, err error) {
			switch {
			case err == nil:
				results["done"]++
			case errors.Is(err, ErrBusy):
				results["busy"]++
			}
		})
	}
	const most = publishingMaxBytes/size + 1
	for range 2 * most {
		publish()
	}
	if n := len(b.published); n > most || n < most-2 {
		t.Errorf("%d MiB wait for the broker, want about %d", n, publishingMaxBytes/size)
	}
	taken := len(b.published)
	if results["busy"] != 2*most-taken || r.Stats().Refused != uint64(2*most-taken) {
		t.Errorf("%v, refused %d, after %d were taken", results, r.Stats().Refused, taken)
	}
	for _, done := range b.published {
		done(broker.Placed{}, nil)
	}
	publish()
	if len(b.published) != taken+1 || results["done"] != taken {
		t.Errorf("after the answers %d were taken; %v", len(b.published)-taken, results)
	}
}

// Reading waits while an inbox is full, and so many reads are under way that what they return
// is bounded: each channel is read in the end.
func TestReadingWaitsForRoom(t *testing.T) {
	r, b := silentRig(t)
	r.pages.later = true // the test is the timer
	const channels = 3 * pagesMax
	answer := func() {
		reads := b.reads
		b.reads = nil
		for _, done := range reads {
			done(broker.Page{Position: history.Position{Epoch: "e"}}, nil)
		}
	}
	for i := range channels {
		name := fmt.Sprint("h:", i)
		r.Want(name, nil, func() {})
		b.in.Attached(name)
	}
	if n := len(b.reads); n != pagesMax {
		t.Fatalf("%d reads are under way, want %d", n, pagesMax)
	}
	r.inboxes[1].full = true
	answer()
	if n := len(b.reads); n != 0 {
		t.Errorf("%d reads began while an inbox is full", n)
	}
	r.inboxes[1].full = false
	total := pagesMax
	for range channels {
		r.nextPages()
		total += len(b.reads)
		answer()
	}
	if total != channels {
		t.Errorf("%d of %d channels were read", total, channels)
	}
}
