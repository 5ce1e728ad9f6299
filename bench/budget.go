package bench

import (
	"fmt"
	"io"
	"strings"
)

// A Budget is a row of what Roost promises.
type Budget struct {
	// Metric names the figure, Head is its column's head, Text a whole phrase.
	Metric string `json:"metric"`
	Head   string `json:"head"`
	Text   string `json:"text"`
	// Must and Aim are values in the figure's unit, or ratios to the reference
	// where Ratio is set, or differences to it where Difference is.
	Must       float64 `json:"must,omitempty"`
	Aim        float64 `json:"aim,omitempty"`
	Ratio      bool    `json:"ratio,omitempty"`
	Difference bool    `json:"difference,omitempty"`
	// More tells that more is better.
	More bool   `json:"more,omitempty"`
	Unit string `json:"unit,omitempty"`
}

// Budgets are the rows of the design that a comparison measures. Memory is
// absolute; all others are ratios to the bare server with as many loops.
var Budgets = []Budget{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Must: 460, Aim: 128, Unit: "B"},
	{Metric: "open_cpu", Head: "us/open", Text: "CPU per connection opened", Must: 1.20, Aim: 0.80, Ratio: true, Unit: "us"},
	{Metric: "echo_cpu", Head: "us/echo", Text: "CPU per echoed message", Must: 1.15, Aim: 1.00, Ratio: true, Unit: "us"},
	{Metric: "single_cpu", Head: "us/delivery", Text: "CPU per delivery, one message at a time", Must: 1.08, Aim: 1.00, Ratio: true, Unit: "us"},
	{Metric: "delivery_rate", Head: "deliveries/s", Text: "deliveries a second, without pause", Must: 3, Aim: 10, Ratio: true, More: true, Unit: "1/s"},
}

// extraColumns are shown beside the budgets.
var extraColumns = []Budget{
	{Metric: "kernel_bytes_per_pair", Head: "kernel B/pair", Unit: "B"},
	{Metric: "saturated_cpu", Head: "us/delivery, no pause", Ratio: true, Unit: "us"},
}

// reached tells whether s is within limit.
func (b Budget) reached(s Summary, limit float64) bool {
	v := s.Median
	switch {
	case b.Ratio:
		v = s.Ratio
	case b.Difference:
		v = s.Difference
	}
	if b.More {
		return v >= limit
	}
	return v <= limit
}

func (b Budget) show(limit float64) string {
	switch {
	case b.Ratio:
		return fmt.Sprintf("%.2fx", limit)
	case b.Difference:
		return fmt.Sprintf("%+.0f", limit)
	}
	return FormatValue(limit, b.Unit)
}

func (b Budget) cell(s Summary) string {
	text := FormatValue(s.Median, b.Unit)
	switch {
	case b.Ratio && s.Ratio > 0:
		text += fmt.Sprintf(" %.2fx", s.Ratio)
	case b.Difference:
		text += fmt.Sprintf(" (%+.1f)", s.Difference)
	}
	return text
}

// figure is what the limits are for.
func (b Budget) figure(s Summary) string {
	switch {
	case b.Ratio:
		return b.show(s.Ratio)
	case b.Difference:
		return fmt.Sprintf("%+.1f %s", s.Difference, b.Unit)
	}
	return b.show(s.Median) + " " + b.Unit
}

// table is the comparison as cells: a head, a row for each server, then the
// budgets.
func (c *Comparison) table() [][]string {
	columns := append(append([]Budget{}, Budgets...), extraColumns...)
	head := []string{"server"}
	must, aim := []string{"must"}, []string{"aim"}
	for _, b := range columns {
		head = append(head, b.Head)
		if b.Must > 0 {
			must, aim = append(must, b.show(b.Must)), append(aim, b.show(b.Aim))
		} else {
			must, aim = append(must, ""), append(aim, "")
		}
	}
	head = append(head, "echo p50 ms", "p99 ms", "last receiver ms")
	rows := [][]string{head}
	for _, s := range c.Servers {
		row := []string{s.Label}
		for _, b := range columns {
			cell := "-"
			if sum, ok := c.Summary(s, b.Metric); ok {
				cell = b.cell(sum)
			}
			row = append(row, cell)
		}
		echo, last := c.latency(s.Label, "echo"), c.latency(s.Label, "single_last")
		row = append(row, milliseconds(echo, 50), milliseconds(echo, 99), milliseconds(last, 50))
		rows = append(rows, row)
	}
	for _, row := range [][]string{must, aim} {
		rows = append(rows, append(row, "", "", ""))
	}
	return rows
}

func milliseconds(h *histogram, percentile float64) string {
	if h.h.TotalCount() == 0 {
		return "-"
	}
	return FormatValue(float64(h.h.ValueAtQuantile(percentile))/1e6, "ms")
}

// WriteTable writes the comparison for people at a terminal.
func (c *Comparison) WriteTable(w io.Writer) {
	rows := c.table()
	writeColumns(w, rows, "l"+strings.Repeat("r", len(rows[0])-1))
	for _, s := range c.Sections {
		fmt.Fprintf(w, "\n%s: %s\n", s.Title, s.Text)
		rows := c.sectionTable(s)
		writeColumns(w, rows, "l"+strings.Repeat("r", len(rows[0])-1))
	}
}

// Verdict is the comparison in one sentence: held or not, at what cost, against
// the least that a program could spend.
func (c *Comparison) Verdict() string {
	var b strings.Builder
	if c.Held() {
		fmt.Fprintf(&b, "Held: %s connections at once, and every byte that was verified arrived whole, once and in order", groupThousands(fmt.Sprint(c.Connections)))
	} else {
		faults := c.Faults()
		fmt.Fprintf(&b, "NOT HELD: %s", faults[0])
		if len(faults) > 1 {
			fmt.Fprintf(&b, " (and %d more faults)", len(faults)-1)
		}
	}
	for _, s := range c.Servers {
		if s.Budget {
			fmt.Fprintf(&b, "; %s", c.cost(s))
		}
	}
	for _, s := range c.Sections {
		if text := c.sectionVerdict(s); text != "" {
			fmt.Fprintf(&b, "; %s", text)
		}
	}
	return b.String() + "."
}

// cost is what one server spends.
func (c *Comparison) cost(s Server) string {
	var spends []string
	must, aim, all := 0, 0, 0
	for _, b := range Budgets {
		sum, ok := c.Summary(s, b.Metric)
		if !ok {
			continue
		}
		all++
		if b.reached(sum, b.Must) {
			must++
		}
		if b.reached(sum, b.Aim) {
			aim++
		}
		if b.Ratio {
			spends = append(spends, fmt.Sprintf("%.2fx in %s", sum.Ratio, b.Text))
		} else {
			spends = append(spends, fmt.Sprintf("%s %s of %s", FormatValue(sum.Median, b.Unit), b.Unit, b.Text))
		}
	}
	return fmt.Sprintf("%s needs %s, against a bare epoll loop that does the least any program could (\"must\" reached in %d of %d rows, \"aim\" in %d)",
		s.Label, strings.Join(spends, ", "), must, all, aim)
}
