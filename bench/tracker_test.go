package bench

import (
	"math/rand/v2"
	"testing"
)

func TestTracker(t *testing.T) {
	far := make([]uint64, 0, 70)
	for n := uint64(2); n < 70; n++ {
		far = append(far, n)
	}
	for _, tc := range []struct {
		name  string
		first uint64
		got   []uint64
		want  Arrivals
	}{
		{"in order", 5, []uint64{5, 6, 7}, Arrivals{Unique: 3}},
		{"a repeat", 0, []uint64{0, 1, 1, 2}, Arrivals{Unique: 3, Repeated: 1}},
		{"a loss", 0, []uint64{0, 2, 3}, Arrivals{Unique: 3}},
		{"disorder", 0, []uint64{0, 2, 1, 3}, Arrivals{Unique: 4, Disordered: 1}},
		{"late, then repeated", 0, []uint64{1, 0, 0}, Arrivals{Unique: 2, Repeated: 1, Disordered: 1}},
		{"of an earlier phase", 10, []uint64{9, 10}, Arrivals{Unique: 1, Repeated: 1}},
		{"a jump beyond the window", 0, []uint64{0, 1000, 1001}, Arrivals{Unique: 3}},
		{"later than the window remembers", 0, append(append([]uint64{0}, far...), 1), Arrivals{Unique: 69, Disordered: 1}},
	} {
		tr := newTracker(tc.first)
		var a Arrivals
		for _, seq := range tc.got {
			a.count(tr.observe(seq))
		}
		if a != tc.want {
			t.Errorf("%s: %v counted as %+v, want %+v", tc.name, tc.got, a, tc.want)
		}
	}
}

// Against a set that remembers everything, with faults that stay within the
// window.
func TestTrackerAgainstSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var sent []uint64
	for n := range uint64(2000) {
		switch rng.IntN(10) {
		case 0: // lost
		case 1:
			sent = append(sent, n, n)
		default:
			sent = append(sent, n)
		}
	}
	for i := 0; i+20 < len(sent); i += 7 {
		j := i + rng.IntN(20)
		sent[i], sent[j] = sent[j], sent[i]
	}
	tr, seen, highest := newTracker(0), make(map[uint64]bool), uint64(0)
	var got, want Arrivals
	for i, seq := range sent {
		got.count(tr.observe(seq))
		switch {
		case seen[seq]:
			want.Repeated++
		case i > 0 && seq < highest:
			want.Unique++
			want.Disordered++
		default:
			want.Unique++
		}
		seen[seq], highest = true, max(highest, seq)
	}
	if got != want || want.Repeated == 0 || want.Disordered == 0 {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if lost := got.Lost(2000); lost != uint64(2000-len(seen)) {
		t.Errorf("lost %d, want %d", lost, 2000-len(seen))
	}
}

func TestArrivalsLost(t *testing.T) {
	if got := (Arrivals{Unique: 7}).Lost(10); got != 3 {
		t.Errorf("Lost(10) of 7 = %d, want 3", got)
	}
	if got := (Arrivals{Unique: 10}).Lost(9); got != 0 {
		t.Errorf("Lost(9) of 10 = %d, want 0", got)
	}
}
