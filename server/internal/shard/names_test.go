package shard

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The table of names against a map, through growth, deletion, reuse and the
// end of the last one.
func TestNamesAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	n := newNames()
	want := map[string]uint32{}
	name := func() string {
		i := rng.IntN(600)
		return fmt.Sprint("user", i, strings.Repeat("x", i%90))
	}
	for step := range 60_000 {
		grow := step%20_000 < 10_000
		switch s := name(); {
		case rng.IntN(10) < 7 == grow:
			row := n.intern(s)
			if old, known := want[s]; known && old != row {
				t.Fatalf("step %d: intern(%q) = %d, was %d", step, s, row, old)
			}
			want[s] = row
		case want[s] != 0:
			n.remove(want[s])
			delete(want, s)
		}
		if s := name(); n.find(s) != want[s] {
			t.Fatalf("step %d: find(%q) = %d, want %d", step, s, n.find(s), want[s])
		}
		if step%1000 == 0 || n.used != len(want) {
			checkNames(t, step, n, want)
		}
	}
	// 600 names of 5 to 97 bytes, in chunks of 8 KiB: removed ones were used again.
	if len(n.chunks) > 8 {
		t.Errorf("%d chunks for 600 names", len(n.chunks))
	}
	for s, row := range want {
		n.remove(row)
		delete(want, s)
		checkNames(t, -1, n, want)
	}
	if len(n.chunks) != 0 || len(n.index) != 0 || len(n.free) != 0 {
		t.Errorf("the empty table keeps %d chunks, %d index entries, %d free rows", len(n.chunks), len(n.index), len(n.free))
	}
	if n.find("anybody") != 0 {
		t.Error("somebody is in the empty table")
	}
}

func checkNames(t *testing.T, step int, n *names, want map[string]uint32) {
	t.Helper()
	if n.used != len(want) {
		t.Fatalf("step %d: %d names, want %d", step, n.used, len(want))
	}
	rows := map[uint32]bool{}
	for s, row := range want {
		if n.find(s) != row || string(n.name(row)) != s || rows[row] {
			t.Fatalf("step %d: %q is row %d, named %q, found at %d", step, s, row, n.name(row), n.find(s))
		}
		rows[row] = true
	}
}
