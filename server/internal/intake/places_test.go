package intake

import (
	"testing"

	"github.com/roostws/roost/netpoll"
)

// A queue is served in order, as places become free.
func TestPlaces(t *testing.T) {
	p := Places{Max: 2}
	for id := netpoll.ID(1); id <= 5; id++ {
		if got, want := p.Take(id), id <= 2; got != want {
			t.Errorf("connection %d: Take = %v, want %v", id, got, want)
		}
	}
	if id, ok := p.Next(); ok {
		t.Errorf("Next gave a place to %d while all are taken", id)
	}
	if n := p.Waiting(func(id netpoll.ID) bool { return id == 4 }); n != 2 {
		t.Errorf("%d wait after one of three left, want 2", n)
	}
	for _, want := range []netpoll.ID{3, 5} {
		p.Give()
		if id, ok := p.Next(); !ok || id != want {
			t.Errorf("Next = %d, %v, want %d", id, ok, want)
		}
	}
	p.Give()
	if _, ok := p.Next(); ok {
		t.Error("Next found somebody in an empty queue")
	}
	if !p.Take(6) {
		t.Error("a free place was not given")
	}
}
