package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/roostws/roost/bench"
)

func exampleResult(label string, scale float64) *bench.Result {
	h := hdrhistogram.New(1000, 120e9, 3)
	for n := range int64(100) {
		_ = h.RecordValue(int64(float64(n+1) * 1e5 * scale))
	}
	text, _ := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return &bench.Result{
		Schema: bench.SchemaVersion, Scenario: "echo", Job: "echo", Label: label, Started: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Seconds: 3.5, Held: true, Connections: 2000, PayloadBytes: 128, Generators: 1,
		Warnings:    []string{"at a rate: other programs used 12 % of the machine: times and latencies are theirs, too"},
		Environment: bench.Environment{Host: "h", Kernel: "6.1", CPUs: 2, Limits: map[string]string{"fs.nr_open": "1048576"}},
		Metrics: []bench.Metric{
			{Name: "user_bytes_per_conn", Value: 100 * scale, Unit: "B", Text: "user-space memory per connection"},
			{Name: "echo_cpu", Value: 6.4 * scale, Unit: "us", Text: "server CPU per message, saturated"},
			{Name: "delivery_rate", Value: 1234567 * scale, Unit: "1/s", Text: "deliveries a second"},
		},
		Latencies: map[string]bench.Latency{"echo": {
			Text: "round trip at a rate", Count: 100, P50Ns: h.ValueAtQuantile(50), P90Ns: h.ValueAtQuantile(90),
			P99Ns: h.ValueAtQuantile(99), P999Ns: h.ValueAtQuantile(99.9), MaxNs: h.Max(), HDR: string(text),
		}},
	}
}

var echoCPU = Column{Metric: "echo_cpu", Ratio: true}

func exampleComparison() *Comparison {
	c := &Comparison{
		Schema: bench.SchemaVersion, Name: "c10k", Title: "Example", Connections: 2000, Rounds: 3, Command: "scripts/c10k.sh",
		Columns: Budgets,
		Servers: []Server{{Label: "bare", Reference: "bare"}, {Label: "epoll", Reference: "bare", Budget: true}},
	}
	for i, scale := range []float64{1, 9, 2} { // the median is 2, the mean 4
		bare, epoll := exampleResult("bare", scale), exampleResult("epoll", scale*1.5)
		bare.Round, epoll.Round = i+1, i+1
		c.Results = append(c.Results, bare, epoll)
	}
	return c
}

func exampleRuns(held bool) *Comparison {
	r := &bench.Result{Schema: bench.SchemaVersion, Held: held, Label: "roost", Environment: bench.Environment{Command: []string{"roost"}}, Steps: []bench.Step{
		{Connections: 1000, UserBytes: 50, SlabBytes: 9000, Published: 2, Expected: 2000, Delivered: 2000, OpenCPU: 30, DeliveryCPU: 9, ServerSeconds: 100},
		{Connections: 2000, UserBytes: 50, SlabBytes: 9000, OpenCPU: 30, ServerSeconds: 101},
		{Connections: 250_000, UserBytes: 48, UserBytesAfter: 51, SlabBytes: 9100, TCPBytes: 2, Published: 2, Expected: 500_000, Delivered: 499_999, OpenCPU: 31, ServerSeconds: 130},
	}}
	if !held {
		r.Faults = []string{"1 delivery was lost"}
	}
	return &Comparison{
		Schema: bench.SchemaVersion, Name: "c100k", Command: "scripts/c100k.sh", Environment: bench.Environment{Host: "Some Host!"},
		Runs: []Run{{Emulated: true, Result: r, Cycles: []Cycle{
			{AtSeconds: 0.8, PauseMs: 36.2, LiveMB: 1}, {AtSeconds: 121.6, PauseMs: 0.75}, {AtSeconds: 130, PauseMs: 1.75, LiveMB: 7},
		}}},
	}
}

func TestSummary(t *testing.T) {
	c := exampleComparison()
	got, ok := c.Summary(c.Servers[1], echoCPU)
	want := Summary{Median: 6.4 * 3, Min: 6.4 * 1.5, Max: 6.4 * 13.5, Ratio: 1.5, Rounds: 3}
	if !ok || math.Abs(got.Median-want.Median) > 1e-9 || math.Abs(got.Ratio-1.5) > 1e-9 || math.Abs(got.Min-want.Min) > 1e-9 || got.Max != want.Max || got.Rounds != 3 {
		t.Errorf("Summary = %+v, %v, want %+v", got, ok, want)
	}
	// Two of three rounds say 1.5, though the medians would say otherwise.
	c.Results[0].Metrics[1].Value = 1000
	if got, _ := c.Summary(c.Servers[1], echoCPU); math.Abs(got.Ratio-1.5) > 1e-9 {
		t.Errorf("ratio with one bad round of the reference = %v, want 1.5", got.Ratio)
	}
	for name, column := range map[string]Column{
		"a figure that was not measured": {Metric: "none"},
		"a job that was not done":        {Metric: "echo_cpu", Job: "relay"},
	} {
		if _, ok := c.Summary(c.Servers[1], column); ok {
			t.Errorf("%s has a summary", name)
		}
	}
	if got, _ := c.Summary(c.Servers[1], Column{Metric: "echo_cpu", Job: "echo"}); got.Rounds != 3 {
		t.Errorf("the job echo has %d rounds, want 3", got.Rounds)
	}
	if got := c.distribution("bare", "echo").TotalCount(); got != 300 {
		t.Errorf("the rounds' histograms hold %d samples together, want 300", got)
	}
}

// A round in which nothing was echoed has no CPU per echo, and must not be a
// ratio of 0.
func TestSummaryWithoutOperations(t *testing.T) {
	c := exampleComparison()
	for _, r := range c.Results[:2] {
		r.Metrics[1].Value = 0
	}
	if got, _ := c.Summary(c.Servers[1], echoCPU); got.Rounds != 2 || math.Abs(got.Ratio-1.5) > 1e-9 {
		t.Errorf("Summary = %+v, want 2 rounds at 1.5", got)
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{{[]float64{5}, 5}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		before := slices.Clone(tc.values)
		if got := median(tc.values); got != tc.want || !slices.Equal(tc.values, before) {
			t.Errorf("median(%v) = %v and left %v, want %v", before, got, tc.values, tc.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	c := exampleComparison()
	c.Results[2].Warnings = []string{"saturated: other programs used 88 % of the machine: times and latencies are theirs, too"}
	if w := c.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "saturated: other programs used 88 %") || !strings.HasSuffix(w[0], "(the worst of 6)") {
		t.Errorf("Warnings = %q, want one line with the worst of 6", w)
	}
}

func TestHeld(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Comparison)
		faults []string
		finds  int
	}{
		{"all well", func(*Comparison) {}, nil, 0},
		{"a fault of ours", func(c *Comparison) { c.Results[1].Faults, c.Results[3].Faults = []string{"lost"}, []string{"lost"} }, []string{"epoll, echo: lost"}, 0},
		{"a fault of a peer is a finding", func(c *Comparison) {
			c.Servers[1].Peer, c.Results[1].Faults = true, []string{"lost"}
		}, nil, 1},
		{"the same of a section's peer", func(c *Comparison) {
			c.Sections = []Section{{Servers: []Server{{Label: "epoll", Peer: true}}}}
			c.Results[1].Faults = []string{"lost"}
		}, nil, 1},
		{"a server that did not run", func(c *Comparison) { c.Failures = []string{"gnet: does not listen"} }, []string{"gnet: does not listen"}, 0},
	} {
		c := exampleComparison()
		tc.change(c)
		if got := c.Faults(); !slices.Equal(got, tc.faults) || c.Held() != (len(tc.faults) == 0) {
			t.Errorf("%s: faults %q, held %v, want %q", tc.name, got, c.Held(), tc.faults)
		}
		if got := c.Findings(); len(got) != tc.finds {
			t.Errorf("%s: findings %q, want %d", tc.name, got, tc.finds)
		}
	}
}

func TestVerdict(t *testing.T) {
	c := exampleComparison()
	if v := c.Verdict(); !strings.HasPrefix(v, "Held: 2,000 connections") || !strings.Contains(v, "1.50x in CPU per echoed message") ||
		!strings.Contains(v, `"must" reached in 1 of 3 figures`) {
		t.Errorf("Verdict = %s", v)
	}
	c.Results[1].Faults = []string{"5 messages were lost"}
	if v := c.Verdict(); !strings.HasPrefix(v, "NOT HELD: epoll, echo: 5 messages were lost") {
		t.Errorf("Verdict with a fault = %s", v)
	}
}

func TestSection(t *testing.T) {
	c := exampleComparison()
	c.Sections = []Section{{Title: "wss://", Text: "Beside a peer.", Servers: c.Servers, Columns: []Column{
		{Metric: "echo_cpu", Head: "us/echo", Text: "CPU", Ratio: true, Must: 1.4, Aim: 1, Unit: "us"},
		{Metric: "echo_cpu", Head: "more", Text: "more CPU", Difference: true, Must: 7, Aim: 1, Unit: "us"},
		{Metric: "none", Head: "none"},
		{Latency: "echo", Percentile: 50, Head: "p50"},
	}}}
	var text, md strings.Builder
	c.WriteTable(&text)
	c.WriteMarkdown(&md, "base")
	for _, want := range []string{"| epoll | 19.2 1.50x, best 1.50x | 19.2 (+6.4), best +3.2 | - | 14.1 |", "| must | 1.40x | +7 |  |  |", "## wss://\n\nBeside a peer."} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("page has no %q:\n%s", want, md.String())
		}
	}
	if !strings.Contains(text.String(), "wss://: Beside a peer.") || !strings.Contains(text.String(), "19.2 1.50x") {
		t.Errorf("table:\n%s", text.String())
	}
	if want := "; wss://: 1.50x of CPU (best 1.50x, must 1.40x: missed), +6.4 us of more CPU (best +3.2, must +7: reached)."; !strings.HasSuffix(c.Verdict(), want) {
		t.Errorf("Verdict = %s, want %q at its end", c.Verdict(), want)
	}
	// Where limits are meant for several servers, the verdict names them.
	c.Sections[0].Servers = []Server{{Label: "bare", Reference: "bare", Budget: true}, c.Servers[1]}
	if want := "wss://: bare 1.00x of CPU (best 1.00x, must 1.40x: reached)"; !strings.Contains(c.Verdict(), want) {
		t.Errorf("Verdict = %s, want %q", c.Verdict(), want)
	}
}

// The best round is the one with the best ratio where ratios count, and the
// largest where more is better.
func TestBest(t *testing.T) {
	c := &Comparison{}
	for round, values := range [][2]float64{{10, 9}, {20, 30}, {10, 11}} {
		for i, label := range []string{"bare", "epoll"} {
			c.Results = append(c.Results, &bench.Result{Label: label, Round: round + 1, Metrics: []bench.Metric{{Name: "x", Value: values[i]}}})
		}
	}
	for _, tc := range []struct {
		column Column
		want   float64
	}{
		{Column{Metric: "x"}, 9}, {Column{Metric: "x", More: true}, 30},
		{Column{Metric: "x", Ratio: true}, 0.9}, {Column{Metric: "x", Ratio: true, More: true}, 1.5},
		{Column{Metric: "x", Difference: true}, -1},
	} {
		if got, _ := c.Summary(Server{Label: "epoll", Reference: "bare"}, tc.column); got.Best != tc.want {
			t.Errorf("%+v: best %v, want %v", tc.column, got.Best, tc.want)
		}
	}
}

func TestReached(t *testing.T) {
	for _, tc := range []struct {
		c     Column
		s     Summary
		limit float64
		want  bool
	}{
		{Column{}, Summary{Median: 460}, 460, true},
		{Column{}, Summary{Median: 461}, 460, false},
		{Column{Ratio: true}, Summary{Median: 999, Ratio: 1.1}, 1.2, true},
		{Column{Ratio: true, More: true}, Summary{Ratio: 2.9}, 3, false},
		{Column{Ratio: true, More: true}, Summary{Ratio: 3.1}, 3, true},
		{Column{Difference: true}, Summary{Difference: 65}, 64, false},
		{Column{Difference: true}, Summary{Median: 100, Difference: -3}, 64, true},
	} {
		if got := tc.c.reached(tc.s, tc.limit); got != tc.want {
			t.Errorf("%+v within %v of %+v = %v, want %v", tc.s, tc.limit, tc.c, got, tc.want)
		}
	}
}

func TestWriteResult(t *testing.T) {
	r := exampleResult("x", 1)
	var b strings.Builder
	WriteResult(&b, r)
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
	WriteResult(&b, r)
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

func TestGrowthPage(t *testing.T) {
	c := exampleRuns(true)
	if err := c.Save(io.Discard, ""); err != nil { // names it
		t.Fatal(err)
	}
	var page strings.Builder
	c.WriteMarkdown(&page, "base")
	for _, want := range []string{
		"# 250,000 WebSocket connections in one process",
		"Held: one server process had 250,000 connections open at once, for 51.0 B of its own memory and 9,102 B of the kernel's",
		"499,999 of 500,000 deliveries to all of them (broadcasts: 2)",
		"counts and bytes are true, times are not",
		"(base.svg)",
		// What the garbage collector did between one step and the next.
		"| 1,000 | 1 | 36.2 ms | 36.2 ms in 100 s | 1 MB |",
		"| 2,000 | 0 | - | - | - |",
		"| 250,000 | 2 | 1.75 ms | 2.50 ms in 29 s | 7 MB |",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not say %q:\n%s", want, page.String())
		}
	}
	if v := exampleRuns(false).Verdict(); !strings.HasPrefix(v, "NOT HELD: roost, : 1 delivery was lost") {
		t.Errorf("the verdict of a run that did not hold: %s", v)
	}
}

func TestSave(t *testing.T) {
	for name, c := range map[string]*Comparison{"c10k-unknown": exampleComparison(), "c100k-some-host": exampleRuns(true)} {
		dir := filepath.Join(t.TempDir(), "deep")
		var said strings.Builder
		if err := c.Save(&said, dir); err != nil {
			t.Fatal(err)
		}
		base := filepath.Join(dir, c.Started.Format(time.DateOnly)+"-"+name)
		f, err := os.Open(base + ".json")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		again, err := Read(f)
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%s: read back %+v, %v", name, again, err)
		}
		for _, ending := range []string{".md", ".svg"} {
			if _, err := os.Stat(base + ending); err != nil || !strings.Contains(said.String(), base+ending) {
				t.Errorf("%s%s: %v; it was said: %s", name, ending, err, said.String())
			}
		}
		if !strings.HasSuffix(said.String(), c.Verdict()+"\n") {
			t.Errorf("%s: the verdict is not the last line: %s", name, said.String())
		}
	}
}

// Results that were published stay readable, and say what they said.
func TestReadOldFiles(t *testing.T) {
	for name, want := range map[string]string{
		"2026-11-23-c10k-vm.json":  "21.6 0.62x",
		"2026-11-23-c100k-vm.json": "| 250,000 |",
		"2026-11-23-c1m-vm.json":   "| 1,000,000 |",
	} {
		f, err := os.Open(filepath.Join("..", "results", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c, err := Read(f)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var page strings.Builder
		c.WriteMarkdown(&page, "base")
		if !strings.Contains(page.String(), want) {
			t.Errorf("%s: the page has no %q:\n%s", name, want, page.String())
		}
		checkSVG(t, name, c.Plot())
	}
	for _, bad := range []string{`{"schema": 99}`, `{"schema": 1}`, "no JSON"} {
		if _, err := Read(strings.NewReader(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// checkSVG checks that plot is well-formed and returns how often each element
// is in it.
func checkSVG(t *testing.T, name string, plot []byte) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for d := xml.NewDecoder(bytes.NewReader(plot)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: the plot is not XML: %v", name, err)
		}
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
		}
	}
	if bytes.Contains(plot, []byte("NaN")) || bytes.Contains(plot, []byte("Inf")) {
		t.Errorf("%s: the plot has coordinates that are no numbers", name)
	}
	return counts
}

func TestPlots(t *testing.T) {
	c := exampleComparison()
	c.Servers[1].Label = "a < b"
	for _, r := range c.Results {
		if r.Label == "epoll" {
			r.Label = "a < b"
		}
	}
	for _, tc := range []struct {
		name             string
		plot             []byte
		rects, polylines int
	}{
		// The background, and two bars for each of three figures that there are.
		{"comparison", c.Plot(), 7, 2},
		{"result", PlotResult(exampleResult("x", 1)), 1, 1},
		{"runs", exampleRuns(true).Plot(), 1, 4},
		{"a run", PlotResult(exampleRuns(true).Runs[0].Result), 1, 4},
		{"nothing", PlotResult(&bench.Result{Held: true}), 1, 0},
	} {
		got := checkSVG(t, tc.name, tc.plot)
		if got["rect"] != tc.rects || got["polyline"] != tc.polylines {
			t.Errorf("%s: %d rectangles and %d lines, want %d and %d", tc.name, got["rect"], got["polyline"], tc.rects, tc.polylines)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		a    axis
		want []float64
	}{
		{axis{low: 0, high: 10}, []float64{0, 2, 4, 6, 8, 10}},
		{axis{low: 0, high: 460}, []float64{0, 100, 200, 300, 400}},
		{axis{low: 1, high: 30, log: true}, []float64{1, 2, 5, 10, 20}},
		{axis{low: 1, high: 5000, log: true}, []float64{1, 10, 100, 1000}},
	} {
		if got := tc.a.ticks(); !slices.Equal(got, tc.want) {
			t.Errorf("ticks of %+v = %v, want %v", tc.a, got, tc.want)
		}
	}
	if a := (axis{low: 1, high: 100, log: true}); a.at(10) != 0.5 || a.at(0) != 0 {
		t.Errorf("10 is at %v and 0 at %v of a logarithmic axis from 1 to 100", a.at(10), a.at(0))
	}
}
