//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/bench"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{5}, 5},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		before := slices.Clone(test.values)
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
		if !slices.Equal(test.values, before) {
			t.Errorf("median changed its argument %v to %v", before, test.values)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median(nil) = %v, want NaN", got)
	}
}

var (
	testServers = []serverInfo{{"limit", "", yardstick}, {"roost-epoll", "", ours}, {"gws", "a <peer>", peer}}
	testTurns   = []turn{
		{Server: "limit", Round: 1, Figures: map[string]float64{"open_cpu": 10, "user_bytes": 30}},
		{Server: "limit", Round: 2, Figures: map[string]float64{"open_cpu": 20, "user_bytes": 30}},
		{Server: "limit", Round: 3, Figures: map[string]float64{"open_cpu": 40, "user_bytes": 32}},
		// The machine got slower and slower: the ratio did not.
		{Server: "roost-epoll", Round: 1, Figures: map[string]float64{"open_cpu": 8, "user_bytes": 128}},
		{Server: "roost-epoll", Round: 3, Figures: map[string]float64{"open_cpu": 36, "user_bytes": 130}},
		{Server: "roost-epoll", Round: 2, Figures: map[string]float64{"open_cpu": 16, "user_bytes": 129}},
		{Server: "gws", Round: 1, Figures: map[string]float64{"open_cpu": 30}, Faults: []string{"idle: 2 lost"}},
		{Server: "gws", Round: 2, Figures: map[string]float64{}, Error: "echo: did not start", Faults: []string{"idle: 2 lost"}},
	}
)

func TestSummarizeTurns(t *testing.T) {
	rows := summarizeTurns(testServers, testTurns)
	if len(rows) != 3 {
		t.Fatalf("%d rows, want 3", len(rows))
	}
	want := value{Median: 16, Low: 8, High: 36, Ratio: 0.8, Rounds: 3}
	if got := rows[1].Values["open_cpu"]; got != want {
		t.Errorf("roost-epoll open_cpu = %+v, want %+v", got, want)
	}
	// Memory has no ratio.
	want = value{Median: 129, Low: 128, High: 130, Rounds: 3}
	if got := rows[1].Values["user_bytes"]; got != want {
		t.Errorf("roost-epoll user_bytes = %+v, want %+v", got, want)
	}
	want = value{Median: 30, Low: 30, High: 30, Ratio: 3, Rounds: 1}
	if got := rows[2].Values["open_cpu"]; got != want {
		t.Errorf("gws open_cpu = %+v, want %+v", got, want)
	}
	if _, ok := rows[2].Values["echo_cpu"]; ok {
		t.Error("gws has an echo_cpu that nobody measured")
	}
	if rows[2].Held || !slices.Equal(rows[2].Notes, []string{"idle: 2 lost", "echo: did not start"}) {
		t.Errorf("gws held = %v, notes %q, want the fault and the error, each once", rows[2].Held, rows[2].Notes)
	}
	if !rows[0].Held || !rows[1].Held {
		t.Error("servers without a fault are not held")
	}
}

func TestFigureNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range figures {
		if seen[f.name] {
			t.Errorf("two figures are named %q", f.name)
		}
		seen[f.name] = true
	}
}

func TestSummarizeWarnings(t *testing.T) {
	got := summarizeWarnings([]turn{
		{Warnings: []string{"echo: opening: others used 65 % of it: yes", "echo: saturated: others used 7.5 % of it: yes"}},
		{Warnings: []string{"idle: opening: others used 91 % of it: yes", "a late one"}},
		{},
	})
	want := []string{"in 1 of 3 turns: a late one", "in 2 of 3 turns: others used # % of it: yes"}
	if !slices.Equal(got, want) {
		t.Errorf("summarizeWarnings = %q, want %q", got, want)
	}
}

func TestHeld(t *testing.T) {
	for _, test := range []struct {
		name string
		turn turn
		want bool
	}{
		{"all well", turn{Server: "roost-epoll"}, true},
		{"a fault of ours", turn{Server: "roost-epoll", Faults: []string{"lost"}}, false},
		{"a fault of a peer is a finding", turn{Server: "gws", Faults: []string{"lost"}}, true},
		{"a turn that failed", turn{Server: "gws", Error: "did not start"}, false},
	} {
		r := report{Servers: testServers, Turns: []turn{{Server: "limit"}, test.turn}}
		if got := r.held(); got != test.want {
			t.Errorf("%s: held = %v, want %v", test.name, got, test.want)
		}
	}
}

func testReport() *report {
	r := &report{
		Schema: 1, Date: time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC), Servers: testServers, Turns: testTurns,
		Plan:        plan{Connections: 500, Rounds: 3, Period: time.Second},
		Environment: bench.Environment{Host: "h", Kernel: "6.18", CPU: "a < b", CPUs: 2, Command: []string{"scripts/compare.sh"}},
		Limits:      []string{"something small"},
	}
	r.summarize()
	return r
}

func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", fileName(testReport().Date, "Some Host!"))
	if got, want := filepath.Base(path), "2026-11-23-compare-some-host"; got != want {
		t.Errorf("file name %q, want %q", got, want)
	}
	if err := testReport().save(path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if got := back.Rows[1].Values["open_cpu"].Ratio; got != 0.8 {
		t.Errorf("the saved ratio is %v, want 0.8", got)
	}
	markdown, err := os.ReadFile(path + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.80x (16.0 us)", "129 B", "| gws (!) |", "idle: 2 lost", "limited: something small", "compare-some-host.svg"} {
		if !strings.Contains(string(markdown), want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, markdown)
		}
	}
	plot, err := os.ReadFile(path + ".svg")
	if err != nil {
		t.Fatal(err)
	}
	bars := 0
	for d := xml.NewDecoder(bytes.NewReader(plot)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the plot is not XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if want := 1 + 2 + 3; bars != want { // the background, user_bytes, open_cpu
		t.Errorf("the plot has %d rectangles, want %d", bars, want)
	}
}

func TestChoose(t *testing.T) {
	all := []contender{
		{name: "limit", kind: yardstick}, {name: "a", kind: ours}, {name: "b", kind: peer},
		{name: "c", kind: peer, missing: func() string { return "no c here" }},
	}
	for _, test := range []struct {
		only, want, leftOut string
	}{
		{"", "limit a b", "c is left out: no c here"},
		{"b", "limit b", ""},
		{"b,limit", "limit b", ""},
		{"c", "limit", "c is left out: no c here"},
	} {
		chosen, leftOut, err := choose(all, test.only)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range chosen {
			names = append(names, c.name)
		}
		if got := strings.Join(names, " "); got != test.want || strings.Join(leftOut, " ") != test.leftOut {
			t.Errorf("choose(%q) = %s, left out %q, want %s, %q", test.only, got, leftOut, test.want, test.leftOut)
		}
	}
	if _, _, err := choose(all, "a,d"); err == nil || !strings.Contains(err.Error(), "limit, a, b, c") {
		t.Errorf("choose of an unknown name: %v, want an error with all names", err)
	}
}

func TestFit(t *testing.T) {
	p := plan{Connections: 50_000}
	limits := p.fit(bench.Environment{Descriptors: 20_000, CPUs: 8})
	if p.Connections != 20_000-serverReserve || len(limits) == 0 || !strings.Contains(limits[0], "50000") {
		t.Errorf("fit: %d connections, %q, want what fits, and that it was said", p.Connections, limits)
	}
	p = plan{Connections: 10_000}
	p.fit(bench.Environment{Descriptors: 20_000, CPUs: 8})
	if p.Connections != 10_000 {
		t.Errorf("fit lowered 10,000 to %d", p.Connections)
	}
}

func TestProcess(t *testing.T) {
	fails := contender{command: func(string, mode) []string { return []string{"/bin/sh", "-c", "echo no such engine >&2; exit 3"} }}
	if _, err := start(context.Background(), fails, echo); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such engine") {
		t.Errorf("start of a server that fails: %v, want its status and its words", err)
	}
	absent := contender{command: func(string, mode) []string { return []string{"/nonexistent/server"} }}
	if _, err := start(context.Background(), absent, echo); err == nil {
		t.Error("start of nothing succeeded")
	}
}
