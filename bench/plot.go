package bench

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that people with any colour vision tell apart (Okabe and Ito); the
// reference is grey.
var (
	referenceColour = color.RGBA{0x8c, 0x8c, 0x8c, 0xff}
	mustColour      = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	aimColour       = color.RGBA{0x00, 0x9e, 0x73, 0xff}
	inkColour       = color.RGBA{0x33, 0x33, 0x33, 0xff}
	gridColour      = color.RGBA{0xe4, 0xe4, 0xe4, 0xff}
	serverColours   = []color.RGBA{
		{0x00, 0x72, 0xb2, 0xff}, {0x56, 0xb4, 0xe9, 0xff}, {0xe6, 0x9f, 0x00, 0xff},
		{0xcc, 0x79, 0xa7, 0xff}, {0x55, 0x55, 0x55, 0xff}, {0x5e, 0x3c, 0x99, 0xff},
	}
)

// sans is the font of everything; sizes are set where it is used.
var sans = font.Font{Typeface: "Liberation", Variant: "Sans"}

// headStyle is for text outside panels.
func headStyle() text.Style {
	return text.Style{Color: inkColour, Font: sans, Handler: plot.DefaultTextHandler, YAlign: draw.YTop}
}

// saveCanvas draws into a file whose name says how: .png or .svg.
func saveCanvas(path string, width, height vg.Length, paint func(draw.Canvas) error) error {
	var target interface {
		vg.CanvasSizer
		io.WriterTo
	}
	switch ext := filepath.Ext(path); ext {
	case ".png":
		target = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(110), vgimg.UseBackgroundColor(color.White))}
	case ".svg":
		target = vgsvg.New(width, height)
	default:
		return fmt.Errorf("plot %s: want .png or .svg", path)
	}
	if err := paint(draw.New(target)); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := target.WriteTo(f); err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	return f.Close()
}

// newPanel is an empty plot in our style.
func newPanel(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle.Font = sans
	p.Legend.TextStyle.Font = sans
	p.Title.TextStyle.Font.Size = 11
	p.Title.TextStyle.Color = inkColour
	p.Title.Padding = vg.Points(6)
	p.BackgroundColor = color.White
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle.Color = gridColour
		a.Tick.LineStyle.Color = gridColour
		a.Tick.Label.Color = inkColour
		a.Tick.Label.Font = sans
		a.Label.TextStyle.Font = sans
		a.Tick.Label.Font.Size = 8.5
		a.Label.TextStyle.Color = inkColour
		a.Label.TextStyle.Font.Size = 8.5
	}
	return p
}

// Plot draws the comparison: a panel of bars for each budget, with what must be
// and what is aimed at, and the distribution of the echo's round trips.
func (c *Comparison) Plot(path string) error {
	const columns, rows = 3, 2
	height := vg.Length(rows) * (vg.Points(80) + vg.Points(22)*vg.Length(max(4, len(c.Servers))))
	return saveCanvas(path, vg.Points(1000), height+vg.Points(60), func(dc draw.Canvas) error {
		body := c.paintHead(dc)
		for i, b := range Budgets {
			p, err := c.budgetPanel(b)
			if err != nil {
				return err
			}
			p.Draw(tile(body, columns, rows, i))
		}
		p, err := c.latencyPanel()
		if err != nil {
			return err
		}
		p.Draw(tile(body, columns, rows, len(Budgets)))
		return nil
	})
}

// paintHead writes title and legend, and answers what is left.
func (c *Comparison) paintHead(dc draw.Canvas) draw.Canvas {
	style := headStyle()
	style.Font.Size = 15
	at := vg.Point{X: dc.Min.X + vg.Points(14), Y: dc.Max.Y - vg.Points(10)}
	dc.FillText(style, at, c.Title)
	style.Font.Size = 9
	at.Y -= vg.Points(22)
	dc.FillText(style, at, fmt.Sprintf("%s connections, %s, %s, kernel %s, %s. Bars: median, spread of the rounds, and the ratio to the bare server with as many loops.",
		groupThousands(fmt.Sprint(c.Connections)), plural(c.Rounds, "round"), plural(c.Environment.CPUs, "CPU"), c.Environment.Kernel, c.Started.Format("2006-01-02")))
	for i, l := range []struct {
		text   string
		colour color.Color
	}{{"must", mustColour}, {"aim", aimColour}} {
		x := dc.Max.X - vg.Points(130) + vg.Points(60)*vg.Length(i)
		y := dc.Max.Y - vg.Points(16)
		dc.StrokeLine2(draw.LineStyle{Color: l.colour, Width: vg.Points(1.5), Dashes: dashes}, x, y, x+vg.Points(20), y)
		style.Color = l.colour
		dc.FillText(style, vg.Point{X: x + vg.Points(24), Y: y + vg.Points(5)}, l.text)
	}
	return draw.Crop(dc, vg.Points(8), -vg.Points(16), vg.Points(6), -vg.Points(48))
}

var dashes = []vg.Length{vg.Points(4), vg.Points(2)}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func tile(dc draw.Canvas, columns, rows, i int) draw.Canvas {
	t := draw.Tiles{Cols: columns, Rows: rows, PadX: vg.Points(14), PadY: vg.Points(14)}
	return t.At(dc, i%columns, i/columns)
}

// colour is the same for all servers of one family: "epoll, 1 loop" and
// "epoll, 2 loops".
func (c *Comparison) colour(i int) color.Color {
	if s := c.Servers[i]; s.Label == s.Reference {
		return referenceColour
	}
	var families []string
	for _, o := range c.Servers[:i+1] {
		if o.Label != o.Reference && !slices.Contains(families, family(o)) {
			families = append(families, family(o))
		}
	}
	return serverColours[slices.Index(families, family(c.Servers[i]))%len(serverColours)]
}

func family(s Server) string {
	name, _, _ := strings.Cut(s.Label, ",")
	return name
}

// stroke is whole for the first of a family, dashed for the second, dotted from
// the third on.
func (c *Comparison) stroke(i int) []vg.Length {
	k := 0
	for _, o := range c.Servers[:i] {
		if family(o) == family(c.Servers[i]) {
			k++
		}
	}
	return [][]vg.Length{nil, dashes, {vg.Points(1), vg.Points(2)}}[min(k, 2)]
}

// budgetPanel draws one bar for each server, the first on top.
func (c *Comparison) budgetPanel(b Budget) (*plot.Plot, error) {
	p := newPanel(b.Text)
	p.X.Min, p.X.Label.Text = 0, b.Unit
	widest := 0.0
	var names []string
	for i := len(c.Servers) - 1; i >= 0; i-- {
		s := c.Servers[i]
		y := float64(len(names))
		names = append(names, s.Label)
		sum, ok := c.Summary(s, b.Metric)
		if !ok {
			continue
		}
		if err := c.addBar(p, b, i, y, sum); err != nil {
			return nil, err
		}
		widest = max(widest, sum.Max)
		for _, mark := range []struct {
			limit  float64
			colour color.Color
		}{{b.Must, mustColour}, {b.Aim, aimColour}} {
			at := mark.limit
			if b.Ratio {
				if sum.Ratio == 0 {
					continue
				}
				at *= sum.Median / sum.Ratio
			}
			if s.Label == s.Reference {
				continue
			}
			line, err := plotter.NewLine(plotter.XYs{{X: at, Y: y - 0.45}, {X: at, Y: y + 0.45}})
			if err != nil {
				return nil, err
			}
			line.LineStyle = draw.LineStyle{Color: mark.colour, Width: vg.Points(1.5), Dashes: dashes}
			p.Add(line)
			if at < 4*widest { // an aim far away must not flatten the bars
				widest = max(widest, at)
			}
		}
	}
	p.X.Max = max(widest*1.5, 1e-9)
	if err := c.addFigures(p, b); err != nil {
		return nil, err
	}
	p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
	p.NominalY(names...)
	p.X.Tick.Marker = shortTicks{}
	return p, nil
}

func (c *Comparison) addBar(p *plot.Plot, b Budget, i int, y float64, sum Summary) error {
	bar, err := plotter.NewPolygon(plotter.XYs{{X: 0, Y: y - 0.34}, {X: sum.Median, Y: y - 0.34}, {X: sum.Median, Y: y + 0.34}, {X: 0, Y: y + 0.34}})
	if err != nil {
		return err
	}
	bar.Color, bar.LineStyle.Width = c.colour(i), 0
	// From the lowest to the highest round.
	spread, err := plotter.NewLine(plotter.XYs{{X: sum.Min, Y: y}, {X: sum.Max, Y: y}})
	if err != nil {
		return err
	}
	spread.LineStyle = draw.LineStyle{Color: inkColour, Width: vg.Points(0.8)}
	p.Add(bar, spread)
	return nil
}

// addFigures writes the figures down the right side, where no bar or mark
// reaches.
func (c *Comparison) addFigures(p *plot.Plot, b Budget) error {
	var column plotter.XYLabels
	for i, s := range c.Servers {
		if sum, ok := c.Summary(s, b.Metric); ok {
			column.XYs = append(column.XYs, plotter.XY{X: p.X.Max, Y: float64(len(c.Servers) - 1 - i)})
			column.Labels = append(column.Labels, b.cell(sum))
		}
	}
	if len(column.Labels) == 0 {
		return nil
	}
	labels, err := plotter.NewLabels(column)
	if err != nil {
		return err
	}
	for i := range labels.TextStyle {
		st := &labels.TextStyle[i]
		st.Font, st.Color, st.XAlign, st.YAlign = sans, inkColour, draw.XRight, draw.YCenter
		st.Font.Size = 8.5
	}
	p.Add(labels)
	return nil
}

// latencyPanel draws round trips against percentiles: the further right, the
// rarer.
func (c *Comparison) latencyPanel() (*plot.Plot, error) {
	p := newPanel("echo round trip at a rate, ms")
	p.X.Label.Text = "percentile"
	p.X.Tick.Marker = plot.ConstantTicks(ninesTicks)
	p.Y.Tick.Marker = logTicks{}
	p.Y.Scale = plot.LogScale{}
	p.Add(&plotter.Grid{Vertical: draw.LineStyle{Color: gridColour, Width: vg.Points(0.5)}, Horizontal: draw.LineStyle{Color: gridColour, Width: vg.Points(0.5)}})
	for i, s := range c.Servers {
		h := c.latency(s.Label, "echo")
		if h.h.TotalCount() == 0 {
			continue
		}
		line, err := plotter.NewLine(percentiles(h))
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: c.colour(i), Width: vg.Points(1.6), Dashes: c.stroke(i)}
		p.Add(line)
		p.Legend.Add(s.Label, line)
	}
	p.Legend.Top, p.Legend.Left = false, false
	p.Legend.TextStyle.Font.Size = 8
	p.Legend.TextStyle.Color = inkColour
	p.Legend.Padding = vg.Points(1)
	return p, nil
}

// ninesTicks label -log10(1 - q).
var ninesTicks = []plot.Tick{{Value: 0.09691, Label: "20"}, {Value: 0.30103, Label: "50"}, {Value: 1, Label: "90"}, {Value: 2, Label: "99"}, {Value: 3, Label: "99.9"}}

// logTicks label 1, 2 and 5 of each decade.
type logTicks struct{}

func (logTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.3g", v)})
			}
		}
	}
	return ticks
}

// shortTicks are the default ones in short: 1.5, 8k, 20k, 1.2M.
type shortTicks struct{}

func (shortTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i, t := range ticks {
		switch {
		case t.Label == "":
		case t.Value >= 1e6:
			ticks[i].Label = fmt.Sprintf("%.3gM", t.Value/1e6)
		case t.Value >= 1e3:
			ticks[i].Label = fmt.Sprintf("%.3gk", t.Value/1e3)
		default:
			ticks[i].Label = fmt.Sprintf("%.3g", t.Value)
		}
	}
	return ticks
}
