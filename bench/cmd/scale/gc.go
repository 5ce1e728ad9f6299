package main

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/roostws/roost/bench/report"
)

var cycleLine = regexp.MustCompile(`^gc \d+ @([\d.]+)s \d+%: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock,.* \d+->\d+->(\d+) MB,`)

// parseTrace returns the garbage collections of a server that ran under
// GODEBUG=gctrace=1, each from a line like this:
//
//	gc 2 @121.6s 0%: 0.17+16+0.94 ms clock, ..., 2->2->0 MB, 4 MB goal, ...
func parseTrace(log string) []report.Cycle {
	var cycles []report.Cycle
	for line := range strings.SplitSeq(log, "\n") {
		m := cycleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		number := func(i int) float64 {
			v, _ := strconv.ParseFloat(m[i], 64) // the expression lets digits through only
			return v
		}
		cycles = append(cycles, report.Cycle{
			AtSeconds: number(1), PauseMs: number(2) + number(4), MarkMs: number(3), LiveMB: int(number(5)),
		})
	}
	return cycles
}
