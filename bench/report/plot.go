package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/roostws/roost/bench"
)

// Plot returns the comparison as an SVG file: bars for each figure with its
// limits, the distribution of the echo's round trips, and what a connection
// costs against how many there are.
func (c *Comparison) Plot() []byte {
	if len(c.Servers) == 0 {
		return c.growthPlot()
	}
	var panels []panel
	for _, column := range c.told() {
		panels = append(panels, c.barPanel(column))
	}
	height := barsHeight(len(c.Servers))
	if p, ok := c.echoPanel(); ok {
		panels, height = append(panels, p), max(height, 220+14*float64(len(c.Servers)))
	}
	e := c.Environment
	about := fmt.Sprintf("%s connections, %s, %s, kernel %s, %s. Bars: median; thin line: lowest to highest round; then the ratio to the reference (grey)",
		count(c.Connections), plural(c.Rounds, "round"), plural(e.CPUs, "CPU"), e.Kernel, c.Started.Format("2006-01-02"))
	if slices.ContainsFunc(c.Columns, func(column Column) bool { return column.Must > 0 }) {
		about += "; dashed: must (orange), aim (green)"
	}
	return figure(c.Title, about+".", 3, 450, height, panels)
}

// colour is the same for all servers of one family: "epoll, 1 loop" and
// "epoll, 2 loops". Programs of others share one.
func (c *Comparison) colour(i int) string {
	switch s := c.Servers[i]; {
	case s.Label == s.Reference:
		return referenceColour
	case s.Peer:
		return colours[len(colours)-1]
	}
	var families []string
	for _, o := range c.Servers[:i+1] {
		if o.Label != o.Reference && !o.Peer && !slices.Contains(families, family(o)) {
			families = append(families, family(o))
		}
	}
	return colours[slices.Index(families, family(c.Servers[i]))%(len(colours)-1)]
}

func family(s Server) string {
	name, _, _ := strings.Cut(s.Label, ",")
	return name
}

// dash is whole for the first of a family, dashed for the second, dotted from
// the third on.
func (c *Comparison) dash(i int) string {
	k := 0
	for _, o := range c.Servers[:i] {
		if family(o) == family(c.Servers[i]) {
			k++
		}
	}
	return dashes[min(k, len(dashes)-1)]
}

func (c *Comparison) barPanel(column Column) bars {
	p := bars{title: column.Text + ", " + column.Unit}
	if column.More {
		p.title += " (more is better)"
	}
	lowest, highest := math.Inf(1), 0.0
	for i, s := range c.Servers {
		sum, ok := c.Summary(s, column)
		b := bar{label: s.Label, colour: c.colour(i), value: sum.Median, low: sum.Min, high: sum.Max, missing: !ok}
		if ok {
			b.text = column.cell(sum)
			lowest, highest = min(lowest, sum.Median), max(highest, sum.Median)
		}
		if s.Label != s.Reference && !column.Difference {
			b.must, b.aim = column.Must, column.Aim
			if column.Ratio { // shown where the reference's bar puts it
				b.must, b.aim = 0, 0
				if sum.Ratio > 0 {
					b.must, b.aim = column.Must*sum.Median/sum.Ratio, column.Aim*sum.Median/sum.Ratio
				}
			}
		}
		p.rows = append(p.rows, b)
	}
	p.log = lowest >= 1 && highest > 30*lowest
	if p.log {
		p.title += ", logarithmic"
	}
	return p
}

// echoPanel draws the round trips of all servers against percentiles.
func (c *Comparison) echoPanel() (curves, bool) {
	var names, lineColours, lineDashes []string
	var all []*hdrhistogram.Histogram
	for i, s := range c.Servers {
		if h := c.distribution(s.Label, "echo"); h != nil {
			names, all = append(names, s.Label), append(all, h)
			lineColours, lineDashes = append(lineColours, c.colour(i)), append(lineDashes, c.dash(i))
		}
	}
	p, ok := percentilePanel("echo round trip at a rate, ms", names, all)
	for i := range p.lines {
		p.lines[i].colour, p.lines[i].dash = lineColours[i], lineDashes[i]
	}
	return p, ok
}

// percentilePanel draws distributions: the further right, the rarer. x is
// -log10(1 - q).
func percentilePanel(title string, names []string, all []*hdrhistogram.Histogram) (curves, bool) {
	p := curves{
		title: title, across: "percentile", x: axis{low: 0, high: 3}, y: axis{low: math.Inf(1), log: true},
		xTicks: map[float64]string{0.30103: "50", 1: "90", 2: "99", 3: "99.9"},
	}
	for i, h := range all {
		line := curve{name: names[i], colour: colours[i%len(colours)], dash: dashes[i/len(colours)%len(dashes)]}
		for x := 0.05; x <= 3; x += 0.05 { // the fastest tenth only stretches the axis
			y := max(float64(h.ValueAtQuantile(100*(1-math.Pow(10, -x))))/1e6, 1e-3)
			line.points = append(line.points, [2]float64{x, y})
			p.y.low, p.y.high = min(p.y.low, y), max(p.y.high, y)
		}
		p.lines = append(p.lines, line)
	}
	// Room for a short legend, and an axis even where all is the same.
	p.y.low, p.y.high = p.y.low/1.1, p.y.high*math.Pow(1.15, float64(min(len(p.lines), 5)+1))
	return p, len(p.lines) > 0
}

// growthFigures are the panels of growthPlot. Times have a logarithmic axis:
// those of a native and of an emulated processor are far apart.
var growthFigures = []struct {
	title string
	limit float64
	time  bool
	value func(bench.Step) float64
}{
	{"server's user-space memory per connection, B (line: the budget)", 460, false, func(s bench.Step) float64 { return max(s.UserBytes, s.UserBytesAfter) }},
	{"kernel memory per connection, both ends, B", 0, false, func(s bench.Step) float64 { return s.SlabBytes + s.TCPBytes }},
	{"server CPU per connection opened, us", 0, true, func(s bench.Step) float64 { return s.OpenCPU }},
	{"server CPU per delivery of a broadcast, us", 0, true, func(s bench.Step) float64 { return s.DeliveryCPU }},
}

// growthPlot draws what a connection costs against how many there are, a line
// for each run.
func (c *Comparison) growthPlot() []byte {
	about := "Bytes and times were measured natively."
	var names []string
	var results []*bench.Result
	for _, run := range c.Runs {
		name := "native"
		if run.Emulated {
			name = "emulated machine"
			about = "Bytes are true everywhere. The emulated machine's times are not: they show whether a cost grows, not what it is."
		}
		names, results = append(names, name), append(results, run.Result)
	}
	return growthFigure(c.Title, about, names, results)
}

func growthFigure(title, about string, names []string, results []*bench.Result) []byte {
	var panels []panel
	for _, f := range growthFigures {
		p := curves{title: f.title, across: "connections", limit: f.limit, x: axis{low: math.Inf(1), log: true}, y: axis{high: f.limit, log: f.time}}
		lowest := math.Inf(1)
		for i, r := range results {
			line := curve{name: names[i], colour: colours[i%len(colours)], dots: true}
			for _, s := range r.Steps {
				at := [2]float64{float64(s.Connections), f.value(s)}
				if f.time && at[1] <= 0 {
					continue // nothing was published
				}
				line.points = append(line.points, at)
				p.x.low, p.x.high = min(p.x.low, at[0]), max(p.x.high, at[0])
				lowest, p.y.high = min(lowest, at[1]), max(p.y.high, at[1])
			}
			if len(line.points) > 0 {
				p.lines = append(p.lines, line)
			}
		}
		if len(p.lines) == 0 {
			continue
		}
		p.x.low, p.x.high = p.x.low/1.3, p.x.high*1.3
		p.y.low = min(0, 1.35*lowest) // kernel memory is the whole machine's, and may have become less
		if p.y.high *= 1.35; f.time { // from 0 otherwise: half a byte more must not look like a cliff
			p.y.low, p.y.high = max(lowest, 1e-3)/2, max(p.y.high, 1e-3)*4
		}
		panels = append(panels, p)
	}
	return figure(title, about, 2, 520, 280, panels)
}

// PlotResult returns one result as an SVG file: its distributions of latency
// and its figures, or what a connection costs against how many there are.
func PlotResult(r *bench.Result) []byte {
	if len(r.Steps) > 0 {
		return growthFigure(r.Label, "", []string{r.Label}, []*bench.Result{r})
	}
	title := r.Scenario + ": " + r.Label
	about := fmt.Sprintf("%s connections, %d B, %s, kernel %s; ", count(r.Connections), r.PayloadBytes, plural(r.Environment.CPUs, "CPU"), r.Environment.Kernel)
	if r.Held {
		about += "held: everything that was checked was right"
	} else {
		about += "NOT HELD: " + r.Faults[0]
	}
	panels := []panel{list{r.Metrics}}
	var names []string
	var all []*hdrhistogram.Histogram
	for _, name := range slices.Sorted(maps.Keys(r.Latencies)) {
		// A decoy's curve would cover the server's, and is in the table.
		if h := decode(r.Latencies[name]); h != nil && !strings.HasSuffix(name, "_decoy") {
			names, all = append(names, r.Latencies[name].Text), append(all, h)
		}
	}
	if p, ok := percentilePanel("latency, ms", names, all); ok {
		panels = append(panels, p)
	}
	width := 480.0
	for _, m := range r.Metrics {
		width = max(width, 5.6*float64(len(m.Text))+100) // of a letter, about
	}
	return figure(title, about, len(panels), width, max(320, 30+18*float64(len(r.Metrics)), 240+14*float64(len(names))), panels)
}

// list is a panel of figures in words.
type list struct{ metrics []bench.Metric }

func (p list) draw(d *drawing, x, y, width, _ float64) {
	for i, m := range p.metrics {
		at := y + 16 + 18*float64(i)
		d.text(x, at, 11, "start", inkColour, m.Text)
		d.text(x+width-10, at, 11, "end", inkColour, strings.TrimSpace(FormatValue(m.Value, m.Unit)+" "+m.Unit))
	}
}
