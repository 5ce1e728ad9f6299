package wire

import (
	"testing"

	"github.com/roostws/roost/frame"
)

// Unit finds the frame that a byte belongs to, wherever a write was cut.
func TestWebSocketUnit(t *testing.T) {
	var run []byte
	var ends []int
	for _, size := range []int{0, 1, 125, 126, 70_000, 3} {
		run = Of(WebSocket).AppendMessage(run, frame.OpText, make([]byte, size))
		ends = append(ends, len(run))
	}
	start, k := 0, 0
	for off := range run {
		if off == ends[k] {
			start, k = ends[k], k+1
		}
		if gotStart, gotEnd := Of(WebSocket).Unit(run, off); gotStart != start || gotEnd != ends[k] {
			t.Fatalf("Unit(run, %d) = [%d, %d), want [%d, %d)", off, gotStart, gotEnd, start, ends[k])
		}
	}
}

// A response is cut nowhere.
func TestResponseUnit(t *testing.T) {
	run := []byte("HTTP/1.1 200 OK\r\n\r\nHello")
	for off := range run {
		if start, end := Of(Response).Unit(run, off); start != 0 || end != len(run) {
			t.Fatalf("Unit(run, %d) = [%d, %d), want all of it", off, start, end)
		}
	}
}
