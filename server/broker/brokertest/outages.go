package brokertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server/broker"
)

// What a broker has to do when it is cut, away, has forgotten, or is faster than a node.

// Nodes that are interrupted while others publish end with all of it, once, in order.
func testCut(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	a.attach("h:1")
	b.attach("h:1")
	const all = 400
	var want []string
	for i := range all {
		want = append(want, fmt.Sprint("text ", i))
		if i%50 == 25 {
			r.Cut()
		}
		a.insist("h:1", want[i])
		if i%50 == 49 { // never more than is kept
			a.texts("h:1", i+1)
			b.texts("h:1", i+1)
		}
	}
	for _, w := range []*window{a, b} {
		if got := w.texts("h:1", all); !slices.Equal(got, want) {
			t.Errorf("%d messages arrived, %d of them right", len(got), matching(got, want))
		}
		if w.interrupted == 0 {
			t.Error("no interruption was told")
		}
	}
}

func matching(got, want []string) (n int) {
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	return n
}

// A broker that is away refuses, says so, and goes on when it is back.
func testOutage(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	a.attach("h:1")
	b.attach("plain")
	a.publish("h:1", "before")
	a.texts("h:1", 1)
	if h := a.node.Health(); h.Publishing != nil || h.Receiving != nil {
		t.Errorf("health before: %+v", h)
	}
	r.Stop()
	a.wait("the interruption", func() bool { return a.interrupted > 0 })
	refused := 0
	for deadline := time.Now().Add(20 * time.Second); refused < 3 && time.Now().Before(deadline); {
		_, err := a.send(publication("h:1", "lost"))
		switch {
		case errors.Is(err, broker.ErrUnavailable):
			refused++
		case !errors.Is(err, broker.ErrUnknown):
			t.Fatalf("while it is away: %v", err)
		}
	}
	if refused < 3 {
		t.Errorf("%d refused", refused)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		h := a.node.Health()
		if h.Publishing != nil && h.Receiving != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("health while it is away: %+v", h)
		}
	}
	r.Return()
	a.wait("the return", func() bool { return a.channels["h:1"].live })
	b.wait("the return", func() bool { return b.channels["plain"].live })
	placed := b.insist("h:1", "after")
	b.insist("plain", "after")
	a.wait("what is published after", func() bool {
		texts := a.channels["h:1"].texts
		return texts[len(texts)-1] == "after"
	})
	b.texts("plain", 1)
	got := a.texts("h:1", 2)
	if a.channels["h:1"].at != placed.Position || slices.Contains(got, "lost") {
		t.Errorf("after the return: %q, at %v; published was %v", got, a.channels["h:1"].at, placed.Position)
	}
	if h := a.node.Health(); h.Publishing != nil || h.Receiving != nil {
		t.Errorf("health after: %+v", h)
	}
}

// A broker that has lost its memory begins another epoch, whether anything is published
// between or not, and none comes twice.
func testForgotten(t *testing.T, r *Rig) {
	a, b := start(t, r), start(t, r)
	a.attach("h:1")
	known := map[string]bool{}
	for i := range 3 {
		var placed broker.Placed
		for range 3 + i {
			placed = b.publish("h:1", fmt.Sprint("life ", i))
		}
		if known[placed.Position.Epoch] || placed.Position.Offset != uint64(3+i) {
			t.Errorf("life %d ends at %v", i, placed.Position)
		}
		known[placed.Position.Epoch] = true
		a.wait("the end of the life", func() bool { return a.channels["h:1"].at == placed.Position })
		r.Forget()
		if i == 2 {
			break
		}
		page := b.pageOf("h:1", keep, &placed.Position)
		if known[page.Position.Epoch] || page.Position.Offset != 0 || len(page.Messages) != 0 {
			t.Errorf("after life %d: %+v", i, page.Position)
		}
	}
	b.publish("h:1", "end")
	got := a.texts("h:1", 16)
	want := "life 0,life 0,life 0,reset,life 1,life 1,life 1,life 1,reset,life 2,life 2,life 2,life 2,life 2,reset,end"
	if strings.Join(got, ",") != want {
		t.Errorf("got %q", got)
	}
}

// A node that cannot keep up gets everything in the end, or knows that it has not.
func testSlowConsumer(t *testing.T, r *Rig) {
	slow, w := start(t, r), start(t, r)
	slow.attach("h:1")
	slow.mu.Lock()
	slow.slow = time.Millisecond
	slow.mu.Unlock()
	const all = 2000
	results := make(chan error, all)
	text := strings.Repeat("x", 2000)
	for i := range all {
		w.node.Publish(publication("h:1", fmt.Sprint(i, " ", text)), func(_ broker.Placed, err error) { results <- err })
	}
	for range all {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	end := w.publish("h:1", "end")
	slow.wait("the last message", func() bool { return slow.channels["h:1"].at == end.Position })
	next, got := 0, slow.texts("h:1", 1)
	for _, line := range got[:len(got)-1] {
		number := 0
		if line == "reset" {
			next = -1
			continue
		}
		if _, err := fmt.Sscan(line, &number); err != nil || next >= 0 && number != next {
			t.Fatalf("%.20q came where %d was due", line, next)
		}
		next = number + 1
	}
	if got[len(got)-1] != "end" || next != all {
		t.Errorf("it ended with %.20q, before that %d", got[len(got)-1], next)
	}
}
