package shard

import (
	"math/rand/v2"
	"testing"
)

// chunks against a slice: pushes and pops around the borders of chunks.
func TestChunksAgainstSlice(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var c chunks[uint32]
	var want []uint32
	most := 0
	for step := range 40_000 {
		if up := step/5_000%2 == 0; rng.IntN(10) < 9 == up {
			v := rng.Uint32()
			c.push(v)
			want = append(want, v)
		} else if len(want) > 0 {
			c.pop()
			want = want[:len(want)-1]
		}
		most = max(most, len(want))
		if int(c.n) != len(want) {
			t.Fatalf("step %d: n = %d, want %d", step, c.n, len(want))
		}
		if n := len(want); n > 0 {
			i := rng.IntN(n)
			if *c.at(uint32(i)) != want[i] || *c.at(c.n - 1) != want[n-1] {
				t.Fatalf("step %d: row %d = %d, want %d", step, i, *c.at(uint32(i)), want[i])
			}
		}
		if unused := len(c.list)*chunkRows - len(want); unused > 3*chunkRows {
			t.Fatalf("step %d: %d rows are kept for %d", step, len(c.list)*chunkRows, len(want))
		}
	}
	if most < 3*chunkRows {
		t.Fatalf("the test never had more than %d rows", most)
	}
}
