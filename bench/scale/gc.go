package main

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/roostws/roost/bench"
)

// A cycle is one garbage collection, of a line of GODEBUG=gctrace=1:
//
//	gc 2 @121.6s 0%: 0.17+16+0.94 ms clock, ..., 2->2->0 MB, 4 MB goal, ...
type cycle struct {
	// AtSeconds is the age of the process.
	AtSeconds float64 `json:"at_seconds"`
	// PauseMs is how long the world stood still: the first and the last of the
	// three parts. MarkMs, in between, is concurrent.
	PauseMs float64 `json:"pause_ms"`
	MarkMs  float64 `json:"mark_ms"`
	// LiveMB is the heap that was found to be in use.
	LiveMB int `json:"live_mb"`
}

var cycleLine = regexp.MustCompile(`^gc \d+ @([\d.]+)s \d+%: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock,.* \d+->\d+->(\d+) MB,`)

func parseTrace(log string) []cycle {
	var cycles []cycle
	for line := range strings.SplitSeq(log, "\n") {
		m := cycleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		number := func(i int) float64 {
			v, _ := strconv.ParseFloat(m[i], 64) // the expression lets digits through only
			return v
		}
		cycles = append(cycles, cycle{
			AtSeconds: number(1), PauseMs: number(2) + number(4), MarkMs: number(3), LiveMB: int(number(5)),
		})
	}
	return cycles
}

// pauses sums up the cycles of one step.
type pauses struct {
	count, liveMB      int
	longestMs, totalMs float64
}

// stepPauses are the cycles between the end of the step before, or the start of
// the server, and the end of step i.
func stepPauses(steps []bench.Step, cycles []cycle, i int) pauses {
	from := 0.0
	if i > 0 {
		from = steps[i-1].ServerSeconds
	}
	var p pauses
	for _, c := range cycles {
		if c.AtSeconds <= from || c.AtSeconds > steps[i].ServerSeconds {
			continue
		}
		p.count++
		p.liveMB = max(p.liveMB, c.LiveMB)
		p.longestMs = max(p.longestMs, c.PauseMs)
		p.totalMs += c.PauseMs
	}
	return p
}
