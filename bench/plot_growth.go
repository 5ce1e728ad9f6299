package bench

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// growthFigures are the panels of PlotGrowth, in rows of two. Reference is a
// line across, if it is not zero. Times have a logarithmic axis: those of a
// native and of an emulated processor are far apart.
var growthFigures = []struct {
	title     string
	reference float64
	time      bool
	value     func(Step) float64
}{
	{"server's user-space memory per connection, B (line: the budget)", 460, false, func(s Step) float64 { return max(s.UserBytes, s.UserBytesAfter) }},
	{"kernel memory per connection, both ends, B", 0, false, func(s Step) float64 { return s.SlabBytes + s.TCPBytes }},
	{"server CPU per connection opened, us", 0, true, func(s Step) float64 { return s.OpenCPU }},
	{"server CPU per delivery of a broadcast, us", 0, true, func(s Step) float64 { return s.DeliveryCPU }},
}

// PlotGrowth draws what a connection costs against how many there are: runs of
// the scenario grow, a line each, named by their labels. About is a line under
// the title.
func PlotGrowth(path, title, about string, runs []*Result) error {
	const columns = 2
	rows := (len(growthFigures) + columns - 1) / columns
	return saveCanvas(path, vg.Points(900), vg.Points(60)+vg.Points(240)*vg.Length(rows), func(dc draw.Canvas) error {
		style := headStyle()
		style.Font.Size = 15
		dc.FillText(style, vg.Point{X: dc.Min.X + vg.Points(14), Y: dc.Max.Y - vg.Points(10)}, title)
		style.Font.Size = 9
		dc.FillText(style, vg.Point{X: dc.Min.X + vg.Points(14), Y: dc.Max.Y - vg.Points(32)}, about)
		body := draw.Crop(dc, vg.Points(8), -vg.Points(16), vg.Points(6), -vg.Points(50))
		for i := range growthFigures {
			p, err := growthPanel(i, runs)
			if err != nil {
				return err
			}
			p.Draw(tile(body, columns, rows, i))
		}
		return nil
	})
}

func growthPanel(figure int, runs []*Result) (*plot.Plot, error) {
	f := growthFigures[figure]
	p := newPanel(f.title)
	p.X.Label.Text = "connections"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, countTicks{}
	p.Y.Tick.Marker = shortTicks{}
	if f.time {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, countTicks{}
	}
	p.Add(&plotter.Grid{Vertical: draw.LineStyle{Color: gridColour, Width: vg.Points(0.5)}, Horizontal: draw.LineStyle{Color: gridColour, Width: vg.Points(0.5)}})
	lowest, highest, low, high := math.Inf(1), f.reference, math.Inf(1), 0.0
	for i, r := range runs {
		points := make(plotter.XYs, 0, len(r.Steps))
		for _, s := range r.Steps {
			at := plotter.XY{X: float64(s.Connections), Y: f.value(s)}
			if f.time && at.Y <= 0 {
				continue // nothing was published
			}
			points = append(points, at)
			lowest, highest = min(lowest, f.value(s)), max(highest, f.value(s))
			low, high = min(low, float64(s.Connections)), max(high, float64(s.Connections))
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: serverColours[i%len(serverColours)], Width: vg.Points(1.6)}
		dots.GlyphStyle = draw.GlyphStyle{Color: line.Color, Radius: vg.Points(2.6), Shape: draw.CircleGlyph{}}
		labels := make([]string, len(points))
		for k, at := range points {
			labels[k] = FormatValue(at.Y, "B")
		}
		text, err := plotter.NewLabels(plotter.XYLabels{XYs: points, Labels: labels})
		if err != nil {
			return nil, err
		}
		for k := range text.TextStyle {
			text.TextStyle[k].Font = sans
			text.TextStyle[k].Font.Size, text.TextStyle[k].Color = 8, inkColour
			text.TextStyle[k].XAlign, text.TextStyle[k].YAlign = draw.XCenter, 0.5 // above the dot
		}
		p.Add(line, dots, text)
		p.Legend.Add(r.Label, line, dots)
	}
	if f.reference > 0 && high > 0 {
		must, err := plotter.NewLine(plotter.XYs{{X: low / 1.3, Y: f.reference}, {X: high * 1.3, Y: f.reference}})
		if err != nil {
			return nil, err
		}
		must.LineStyle = draw.LineStyle{Color: mustColour, Width: vg.Points(1.2), Dashes: dashes}
		p.Add(must)
	}
	// From 0: half a byte more must not look like a cliff.
	p.X.Min, p.X.Max = low/1.3, high*1.3
	p.Y.Min, p.Y.Max = 0, highest*1.35
	if f.time {
		p.Y.Min, p.Y.Max = max(lowest, 1e-3)/2, max(highest, 1e-3)*5 // room for the legend
	}
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size, p.Legend.TextStyle.Color = 8, inkColour
	return p, nil
}

// countTicks label 1, 2 and 5 of each decade with k and M for thousands and
// millions.
type countTicks struct{}

func (countTicks) Ticks(low, high float64) []plot.Tick {
	ticks := logTicks{}.Ticks(low, high)
	for i, t := range ticks {
		switch {
		case t.Value >= 1e6:
			ticks[i].Label = fmt.Sprintf("%.3gM", t.Value/1e6)
		case t.Value >= 1e3:
			ticks[i].Label = fmt.Sprintf("%.3gk", t.Value/1e3)
		}
	}
	return ticks
}
