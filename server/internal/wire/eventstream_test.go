package wire

import (
	"testing"

	"github.com/roostws/roost/frame"
)

// Unit finds the block that a byte belongs to, wherever a write was cut.
func TestEventStreamUnit(t *testing.T) {
	w := Of(EventStream)
	var run []byte
	var ends []int
	for _, payload := range []string{"", "a", "two\nlines\r\n", "\n\n"} {
		run = w.AppendMessage(append(run, "id: 1\n"...), frame.OpText, []byte(payload))
		ends = append(ends, len(run))
	}
	run = append(run, w.Ping()...)
	ends = append(ends, len(run))
	run = w.AppendClose(run, frame.CloseGoingAway, "bye; retry=7")
	ends = append(ends, len(run))
	start, k := 0, 0
	for off := range run {
		if off == ends[k] {
			start, k = ends[k], k+1
		}
		if gotStart, gotEnd := w.Unit(run, off); gotStart != start || gotEnd != ends[k] {
			t.Fatalf("Unit(run, %d) = [%d, %d), want [%d, %d)", off, gotStart, gotEnd, start, ends[k])
		}
	}
}

// The last event says why, and when an EventSource comes back.
func TestEventStreamClose(t *testing.T) {
	for _, test := range []struct {
		code         frame.CloseCode
		reason, want string
	}{
		{1001, "bye; retry=1500", "retry: 1500\nevent: close\ndata: {\"code\":1001,\"reason\":\"bye\",\"retry\":1.5}\n\n"},
		{1013, "slow", "event: close\ndata: {\"code\":1013,\"reason\":\"slow\"}\n\n"},
		{4401, `no "token"`, "retry: 3600000\nevent: close\ndata: {\"code\":4401,\"reason\":\"no \\\"token\\\"\"}\n\n"},
		{1008, "; retry=x", "retry: 3600000\nevent: close\ndata: {\"code\":1008,\"reason\":\"; retry=x\"}\n\n"},
	} {
		if got := string(Of(EventStream).AppendClose(nil, test.code, test.reason)); got != test.want {
			t.Errorf("%d %q: got %q, want %q", test.code, test.reason, got, test.want)
		}
	}
	if got, want := string(Of(Poll).AppendClose(nil, 1001, "bye; retry=1500")), `{"close":{"code":1001,"reason":"bye","retry":1.5}},`; got != want {
		t.Errorf("a poll: got %s, want %s", got, want)
	}
}
