package report

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// Colours that people with any colour vision tell apart (Okabe and Ito); the
// reference is grey.
const (
	referenceColour = "#8c8c8c"
	mustColour      = "#d55e00"
	aimColour       = "#009e73"
	inkColour       = "#333333"
	faintColour     = "#6a6a6a"
	gridColour      = "#e4e4e4"
)

var (
	colours = []string{"#0072b2", "#56b4e9", "#e69f00", "#cc79a7", "#555555", "#5e3c99"}
	dashes  = []string{"", "5 3", "1 3"}
)

// A drawing is an SVG file that needs no other: it names the system's own font.
type drawing struct{ bytes.Buffer }

func newDrawing(width, height float64) *drawing {
	d := &drawing{}
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]g %[2]g" width="%[1]g" height="%[2]g" font-family="system-ui, 'Liberation Sans', Arial, sans-serif">`+"\n", width, height)
	d.rect(0, 0, width, height, "#ffffff")
	return d
}

func (d *drawing) end() []byte {
	d.WriteString("</svg>\n")
	return d.Bytes()
}

func (d *drawing) rect(x, y, w, h float64, fill string) {
	fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, w, h, fill)
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string, width float64, dash string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"%s/>`+"\n", x1, y1, x2, y2, colour, width, dashed(dash))
}

func dashed(dash string) string {
	if dash == "" {
		return ""
	}
	return fmt.Sprintf(` stroke-dasharray="%s"`, dash)
}

// polyline draws a curve through points in the file's coordinates.
func (d *drawing) polyline(points [][2]float64, colour, dash string) {
	fmt.Fprintf(d, `<polyline fill="none" stroke="%s" stroke-width="1.8"%s points="`, colour, dashed(dash))
	for _, p := range points {
		fmt.Fprintf(d, "%.1f,%.1f ", p[0], p[1])
	}
	d.WriteString("\"/>\n")
}

// text writes s with its baseline at y; anchor is start, middle or end.
func (d *drawing) text(x, y, size float64, anchor, colour, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" font-size="%g" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, size, anchor, colour, html.EscapeString(s))
}

// An axis maps values to 0 ... 1, by their logarithms if log is set.
type axis struct {
	low, high float64
	log       bool
}

func (a axis) at(v float64) float64 {
	if a.log {
		return math.Log(max(v, a.low)/a.low) / math.Log(a.high/a.low)
	}
	return (v - a.low) / (a.high - a.low)
}

// ticks returns values to label: 1, 2 and 5 of each decade, or some four round
// ones.
func (a axis) ticks() []float64 {
	var ticks []float64
	if a.log {
		marks := []float64{1, 2, 5}
		if a.high/a.low > 300 {
			marks = marks[:1]
		}
		for e := math.Floor(math.Log10(a.low)); e <= math.Ceil(math.Log10(a.high)); e++ {
			for _, m := range marks {
				if v := m * math.Pow(10, e); v >= a.low && v <= a.high {
					ticks = append(ticks, v)
				}
			}
		}
		return ticks
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (a.high-a.low)/(m*step) <= 5 {
			step *= m
			break
		}
	}
	for k := math.Ceil(a.low / step); k*step <= a.high; k++ {
		ticks = append(ticks, k*step)
	}
	return ticks
}

// tickText is a value in short: 1.5, 8k, 1.2M.
func tickText(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3gk", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}

// A panel is one chart of a figure.
type panel interface {
	draw(d *drawing, x, y, width, height float64)
}

// figure draws panels in rows of columns under a title and a line about it.
func figure(title, about string, columns int, width, height float64, panels []panel) []byte {
	const head, margin, gap = 62.0, 16.0, 14.0
	rows := (len(panels) + columns - 1) / columns
	d := newDrawing(2*margin+float64(columns)*width+float64(columns-1)*gap, head+margin+float64(rows)*height+float64(rows-1)*gap)
	d.text(margin, 28, 18, "start", inkColour, title)
	d.text(margin, 46, 11, "start", faintColour, about)
	for i, p := range panels {
		p.draw(d, margin+float64(i%columns)*(width+gap), head+float64(i/columns)*(height+gap), width, height)
	}
	return d.end()
}

// bars is a chart of horizontal bars.
type bars struct {
	title string
	rows  []bar
	// log is for figures that span orders of magnitude.
	log bool
}

// A bar is one row of bars: a figure, from the lowest to the highest round.
type bar struct {
	label, colour, text string
	value, low, high    float64
	must, aim           float64 // 0: none
	missing             bool
}

// barsHeight is the height of a chart with n bars.
func barsHeight(n int) float64 { return 62 + 22*float64(n) }

func (p bars) axis() axis {
	a := axis{high: 1e-9, log: p.log}
	if p.log {
		a.low, a.high = 1, 2
	}
	for _, b := range p.rows {
		a.high = max(a.high, b.value, b.high)
	}
	for _, b := range p.rows {
		for _, mark := range []float64{b.must, b.aim} {
			if mark < 2*a.high { // a limit far away must not flatten the bars
				a.high = max(a.high, mark)
			}
		}
	}
	return a
}

func (p bars) draw(d *drawing, x, y, width, height float64) {
	const labels, figures = 128, 104
	a := p.axis()
	left, span := x+labels, width-labels-figures
	d.text(x, y+13, 12, "start", inkColour, p.title)
	top, bottom := y+24, y+24+22*float64(len(p.rows))
	for _, v := range a.ticks() {
		at := left + span*a.at(v)
		d.line(at, top, at, bottom+4, gridColour, 1, "")
		d.text(at, bottom+16, 9, "middle", faintColour, tickText(v))
	}
	for i, b := range p.rows {
		middle := top + 22*float64(i) + 11
		d.text(left-6, middle+4, 10.5, "end", inkColour, b.label)
		if b.missing {
			d.text(left+4, middle+4, 10.5, "start", mustColour, "no figure")
			continue
		}
		d.rect(left, middle-7, max(1, span*a.at(b.value)), 14, b.colour)
		d.line(left+span*a.at(b.low), middle, left+span*a.at(b.high), middle, inkColour, 1, "")
		for mark, colour := range map[float64]string{b.must: mustColour, b.aim: aimColour} {
			if mark > 0 && mark <= a.high {
				at := left + span*a.at(mark)
				d.line(at, middle-10, at, middle+10, colour, 1.5, dashes[1])
			}
		}
		d.text(x+width, middle+4, 10.5, "end", inkColour, b.text)
	}
}

// curves is a chart of lines.
type curves struct {
	title, across string
	x, y          axis
	// xTicks replace those of x: a position, and what is written there.
	xTicks map[float64]string
	// limit is a line across, 0 for none.
	limit float64
	lines []curve
}

// A curve is one line, with dots and their figures where dots is set.
type curve struct {
	name, colour, dash string
	points             [][2]float64
	dots               bool
}

func (p curves) draw(d *drawing, x, y, width, height float64) {
	left, top, span, rise := x+40, y+24, width-52, height-62
	// The legend is at the upper left, since curves of percentiles rise to the
	// right; one that is too long for that is below.
	legend := top + 12
	if len(p.lines) > 5 {
		rise -= 14 * float64(len(p.lines))
		legend = top + rise + 50
	}
	place := func(v [2]float64) [2]float64 {
		return [2]float64{left + span*p.x.at(v[0]), top + rise*(1-p.y.at(v[1]))}
	}
	d.text(x, y+13, 12, "start", inkColour, p.title)
	d.text(left+span/2, top+rise+30, 10, "middle", faintColour, p.across)
	for _, v := range p.y.ticks() {
		at := place([2]float64{p.x.low, v})
		d.line(left, at[1], left+span, at[1], gridColour, 1, "")
		d.text(left-5, at[1]+3, 9, "end", faintColour, tickText(v))
	}
	ticks := p.xTicks
	if ticks == nil {
		ticks = make(map[float64]string)
		for _, v := range p.x.ticks() {
			ticks[v] = tickText(v)
		}
	}
	for v, text := range ticks {
		at := left + span*p.x.at(v)
		d.line(at, top, at, top+rise, gridColour, 1, "")
		d.text(at, top+rise+14, 9, "middle", faintColour, text)
	}
	if p.limit > 0 {
		at := place([2]float64{p.x.low, p.limit})
		d.line(left, at[1], left+span, at[1], mustColour, 1.3, dashes[1])
	}
	for i, c := range p.lines {
		var placed [][2]float64
		for _, v := range c.points {
			placed = append(placed, place(v))
		}
		d.polyline(placed, c.colour, c.dash)
		for k, at := range placed {
			if c.dots {
				fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", at[0], at[1], c.colour)
				d.text(at[0], at[1]-7, 9, "middle", inkColour, FormatValue(c.points[k][1], "B"))
			}
		}
		at := legend + 14*float64(i)
		d.line(left+8, at-3, left+30, at-3, c.colour, 1.8, c.dash)
		d.text(left+35, at, 10, "start", inkColour, c.name)
	}
}
