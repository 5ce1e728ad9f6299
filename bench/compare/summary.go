//go:build linux

package main

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
)

// A figure is a column of the table: a metric of a scenario.
type figure struct {
	name, title, unit string
	scenario          string
	mode              mode
	metric            string
	// ratio shows the figure against the limit's. Memory is shown as it is: the
	// limit's is next to nothing.
	ratio bool
	// more is better than less.
	more bool
}

var figures = []figure{
	{name: "user_bytes", title: "user memory per idle connection", unit: "B", scenario: "idle", mode: echo, metric: "user_bytes_per_conn"},
	{name: "user_bytes_relay", title: "the same, in the list of a relay", unit: "B", scenario: "idle", mode: relay, metric: "user_bytes_per_conn"},
	{name: "open_cpu", title: "CPU per open", unit: "us", scenario: "idle", mode: echo, metric: "open_cpu", ratio: true},
	{name: "echo_cpu", title: "CPU per echo", unit: "us", scenario: "echo", mode: echo, metric: "echo_cpu", ratio: true},
	{name: "delivery_cpu", title: "CPU per delivery", unit: "us", scenario: "broadcast", mode: relay, metric: "single_cpu", ratio: true},
	{name: "delivery_rate", title: "deliveries a second, without pause", unit: "1/s", scenario: "broadcast", mode: relay, metric: "delivery_rate", ratio: true, more: true},
}

// value is a figure of a server over all rounds.
type value struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	// Ratio is the median of the ratios to the limit, each within its round; 0
	// where there is none.
	Ratio float64 `json:"ratio,omitempty"`
	// Rounds is how many have the figure.
	Rounds int `json:"rounds"`
}

// row is a server's line of the table.
type row struct {
	Server string           `json:"server"`
	Values map[string]value `json:"values"`
	// Notes are faults, errors and how often each occurred.
	Notes []string `json:"notes,omitempty"`
	// Held is false if a turn failed or had a fault.
	Held bool `json:"held"`
}

// summarizeTurns is the table over all turns, in the order of servers.
func summarizeTurns(servers []serverInfo, turns []turn) []row {
	base := make(map[int]map[string]float64) // the yardstick's figures by round
	for _, s := range servers {
		if s.Kind != yardstick {
			continue
		}
		for _, t := range turns {
			if t.Server == s.Name {
				base[t.Round] = t.Figures
			}
		}
	}
	var rows []row
	for _, s := range servers {
		r := row{Server: s.Name, Values: make(map[string]value), Held: true}
		counts := make(map[string]int)
		for _, t := range turns {
			if t.Server != s.Name {
				continue
			}
			notes := t.Faults
			if t.Error != "" {
				notes = append(slices.Clone(notes), t.Error)
			}
			for _, note := range notes {
				r.Held = false
				if counts[note]++; counts[note] == 1 {
					r.Notes = append(r.Notes, note)
				}
			}
		}
		for _, f := range figures {
			if v, ok := summarizeFigure(f, s.Name, turns, base); ok {
				r.Values[f.name] = v
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func summarizeFigure(f figure, server string, turns []turn, base map[int]map[string]float64) (value, bool) {
	var values, ratios []float64
	for _, t := range turns {
		v, ok := t.Figures[f.name]
		if t.Server != server || !ok {
			continue
		}
		values = append(values, v)
		if b := base[t.Round][f.name]; f.ratio && b > 0 {
			ratios = append(ratios, v/b)
		}
	}
	if len(values) == 0 {
		return value{}, false
	}
	sum := value{Median: median(values), Low: slices.Min(values), High: slices.Max(values), Rounds: len(values)}
	if len(ratios) > 0 {
		sum.Ratio = median(ratios)
	}
	return sum, true
}

// median is the middle one, or between the two in the middle; NaN of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

var numberInWarning = regexp.MustCompile(`[0-9][0-9.]*`)

// summarizeWarnings lists each kind of warning once, with the number of turns that
// had it. What differs between warnings of a kind is their numbers, and the scenario
// and the part of it, "echo: saturated: ", with which they begin.
func summarizeWarnings(turns []turn) []string {
	counts := make(map[string]int)
	for _, t := range turns {
		kinds := make(map[string]bool)
		for _, w := range t.Warnings {
			if parts := strings.SplitN(w, ": ", 3); len(parts) == 3 {
				w = parts[2]
			}
			kinds[numberInWarning.ReplaceAllString(w, "#")] = true
		}
		for kind := range kinds {
			counts[kind]++
		}
	}
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		lines = append(lines, fmt.Sprintf("in %d of %d turns: %s", counts[kind], len(turns), kind))
	}
	return lines
}
