package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Plot draws the result's distributions of latency against percentiles, its
// figures beside them.
func (r *Result) Plot(path string) error {
	if len(r.Steps) > 0 {
		return PlotGrowth(path, r.Label, "", []*Result{r})
	}
	return saveCanvas(path, vg.Points(900), vg.Points(420), func(dc draw.Canvas) error {
		p, err := r.latencyPanel()
		if err != nil {
			return err
		}
		r.paintFigures(dc)
		p.Draw(draw.Crop(dc, vg.Points(330), -vg.Points(14), vg.Points(8), -vg.Points(10)))
		return nil
	})
}

func (r *Result) latencyPanel() (*plot.Plot, error) {
	p := newPanel("latency, ms")
	p.X.Label.Text = "percentile"
	p.X.Tick.Marker = plot.ConstantTicks(ninesTicks)
	if len(r.Latencies) == 0 {
		p.Title.Text = "no latencies in this scenario"
		return p, nil
	}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, logTicks{}
	p.Add(&plotter.Grid{Vertical: draw.LineStyle{Color: gridColour, Width: vg.Points(0.5)}, Horizontal: draw.LineStyle{Color: gridColour, Width: vg.Points(0.5)}})
	for i, name := range slices.Sorted(maps.Keys(r.Latencies)) {
		h, err := histogramOf(r.Latencies[name])
		if err != nil {
			return nil, err
		}
		line, err := plotter.NewLine(percentiles(h))
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: serverColours[i%len(serverColours)], Width: vg.Points(1.6)}
		p.Add(line)
		p.Legend.Add(r.Latencies[name].Text, line)
	}
	p.Legend.Top, p.Legend.Left = false, false
	p.Legend.TextStyle.Font.Size = 8.5
	p.Legend.TextStyle.Color = inkColour
	return p, nil
}

// percentiles are the points of a distribution's curve: x is -log10(1 - q), as
// in ninesTicks, y is milliseconds.
func percentiles(h *histogram) plotter.XYs {
	var points plotter.XYs
	for x := 0.05; x <= 3; x += 0.05 { // the fastest tenth only stretches the axis
		q := 100 * (1 - math.Pow(10, -x))
		points = append(points, plotter.XY{X: x, Y: max(float64(h.h.ValueAtQuantile(q))/1e6, 1e-3)})
	}
	return points
}

// paintFigures writes title and figures down the left side.
func (r *Result) paintFigures(dc draw.Canvas) {
	style := headStyle()
	at := vg.Point{X: dc.Min.X + vg.Points(14), Y: dc.Max.Y - vg.Points(12)}
	write := func(size, step vg.Length, s string) {
		style.Font.Size = size
		dc.FillText(style, at, s)
		at.Y -= step
	}
	write(15, vg.Points(20), r.Scenario+": "+r.Label)
	write(9, vg.Points(14), fmt.Sprintf("%s connections, %d B, %s, kernel %s", groupThousands(fmt.Sprint(r.Connections)),
		r.PayloadBytes, plural(r.Environment.CPUs, "CPU"), r.Environment.Kernel))
	verdict := "held: everything that was checked was right"
	if !r.Held {
		style.Color = mustColour
		verdict = "NOT HELD: " + r.Faults[0]
	}
	write(9, vg.Points(22), verdict)
	style.Color = inkColour
	for _, m := range r.Metrics {
		style.XAlign = draw.XLeft
		style.Font.Size = 8.5
		dc.FillText(style, at, m.Text)
		style.XAlign = draw.XRight
		dc.FillText(style, vg.Point{X: dc.Min.X + vg.Points(322), Y: at.Y}, FormatValue(m.Value, m.Unit)+" "+m.Unit)
		at.Y -= vg.Points(15)
	}
}
