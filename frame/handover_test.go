package frame

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestAppendHeld moves each stream to a new decoder at every byte.
func TestAppendHeld(t *testing.T) {
	moved := 0
	for seed := range uint64(2_000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		masked, rsv1 := seed&1 != 0, seed&2 != 0
		cfg := streamConfig(masked, rsv1)
		stream := randomStream(rng, masked, rsv1)
		wantEvents, _, wantErr := decode(t, cfg, stream)

		var events []event
		var err error
		d := new(Decoder)
		d.Reset(cfg)
		for i := 0; i < len(stream) && err == nil; i++ {
			var more []event
			more, err = feed(t, d, stream[i:i+1])
			events = append(events, more...)
			held := d.AppendHeld([]byte("x"))[1:]
			if err == nil && (len(held) == 0) != d.Idle() {
				t.Fatalf("seed %d: AppendHeld = %x, Idle() = %v", seed, held, d.Idle())
			}
			if len(held) == 0 {
				continue
			}
			next := new(Decoder)
			next.Reset(cfg)
			if more, err := feed(t, next, held); err != nil || len(more) != 0 {
				t.Fatalf("seed %d, byte %d: feeding %x gives %v, %v", seed, i, held, more, err)
			}
			if next.fragments != d.fragments && d.op != 0 {
				t.Fatalf("seed %d, byte %d: %d fragments became %d", seed, i, d.fragments, next.fragments)
			}
			d.Reset(cfg)
			d = next
			moved++
		}
		if fmt.Sprint(events) != fmt.Sprint(wantEvents) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("seed %d, stream %x: moved: %v, %v; stayed: %v, %v", seed, stream, events, err, wantEvents, wantErr)
		}
	}
	if moved < 10_000 {
		t.Errorf("only %d moves", moved)
	}
}
