//go:build realclients

package nats

import (
	"fmt"
	"testing"
	"time"

	"github.com/roostws/roost/internal/natstest"
	"github.com/roostws/roost/server/broker"
)

// idle is a node that attaches nothing.
type idle struct{}

func (idle) Deliver(*broker.Message)              {}
func (idle) Attached(string)                      {}
func (idle) Interrupted(func(string) bool, error) {}

// await polls until done returns true.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it takes too long", what)
		}
	}
}

// A node whose only publication to a channel is a repetition leaves the history as it is.
func TestRepetitionDropsNothing(t *testing.T) {
	s := natstest.Start(t)
	node := func() *Broker {
		b, err := New(Options{URL: s.URL()})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(idle{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		await(t, "connect", func() bool { return b.Health().Publishing == nil })
		return b
	}
	keep := broker.Keep{Messages: 100, Age: time.Hour}
	publish := func(b *Broker, key string) broker.Placed {
		done := make(chan error, 1)
		var placed broker.Placed
		b.Publish(&broker.Publication{
			Message: broker.Message{Channel: "h:1", Type: 1, Payload: []byte("x")}, Keep: keep, IdempotencyKey: key, IdempotencyAge: time.Hour,
		}, func(p broker.Placed, err error) { placed = p; done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return placed
	}
	a, b := node(), node()
	for i := range 3 {
		publish(a, fmt.Sprint(i))
	}
	if placed := publish(b, "0"); !placed.Duplicate || placed.Position.Offset != 1 {
		t.Fatalf("repeated: %+v", placed)
	}
	b.mu.Lock()
	l := b.life
	b.mu.Unlock()
	await(t, "the end of the sequencer", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !l.sequencers["h:1"].running
	})
	count := func() int {
		done := make(chan error, 1)
		var page broker.Page
		b.Read("h:1", keep, nil, func(p broker.Page, err error) { page = p; done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return len(page.Messages)
	}
	l.drop(time.Now().Add(time.Minute))
	if n := count(); n != 3 {
		t.Errorf("%d messages are left, want 3", n)
	}
	l.drop(time.Now().Add(2 * time.Hour)) // nothing else tells that drop was done
	await(t, "the end of the history", func() bool { return count() <= 1 })
}
