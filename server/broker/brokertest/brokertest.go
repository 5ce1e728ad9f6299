// Package brokertest is the test that every broker passes.
package brokertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// A Rig is one broker, empty, with ways to disturb it.
type Rig struct {
	// Node returns the broker of one more node, not started.
	Node func() broker.Broker
	// Cut interrupts what the nodes receive, for a moment.
	Cut func()
	// Stop takes the broker away, and Return brings it back, with its memory if it keeps
	// that.
	Stop, Return func()
	// Forget lets the broker lose its memory.
	Forget func()
	// NodesUnknown says that Placed.Nodes is broker.NodesUnknown.
	NodesUnknown bool
	// PublishersOrder: where nothing is kept, each publisher's messages keep their order,
	// and nodes may see those of several mixed in different ways.
	PublishersOrder bool
}

// nodes returns what Placed.Nodes is to be where n nodes have attached the channel.
func (r *Rig) nodes(n int) int {
	if r.NodesUnknown {
		return broker.NodesUnknown
	}
	return n
}

// Test runs the test with rigs of make.
func Test(t *testing.T, make func(t *testing.T) *Rig) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, r *Rig)
	}{
		{"order", testOrder},
		{"positions", testPositions},
		{"read", testRead},
		{"age", testAge},
		{"fields", testFields},
		{"interest", testInterest},
		{"notices", testNotices},
		{"notices beside messages", testNoticesBeside},
		{"idempotency", testIdempotency},
		{"cut", testCut},
		{"outage", testOutage},
		{"forgotten", testForgotten},
		{"slow consumer", testSlowConsumer},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, make(t)) })
	}
}

// Every node sees one order, that of the positions, also of what it published itself.
func testOrder(t *testing.T, r *Rig) {
	nodes := []*window{start(t, r), start(t, r), start(t, r)}
	channels := []string{"h:1", "h:2", "plain"}
	for _, w := range nodes {
		for _, channel := range channels {
			w.attach(channel)
		}
	}
	const each = 200
	results := make(chan error, 3*each*len(channels))
	for k, w := range nodes {
		for i := range each {
			for _, channel := range channels {
				w.node.Publish(publication(channel, fmt.Sprintf("%d.%d", k, i)), func(_ broker.Placed, err error) { results <- err })
			}
		}
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	for _, channel := range channels {
		want := nodes[0].texts(channel, 3*each)
		for k, w := range nodes {
			got := w.texts(channel, 3*each)
			if !slices.Equal(got, want) && !(channel == "plain" && r.PublishersOrder) {
				t.Fatalf("%s: node %d sees another order", channel, k)
			}
			next := 0
			for _, text := range got { // those of one publisher keep their order
				if text == fmt.Sprintf("%d.%d", k, next) {
					next++
				}
			}
			if len(got) != 3*each || next != each {
				t.Errorf("%s: node %d sees %d messages, and %d of its own in their order; want %d and %d", channel, k, len(got), next, 3*each, each)
			}
		}
	}
}

// Offsets count up from 1, each channel's for itself, and publishers learn them.
func testPositions(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	silent := a.pageOf("h:1", keep, nil)
	if silent.Position.Epoch == "" || silent.Position.Offset != 0 || len(silent.Messages) != 0 {
		t.Errorf("a silent channel is at %+v", silent)
	}
	for i := range 5 {
		w := []*window{a, b}[i%2]
		want := history.Position{Epoch: silent.Position.Epoch, Offset: uint64(i + 1)}
		if placed := w.publish("h:1", "x"); placed != (broker.Placed{Position: want, Nodes: r.nodes(0)}) {
			t.Errorf("publication %d: %+v, want %v", i, placed, want)
		}
	}
	if placed := a.publish("h:2", "x"); placed.Position.Offset != 1 || placed.Position.Epoch == "" {
		t.Errorf("the first of another channel: %+v", placed)
	}
	if placed := a.publish("plain", "x"); placed != (broker.Placed{Nodes: r.nodes(0)}) {
		t.Errorf("without history: %+v", placed)
	}
}

// numbers returns the offsets of a page, read to its end.
func (w *window) numbers(channel string, k broker.Keep, since *history.Position) (list []uint64, at history.Position) {
	for {
		page := w.pageOf(channel, k, since)
		for _, m := range page.Messages {
			if want := fmt.Sprint("text ", m.Position.Offset); string(m.Payload) != want || m.Channel != channel {
				w.t.Errorf("message %v of %s is %q of %s", m.Position, channel, m.Payload, m.Channel)
			}
			list = append(list, m.Position.Offset)
		}
		if len(list) == 0 || len(page.Messages) == 0 || list[len(list)-1] >= page.Position.Offset {
			return list, page.Position
		}
		since = &page.Messages[len(page.Messages)-1].Position
	}
}

func span(from, to uint64) (list []uint64) {
	for ; from <= to; from++ {
		list = append(list, from)
	}
	return list
}

func testRead(t *testing.T, r *Rig) {
	w := start(t, r)
	var at history.Position
	for i := range 500 {
		at = w.publish("h:1", fmt.Sprint("text ", i+1)).Position
	}
	few := broker.Keep{Messages: 300, Age: time.Minute}
	for _, c := range []struct {
		name  string
		since *history.Position
		want  []uint64
	}{
		{"everything", nil, span(201, 500)},
		{"since", &history.Position{Epoch: at.Epoch, Offset: 350}, span(351, 500)},
		{"since the oldest", &history.Position{Epoch: at.Epoch, Offset: 200}, span(201, 500)},
		{"too old", &history.Position{Epoch: at.Epoch, Offset: 7}, span(201, 500)},
		{"at the end", &at, nil},
		{"another epoch", &history.Position{Epoch: "other", Offset: 350}, span(201, 500)},
	} {
		if got, tip := w.numbers("h:1", few, c.since); !slices.Equal(got, c.want) || tip != at {
			t.Errorf("%s: %d messages at %v: %v; want %v at %v", c.name, len(got), tip, got, c.want, at)
		}
	}
}

func testAge(t *testing.T, r *Rig) {
	w := start(t, r)
	short := broker.Keep{Messages: 100, Age: 300 * time.Millisecond}
	send := func(n int) history.Position {
		p := publication("h:1", fmt.Sprint("text ", n))
		p.Keep = short
		placed, err := w.send(p)
		if err != nil {
			t.Fatal(err)
		}
		return placed.Position
	}
	first := send(1)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, at := w.numbers("h:1", short, nil)
		if len(got) == 0 {
			if at != first {
				t.Errorf("the channel is at %v, the message was %v", at, first)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the message does not grow too old")
		}
	}
	if second := send(2); second != (history.Position{Epoch: first.Epoch, Offset: 2}) {
		t.Errorf("after %v comes %v", first, second)
	}
	if got, _ := w.numbers("h:1", short, &first); !slices.Equal(got, []uint64{2}) {
		t.Errorf("after the first one there is %v", got)
	}
}

// All fields arrive, by delivery and by reading, whatever bytes they hold.
func testFields(t *testing.T, r *Rig) {
	w := start(t, r)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	names := []string{"h:ü {x}\n\x00'", "user:ann", "h:{a}{b}", ""}
	for _, channel := range names {
		w.attach(channel)
		p := publication(channel, string(all))
		p.Type, p.Key, p.From, p.Tag = 2, "k\x00ey", "ann", 1<<64-1
		if p.Keep.Messages == 0 {
			p.Spread = 1500 * time.Millisecond
		}
		before := time.Now().Add(-time.Minute).UnixMilli()
		placed, err := w.send(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.texts(channel, 1); got[0] != string(all) || w.channels[channel].tags[0] != p.Tag {
			t.Errorf("%q: %q arrived, tag %d", channel, got, w.channels[channel].tags[0])
		}
		if placed.Nodes != r.nodes(1) {
			t.Errorf("%q: %d nodes", channel, placed.Nodes)
		}
		if !kept(channel) {
			continue
		}
		page := w.pageOf(channel, keep, nil)
		if len(page.Messages) != 1 {
			t.Fatalf("%q: %d messages are kept", channel, len(page.Messages))
		}
		m := *page.Messages[0]
		if m.Time < before || m.Time > time.Now().Add(time.Minute).UnixMilli() {
			t.Errorf("%q: published at %d", channel, m.Time)
		}
		want := p.Message
		m.Time, want.Position = 0, placed.Position
		if fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", want) {
			t.Errorf("%q: read %+v, want %+v", channel, m, want)
		}
	}
	if got := w.texts("", 1); len(got) != 1 {
		t.Errorf("everybody got %q", got)
	}
	large := strings.Repeat("0123456789abcdef", 1<<16)
	w.attach("h:large")
	w.publish("h:large", large)
	if got := w.texts("h:large", 1); got[0] != large {
		t.Errorf("of a large message %d bytes arrived", len(got[0]))
	}
}

// A node gets what it has attached, and nothing else.
func testInterest(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	a.attach("h:1")
	a.attach("plain")
	b.attach("h:1")
	if placed := b.publish("h:1", "one"); placed.Nodes != r.nodes(2) {
		t.Errorf("%d nodes, want 2", placed.Nodes)
	}
	if placed := b.publish("plain", "one"); placed.Nodes != r.nodes(1) {
		t.Errorf("%d nodes, want 1", placed.Nodes)
	}
	a.texts("h:1", 1)
	a.detach("h:1")
	// Detaching takes effect in a while.
	for n, deadline := 2, time.Now().Add(20*time.Second); n != r.nodes(1); {
		if n = b.publish("h:1", "more").Nodes; time.Now().After(deadline) {
			t.Fatalf("%d nodes after one has detached", n)
		}
	}
	a.attach("h:1")
	before := len(a.texts("h:1", 1))
	b.publish("h:1", "last")
	if got := a.texts("h:1", before+1); got[before] != "last" {
		t.Errorf("attached again it got %q", got[before:])
	}
}

// Nodes talk to each other in channels whose names begin with a zero byte: these are like
// others, and a message there reaches nothing else.
func testNotices(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	names := []string{"\x00nodes", "\x00node:x", "\x00node:y", "nodes", "node:x", "", "\x00"}
	for _, name := range names {
		a.attach(name)
	}
	b.attach("\x00nodes")
	for i, name := range names {
		want := r.nodes(1)
		if i == 0 {
			want = r.nodes(2)
		}
		for k := range 3 {
			if placed := b.publish(name, fmt.Sprintf("%q %d", name, k)); placed.Nodes != want || placed.Position.Offset != 0 {
				t.Errorf("%q: %+v, want %d nodes", name, placed, want)
			}
		}
	}
	for i, w := range []*window{a, b} {
		for _, name := range names {
			if i == 1 && name != "\x00nodes" {
				continue
			}
			got := w.texts(name, 3)
			if want := []string{fmt.Sprintf("%q 0", name), fmt.Sprintf("%q 1", name), fmt.Sprintf("%q 2", name)}; !slices.Equal(got, want) {
				t.Errorf("%q: %q arrived, want %q", name, got, want)
			}
		}
	}
}

// Notices on a channel with history get no place in it, and take none from a message.
func testNoticesBeside(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	a.attach("h:1")
	const each = 200
	results := make([]result, 2*each)
	var all sync.WaitGroup
	all.Add(len(results))
	for i := range results {
		p := publication("h:1", fmt.Sprint("text ", i))
		if i%2 == 1 {
			p.Type, p.Keep = broker.TypeNotice, broker.Keep{}
		}
		b.node.Publish(p, func(placed broker.Placed, err error) {
			results[i] = result{placed, err}
			all.Done()
		})
	}
	all.Wait()
	for i, got := range results {
		want := uint64(0)
		if i%2 == 0 {
			want = uint64(i/2 + 1)
		}
		if got.err != nil || got.placed.Position.Offset != want {
			t.Errorf("message %d: %+v, %v, want offset %d", i, got.placed, got.err, want)
		}
	}
	if n := len(a.texts("h:1", len(results))); n != len(results) {
		t.Errorf("%d messages arrived, want %d", n, len(results))
	}
	for offset := 0; offset < each; {
		since := results[0].placed.Position
		since.Offset = uint64(offset)
		page := b.pageOf("h:1", keep, &since)
		if len(page.Messages) == 0 {
			t.Fatalf("nothing comes after %v", since)
		}
		for _, m := range page.Messages {
			if want := fmt.Sprint("text ", 2*offset); string(m.Payload) != want || m.Position.Offset != uint64(offset+1) {
				t.Fatalf("at %v is %q, want %q", m.Position, m.Payload, want)
			}
			offset++
		}
	}
}

func testIdempotency(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	for _, channel := range []string{"h:1", "plain"} {
		a.attach(channel)
		send := func(w *window, key string, digest uint64) (broker.Placed, error) {
			p := publication(channel, "x")
			p.IdempotencyKey, p.IdempotencyAge, p.Digest = key, 500*time.Millisecond, digest
			return w.send(p)
		}
		first, err := send(a, "one", 7)
		if err != nil || first.Duplicate {
			t.Fatalf("%+v, %v", first, err)
		}
		again, err := send(b, "one", 7)
		if err != nil || !again.Duplicate || again.Position != first.Position {
			t.Errorf("%s: repeated on another node: %+v, %v; first %+v", channel, again, err, first)
		}
		if _, err := send(b, "one", 8); !errors.Is(err, broker.ErrKeyReused) {
			t.Errorf("%s: another publication with the key: %v", channel, err)
		}
		if other, err := send(b, "two", 8); err != nil || other.Duplicate {
			t.Errorf("%s: another key: %+v, %v", channel, other, err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			placed, err := send(b, "one", 9)
			if err == nil && !placed.Duplicate {
				break
			}
			if !errors.Is(err, broker.ErrKeyReused) || time.Now().After(deadline) {
				t.Fatalf("%s: the key does not expire: %+v, %v", channel, placed, err)
			}
		}
		a.publish(channel, "end")
		if got := a.texts(channel, 4); !slices.Equal(got, []string{"x", "x", "x", "end"}) {
			t.Errorf("%s: %q arrived", channel, got)
		}
	}
}
