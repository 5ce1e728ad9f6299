package main

import (
	"slices"
	"testing"

	"github.com/roostws/roost/bench/report"
)

const trace = `gc 1 @0.832s 5%: 33+660+3.2 ms clock, 67+0.33/124/489+6.4 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P
time=2026-11-23T18:38:54.647Z level=INFO msg="server started" engine=epoll
GC forced
gc 2 @121.607s 0%: 0.5+16+0.25 ms clock, 34+0/12/2.0+1.8 ms cpu, 2->2->0 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P
gc 3 @130.000s 0%: 1.5+16+0.25 ms clock, 34+0/12/2.0+1.8 ms cpu, 2->2->7 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P
`

func TestParseTrace(t *testing.T) {
	want := []report.Cycle{
		{AtSeconds: 0.832, PauseMs: 36.2, MarkMs: 660, LiveMB: 1},
		{AtSeconds: 121.607, PauseMs: 0.75, MarkMs: 16},
		{AtSeconds: 130, PauseMs: 1.75, MarkMs: 16, LiveMB: 7},
	}
	if got := parseTrace(trace); !slices.Equal(got, want) {
		t.Errorf("parseTrace = %+v, want %+v", got, want)
	}
}
