//go:build linux || darwin || freebsd

package netpoll

import (
	"math"
	"slices"
	"testing"
	"unsafe"
)

func newTestTable(t *testing.T, slots int) *socketTable {
	t.Helper()
	table, err := newSocketTable(slots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.unmap)
	return table
}

func TestSocketIsSmall(t *testing.T) {
	if got := unsafe.Sizeof(socket{}); got > 16 {
		t.Errorf("a socket takes %d bytes, the budget is 16", got)
	}
}

func TestSocketTableSlots(t *testing.T) {
	table := newTestTable(t, 100)
	var ids []ID
	take := func() uint32 {
		slot, s := table.take(1000 + len(ids))
		ids = append(ids, MakeID(0, slot, s.generation))
		return slot
	}
	for want := range uint32(4) {
		if got := take(); got != want {
			t.Fatalf("slot %d, want %d: not dense", got, want)
		}
	}
	table.release(1)
	table.release(3)
	for _, want := range []uint32{3, 1, 4} {
		if got := take(); got != want {
			t.Errorf("slot %d, want %d: the last freed comes first", got, want)
		}
	}
	for i, wantFD := range []int32{1000, 0, 1002, 0, 1004, 1005, 1006} {
		s := table.get(ids[i])
		switch {
		case wantFD == 0 && s != nil:
			t.Errorf("get(%v) finds descriptor %d, want nothing: the id is stale", ids[i], s.fd)
		case wantFD != 0 && (s == nil || s.fd != wantFD):
			t.Errorf("get(%v) = %v, want descriptor %d", ids[i], s, wantFD)
		}
	}
	for _, id := range []ID{0, MakeID(0, 1, 0), MakeID(0, 99, 1), MakeID(0, MaxSlots-1, 1)} {
		if s := table.get(id); s != nil {
			t.Errorf("get(%v) = %v, want nothing", id, s)
		}
	}
}

func TestGenerationIsNeverZero(t *testing.T) {
	table := newTestTable(t, 4)
	table.lastUsed = math.MaxUint32 - 1
	var got []uint32
	for range 3 {
		_, s := table.take(1)
		got = append(got, s.generation)
	}
	if want := []uint32{math.MaxUint32, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("generations %v, want %v", got, want)
	}
}

func TestInterest(t *testing.T) {
	for _, tt := range []struct {
		flags socketFlags
		want  interest
	}{
		{0, interestRead},
		{wantsWrite, interestRead | interestWrite},
		{paused, 0},
		{paused | wantsWrite, interestWrite},
		{lingering, interestRead},
		{lingering | paused | wantsWrite, interestRead}, // or the peer's end would never be seen
	} {
		if got := tt.flags.interest(); got != tt.want {
			t.Errorf("interest of %b = %b, want %b", tt.flags, got, tt.want)
		}
		f := tt.flags
		f.setPolled(tt.want)
		if got := f.polledInterest(); got != tt.want || f&^(polled|polledRead|polledWrite) != tt.flags {
			t.Errorf("%b with interest %b noted = %b, which says %b", tt.flags, tt.want, f, got)
		}
	}
}

func TestLingerQueue(t *testing.T) {
	var q lingerQueue
	if _, ok := q.first(); ok {
		t.Error("the empty queue has a first entry")
	}
	const n = 10 * keptCloses
	next := 0
	for i := range n {
		q.push(ID(i), int64(i))
		if i%3 != 0 {
			continue
		}
		if at, ok := q.first(); !ok || at != int64(next) {
			t.Fatalf("first = %d, %v, want %d", at, ok, next)
		}
		if got := q.pop(); got != ID(next) {
			t.Fatalf("pop = %d, want %d", got, next)
		}
		next++
	}
	for ; next < n; next++ {
		if got := q.pop(); got != ID(next) {
			t.Fatalf("pop = %d, want %d", got, next)
		}
		if past := q.head; past > keptCloses && past*2 > len(q.entries) {
			t.Fatalf("%d of %d entries are of the past", past, len(q.entries))
		}
	}
	if _, ok := q.first(); ok || cap(q.entries) > keptCloses {
		t.Errorf("the queue has an entry (%v) or keeps memory for %d", ok, cap(q.entries))
	}
}
