package storm

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
)

// Arrivals are even if every whole second but the first and the last has as many.
func TestFlatness(t *testing.T) {
	var even, uneven []time.Duration
	for i := range 1000 {
		at := 3*time.Second + time.Duration(i)*10*time.Millisecond
		even, uneven = append(even, at), append(uneven, at)
	}
	for range 40 {
		uneven = append(uneven, 8*time.Second)
	}
	if f := flatness(even); f.percent != 0 || f.peak != 100 {
		t.Errorf("an even rate: %+v", f)
	}
	if f := flatness(uneven); f.percent < 25 || f.percent > 40 || f.peak != 140 {
		t.Errorf("with a peak of 140 in one second: %+v", f)
	}
	if f := flatness([]time.Duration{0, time.Second}); f.percent != 100 {
		t.Errorf("all at once: %+v", f)
	}
}

func TestFarewell(t *testing.T) {
	for reason, want := range map[string]struct {
		after time.Duration
		told  bool
	}{"bye; retry=1500": {1500 * time.Millisecond, true}, "bye; retry=0": {0, true}, "bye": {}, "bye; retry=x": {}} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(frame.AppendClose(nil, frame.CloseGoingAway, reason))
			_, _ = io.Copy(io.Discard, theirs)
		}()
		if after, told := farewell(ours); after != want.after || told != want.told {
			t.Errorf("%q: %v, %v", reason, after, told)
		}
		_ = theirs.Close()
	}
}
