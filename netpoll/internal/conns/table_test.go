//go:build linux || darwin || freebsd

package conns

import (
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/roostws/roost/netpoll"
)

func newTestTable(t *testing.T, slots int) *Table {
	t.Helper()
	table := &Table{}
	if err := table.init(slots); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Unmap)
	return table
}

func TestSocketIsSmall(t *testing.T) {
	if got := unsafe.Sizeof(Socket{}); got > 16 {
		t.Errorf("a socket takes %d bytes, the budget is 16", got)
	}
}

func TestSocketTableSlots(t *testing.T) {
	table := newTestTable(t, 100)
	var ids []netpoll.ID
	take := func() uint32 {
		slot, s := table.take(1000 + len(ids))
		ids = append(ids, netpoll.MakeID(0, slot, s.Generation))
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
		s := table.Get(ids[i])
		switch {
		case wantFD == 0 && s != nil:
			t.Errorf("get(%v) finds descriptor %d, want nothing: the id is stale", ids[i], s.FD)
		case wantFD != 0 && (s == nil || s.FD != wantFD):
			t.Errorf("get(%v) = %v, want descriptor %d", ids[i], s, wantFD)
		}
	}
	for _, id := range []netpoll.ID{0, netpoll.MakeID(0, 1, 0), netpoll.MakeID(0, 99, 1), netpoll.MakeID(0, netpoll.MaxSlots-1, 1)} {
		if s := table.Get(id); s != nil {
			t.Errorf("get(%v) = %v, want nothing", id, s)
		}
	}
}

// TestTableForgets: an empty table that was large gives its memory back, and its
// old IDs stay stale.
func TestTableForgets(t *testing.T) {
	const slots = 20_000 // more than trimBytes
	table := newTestTable(t, slots)
	var ids []netpoll.ID
	for i := range slots {
		slot, s := table.take(i)
		ids = append(ids, netpoll.MakeID(0, slot, s.Generation))
	}
	for _, id := range ids {
		table.release(id.Slot())
	}
	if table.used != 0 || table.open != 0 {
		t.Errorf("the empty table uses %d slots, %d of them open", table.used, table.open)
	}
	for slot, s := range table.rows.Rows {
		if s != (Socket{}) {
			t.Fatalf("slot %d of the empty table is %v: its memory was not given back", slot, s)
		}
	}
	slot, s := table.take(7)
	if slot != 0 || s.Generation == ids[0].Generation() || table.Get(ids[0]) != nil {
		t.Errorf("after the table forgot, slot %d has generation %d, want slot 0 and a new one", slot, s.Generation)
	}
}

func TestGenerationIsNeverZero(t *testing.T) {
	table := newTestTable(t, 4)
	table.lastGeneration = math.MaxUint32 - 1
	var got []uint32
	for range 3 {
		_, s := table.take(1)
		got = append(got, s.Generation)
	}
	if want := []uint32{math.MaxUint32, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("generations %v, want %v", got, want)
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
		q.push(netpoll.ID(i), int64(i))
		if i%3 != 0 {
			continue
		}
		if at, ok := q.first(); !ok || at != int64(next) {
			t.Fatalf("first = %d, %v, want %d", at, ok, next)
		}
		if got := q.pop(); got != netpoll.ID(next) {
			t.Fatalf("pop = %d, want %d", got, next)
		}
		next++
	}
	for ; next < n; next++ {
		if got := q.pop(); got != netpoll.ID(next) {
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
