//go:build linux

package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"time"

	"github.com/roostws/roost/bench"
)

// The plot is one panel of bars for each figure, all with the servers in the same
// order. Memory spans three orders of magnitude, so its axis is logarithmic; the
// others start at 0, with a line where the limit is.
const (
	plotPanelWidth  = 430
	plotLabelWidth  = 120
	plotBarsWidth   = 200
	plotRowHeight   = 20
	plotPanelHead   = 44
	plotPanelFoot   = 18
	plotHead        = 70
	plotMargin      = 24
	plotColumnCount = 2
)

var plotColours = map[kind]string{yardstick: "#444c56", limit: "#8b949e", ours: "#d9480f", peer: "#4c78a8"}

func (r *report) plot() []byte {
	panelHeight := plotPanelHead + plotRowHeight*len(r.Rows) + plotPanelFoot
	panelRows := (len(figures) + plotColumnCount - 1) / plotColumnCount
	width := plotColumnCount*plotPanelWidth + 2*plotMargin
	height := plotHead + panelRows*panelHeight + plotMargin

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	plotText(&b, plotMargin, 30, `font-size="18" font-weight="600" fill="#1f2328"`,
		fmt.Sprintf("%d WebSocket connections, server by server", r.Plan.Connections))
	plotText(&b, plotMargin, 50, `fill="#57606a"`, fmt.Sprintf("medians of %s, %s, kernel %s, %d x %s; thin line: lowest to highest",
		r.Plan.rounds(), r.Date.Format(time.DateOnly), r.Environment.Kernel, r.Environment.CPUs, r.Environment.CPU))
	for i, f := range figures {
		x := plotMargin + i%plotColumnCount*plotPanelWidth
		y := plotHead + i/plotColumnCount*panelHeight
		r.plotPanel(&b, f, x, y)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func plotText(b *bytes.Buffer, x, y int, attributes, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(text))
}

func (r *report) plotPanel(b *bytes.Buffer, f figure, x, y int) {
	title := f.title + ", " + f.unit
	better := "less is better"
	if f.more {
		better = "more is better"
	}
	plotText(b, x, y+18, `font-weight="600" fill="#1f2328"`, title)
	plotText(b, x, y+33, `font-size="11" fill="#57606a"`, better+f.scaleNote())
	scale := f.scale(r.Rows)
	top := y + plotPanelHead
	left := x + plotLabelWidth
	for i, row := range r.Rows {
		rowY := top + i*plotRowHeight
		kind := r.Servers[i].Kind
		weight := ""
		if kind == ours {
			weight = ` font-weight="600"`
		}
		plotText(b, left-6, rowY+14, `text-anchor="end" fill="#1f2328"`+weight, row.Server)
		v, ok := row.Values[f.name]
		if !ok {
			plotText(b, left+4, rowY+14, `fill="#cf222e"`, "no figure")
			continue
		}
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n",
			left, rowY+3, max(1, scale(v.Median)), plotRowHeight-6, plotColours[kind])
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#1f2328" stroke-width="1"/>`+"\n",
			float64(left)+scale(v.Low), float64(left)+scale(v.High), rowY+plotRowHeight/2, rowY+plotRowHeight/2)
		label := bench.FormatValue(v.Median, f.unit)
		if v.Ratio > 0 {
			label += fmt.Sprintf("  %.2fx", v.Ratio)
		}
		plotText(b, left+int(max(scale(v.Median), scale(v.High)))+6, rowY+14, `fill="#57606a" font-size="11"`, label)
	}
	if f.ratio {
		r.plotLimit(b, f, scale, left, top)
	}
}

// plotLimit draws the line where the limit's bar ends, through all bars.
func (r *report) plotLimit(b *bytes.Buffer, f figure, scale func(float64) float64, left, top int) {
	for i, s := range r.Servers {
		v, ok := r.Rows[i].Values[f.name]
		if s.Kind != yardstick || !ok {
			continue
		}
		at := float64(left) + scale(v.Median)
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#444c56" stroke-dasharray="3 3"/>`+"\n",
			at, at, top, top+plotRowHeight*len(r.Rows))
	}
}

func (f figure) scaleNote() string {
	if f.ratio {
		return "; dashed: the limit"
	}
	return "; logarithmic"
}

// scale answers how wide the bar of a figure is.
func (f figure) scale(rows []row) func(float64) float64 {
	high := 0.0
	for _, row := range rows {
		high = max(high, row.Values[f.name].High)
	}
	if high <= 0 {
		return func(float64) float64 { return 0 }
	}
	if f.ratio {
		return func(v float64) float64 { return max(0, v) / high * plotBarsWidth }
	}
	const low = 1 // byte
	return func(v float64) float64 {
		if v <= low || high <= low {
			return 0
		}
		return math.Log(v/low) / math.Log(high/low) * plotBarsWidth
	}
}
