package throttle

import (
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, lines := range []int{0, 1, 3} {
		throttle := &Throttle{Lines: lines}
		want := max(lines, 1)
		for i := range 10 {
			if held, ok := throttle.pass(start.Add(time.Duration(i) * time.Millisecond)); ok != (i < want) || held != 0 {
				t.Errorf("%d lines: number %d passes: %v, %d were held; want %v, 0", lines, i, ok, held, i < want)
			}
		}
		if _, ok := throttle.pass(start.Add(Interval - 1)); ok {
			t.Errorf("%d lines: one passes before the interval is over", lines)
		}
		if held, ok := throttle.pass(start.Add(Interval)); !ok || held != uint64(11-want) {
			t.Errorf("%d lines: in the next interval one passes: %v, %d were held; want %d", lines, ok, held, 11-want)
		}
		if held, ok := throttle.pass(start.Add(3 * Interval)); !ok || held != 0 {
			t.Errorf("%d lines: later one passes: %v, %d were held; want none", lines, ok, held)
		}
	}
}
