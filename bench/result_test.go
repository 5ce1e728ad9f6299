package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A server that stops for 100 ms delays everything that was due meanwhile. A
// generator that waits for each answer before it sends the next message sees
// one slow message in a thousand; the timetable sees ten percent of them.
func TestLatencyCountsFromWhenDue(t *testing.T) {
	const interval, stall = int64(time.Millisecond), int64(100 * time.Millisecond)
	fromSending, fromDue := newHistogram(), newHistogram()
	free := int64(0) // when the one-at-a-time generator can send again
	for k := range int64(1000) {
		due := k * interval
		sent := max(due, free)
		answered := sent + interval/10
		if k == 500 {
			answered += stall
		}
		free = answered
		fromSending.record(answered - sent)
		fromDue.record(answered - due)
	}
	if p99 := fromSending.latency().P99Ns; p99 > 2*interval {
		t.Errorf("p99 from sending = %d ns: the example shows no omission", p99)
	}
	if l := fromDue.latency(); l.P99Ns < stall/2 || l.MaxNs < stall {
		t.Errorf("p99 from due = %d ns, max %d, want the stall of %d to show", l.P99Ns, l.MaxNs, stall)
	}
}

func TestHistogramPrecisionAndMerge(t *testing.T) {
	a, b := newHistogram(), newHistogram()
	for n := range int64(1000) {
		a.record((n + 1) * 10_000)
		b.record((n + 1001) * 10_000)
	}
	b.record(math.MaxInt64) // beyond the range: counted at its end
	text, err := b.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	again := &histogram{}
	if err := again.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	a.merge(again)
	l := a.latency()
	if l.Count != 2001 {
		t.Errorf("%d samples, want 2001", l.Count)
	}
	for name, c := range map[string][2]int64{"p50": {l.P50Ns, 10_000_000}, "p90": {l.P90Ns, 18_010_000}, "max": {l.MaxNs, histogramHighest}} {
		if off := math.Abs(float64(c[0]-c[1])) / float64(c[1]); off > 0.002 {
			t.Errorf("%s = %d, want %d within 0.2 %%", name, c[0], c[1])
		}
	}
}

func exampleResult(label string, scale float64) *Result {
	r := &Result{
		Schema: SchemaVersion, Scenario: "echo", Label: label, Started: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Seconds: 3.5, Held: true, Connections: 2000, PayloadBytes: 128, Generators: 1,
		Warnings:    []string{"at a rate: other programs used 12 % of the machine: times and latencies are theirs, too"},
		Environment: Environment{Host: "h", Kernel: "6.1", CPUs: 2, Limits: map[string]string{"fs.nr_open": "1048576"}},
	}
	r.add("user_bytes_per_conn", 100*scale, "B", "user-space memory per connection")
	r.add("echo_cpu", 6.4*scale, "us", "server CPU per message, saturated")
	r.add("delivery_rate", 1234567*scale, "1/s", "deliveries a second")
	h := newHistogram()
	for n := range int64(100) {
		h.record(int64(float64(n+1) * 1e5 * scale))
	}
	r.addLatency("echo", "round trip at a rate", h)
	return r
}

func TestResultJSON(t *testing.T) {
	want := exampleResult("x", 1)
	var b bytes.Buffer
	if err := want.Write(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := ReadResult(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, want %+v", got, want)
	}
	for _, key := range []string{`"schema": 1`, `"held": true`, `"p99_ns"`, `"hdr": "HIST`, `"kernel": "6.1"`} {
		if !strings.Contains(text, key) {
			t.Errorf("JSON has no %s:\n%s", key, text)
		}
	}
	if _, err := ReadResult(strings.NewReader(`{"schema": 99}`)); err == nil {
		t.Error("schema 99 was read")
	}
}

func TestResultTable(t *testing.T) {
	r := exampleResult("x", 1)
	var b strings.Builder
	r.WriteTable(&b)
	want := `echo: x, 2000 connections, 128 B, 4 s
  user-space memory per connection         100  B
  server CPU per message, saturated       6.40  us
  deliveries a second                1,234,567  1/s
  ms                     p50   p90   p99  p99.9   max
  round trip at a rate  5.00  9.00  9.90   10.0  10.0
  warning: at a rate: other programs used 12 % of the machine: times and latencies are theirs, too
  held: everything that was checked was right
`
	if b.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", b.String(), want)
	}
	r.Held, r.Faults = false, []string{"3 messages were lost"}
	b.Reset()
	r.WriteTable(&b)
	if !strings.HasSuffix(b.String(), "  FAULT: 3 messages were lost\n  NOT HELD\n") {
		t.Errorf("table of a result that is not held:\n%s", b.String())
	}
}

func TestFormatValue(t *testing.T) {
	for _, tc := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, "", "0"}, {12, "", "12"}, {1234567, "", "1,234,567"}, {6.4, "us", "6.40"}, {12.34, "us", "12.3"},
		{99.96, "us", "100"}, {999.4, "B", "999"}, {1000, "B", "1,000"}, {-1234, "B", "-1,234"}, {-3.2, "B", "-3.20"},
	} {
		if got := FormatValue(tc.v, tc.unit); got != tc.want {
			t.Errorf("FormatValue(%v, %q) = %s, want %s", tc.v, tc.unit, got, tc.want)
		}
	}
}

func exampleComparison() *Comparison {
	c := &Comparison{
		Schema: SchemaVersion, Title: "Example", Connections: 2000, Rounds: 3, Command: "scripts/c10k.sh",
		Servers: []Server{{Label: "bare", Reference: "bare"}, {Label: "epoll", Reference: "bare", Budget: true}},
	}
	for i, scale := range []float64{1, 9, 2} { // the median is 2, the mean 4
		bare, epoll := exampleResult("bare", scale), exampleResult("epoll", scale*1.5)
		bare.Round, epoll.Round = i+1, i+1
		c.Results = append(c.Results, bare, epoll)
	}
	return c
}

func TestComparison(t *testing.T) {
	c := exampleComparison()
	got, ok := c.Summary(c.Servers[1], "echo_cpu")
	want := Summary{Median: 6.4 * 3, Min: 6.4 * 1.5, Max: 6.4 * 13.5, Ratio: 1.5, Rounds: 3}
	if !ok || math.Abs(got.Median-want.Median) > 1e-9 || math.Abs(got.Ratio-1.5) > 1e-9 || math.Abs(got.Min-want.Min) > 1e-9 || got.Max != want.Max || got.Rounds != 3 {
		t.Errorf("Summary = %+v, %v, want %+v", got, ok, want)
	}
	// Two of three rounds say 1.5, though the medians would say otherwise.
	c.Results[0].Metrics[1].Value = 1000
	if got, _ := c.Summary(c.Servers[1], "echo_cpu"); math.Abs(got.Ratio-1.5) > 1e-9 {
		t.Errorf("ratio with one bad round of the reference = %v, want 1.5", got.Ratio)
	}
	if _, ok := c.Summary(c.Servers[1], "no such figure"); ok {
		t.Error("a figure that nobody measured has a summary")
	}
	if median([]float64{4, 1, 3, 2}) != 2.5 {
		t.Errorf("median of 1..4 = %v", median([]float64{4, 1, 3, 2}))
	}
	if got := c.latency("bare", "echo").h.TotalCount(); got != 300 {
		t.Errorf("the rounds' histograms hold %d samples together, want 300", got)
	}
	c.Results[2].Warnings = []string{"at a rate: other programs used 88 % of the machine: times and latencies are theirs, too"}
	if w := c.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "at a rate: other programs used 88 %") || !strings.HasSuffix(w[0], "(the worst of 6)") {
		t.Errorf("Warnings = %q, want one line with the worst of 6", w)
	}
	var table strings.Builder
	c.WriteTable(&table)
	if !strings.Contains(table.String(), "19.2 1.50x") || !strings.Contains(table.String(), "1.15x") {
		t.Errorf("table:\n%s", table.String())
	}
}

func TestSection(t *testing.T) {
	c := exampleComparison()
	c.Sections = []Section{{Title: "wss://", Text: "Beside a peer.", Servers: c.Servers, Columns: []Budget{
		{Metric: "echo_cpu", Head: "us/echo", Text: "CPU", Ratio: true, Must: 1.4, Aim: 1, Unit: "us"},
		{Metric: "echo_cpu", Head: "more", Text: "more CPU", Difference: true, Must: 7, Aim: 1, Unit: "us"},
		{Metric: "none", Head: "none"},
	}}}
	var table, md strings.Builder
	c.WriteTable(&table)
	c.WriteMarkdown(&md, "")
	for _, want := range []string{"| epoll | 19.2 1.50x | 19.2 (+6.4) | - |", "| must | 1.40x | +7 |  |", "## wss://\n\nBeside a peer."} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("page has no %q:\n%s", want, md.String())
		}
	}
	if !strings.Contains(table.String(), "wss://: Beside a peer.") {
		t.Errorf("table:\n%s", table.String())
	}
	if want := "; wss://: 1.50x of CPU (must 1.40x: missed), +6.4 us of more CPU (must +7: reached)."; !strings.HasSuffix(c.Verdict(), want) {
		t.Errorf("Verdict = %s, want %q at its end", c.Verdict(), want)
	}
	if must := (Budget{Difference: true, Must: 64}); must.reached(Summary{Difference: 65}, 64) || !must.reached(Summary{Median: 100, Difference: -3}, 64) {
		t.Error("a difference is judged wrongly")
	}
}

func TestVerdict(t *testing.T) {
	c := exampleComparison()
	if v := c.Verdict(); !strings.HasPrefix(v, "Held: 2,000 connections") || !strings.Contains(v, "1.50x in CPU per echoed message") ||
		!strings.Contains(v, `"must" reached in 1 of 3 rows`) {
		t.Errorf("Verdict = %s", v)
	}
	c.Results[1].Faults = []string{"5 messages were lost"}
	if v := c.Verdict(); c.Held() || !strings.HasPrefix(v, "NOT HELD: epoll, echo: 5 messages were lost") {
		t.Errorf("Verdict with a fault = %s", v)
	}
	c = exampleComparison()
	c.Failures = []string{"gnet: does not listen"}
	if c.Held() {
		t.Error("a server that did not run is held")
	}
}

func TestBudgetReached(t *testing.T) {
	for _, tc := range []struct {
		b     Budget
		s     Summary
		limit float64
		want  bool
	}{
		{Budget{}, Summary{Median: 460}, 460, true},
		{Budget{}, Summary{Median: 461}, 460, false},
		{Budget{Ratio: true}, Summary{Median: 999, Ratio: 1.1}, 1.2, true},
		{Budget{Ratio: true, More: true}, Summary{Ratio: 2.9}, 3, false},
		{Budget{Ratio: true, More: true}, Summary{Ratio: 3.1}, 3, true},
	} {
		if got := tc.b.reached(tc.s, tc.limit); got != tc.want {
			t.Errorf("%+v within %v of %+v = %v, want %v", tc.s, tc.limit, tc.b, got, tc.want)
		}
	}
}

func TestComparisonFiles(t *testing.T) {
	c := exampleComparison()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b.Bytes()) {
		t.Fatal("not JSON")
	}
	again, err := ReadComparison(&b)
	if err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("read back %+v, %v", again, err)
	}
	var md strings.Builder
	c.WriteMarkdown(&md, "plot.png")
	for _, want := range []string{"# Example", "| bare |", "![plot](plot.png)", "6.40, 57.6, 12.8"} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("page has no %q:\n%s", want, md.String())
		}
	}
	dir := t.TempDir()
	for name, head := range map[string]string{"a.png": "\x89PNG", "a.svg": "<?xml"} {
		for kind, draw := range map[string]func(string) error{"comparison": c.Plot, "result": c.Results[0].Plot} {
			path := filepath.Join(dir, kind+name)
			if err := draw(path); err != nil {
				t.Fatal(err)
			}
			if p, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(p, []byte(head)) || len(p) < 2000 {
				t.Errorf("%s of a %s: %d bytes, %v", name, kind, len(p), err)
			}
		}
	}
	if err := c.Plot(filepath.Join(dir, "a.gif")); err == nil {
		t.Error("a .gif was drawn")
	}
}
