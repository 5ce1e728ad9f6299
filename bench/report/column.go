package report

import (
	"fmt"
	"slices"
	"strings"
)

// A Column is one figure of the servers of a table, with what is promised of it.
type Column struct {
	// Metric names the figure in results. Job, if it is set, takes it only from
	// results of that job. Latency and Percentile, if they are set, name a
	// distribution instead, whose percentile over all rounds is shown.
	Metric     string  `json:"metric,omitempty"`
	Job        string  `json:"job,omitempty"`
	Latency    string  `json:"latency,omitempty"`
	Percentile float64 `json:"percentile,omitempty"`
	// Head is the column's head, Text a whole phrase. A column without Text is
	// shown in the table only: not in the plot, not round by round.
	Head string `json:"head"`
	Text string `json:"text,omitempty"`
	// Must and Aim are limits in the figure's unit, or ratios to the reference
	// where Ratio is set, or differences to it where Difference is. Without
	// Must, nothing is promised.
	Must       float64 `json:"must,omitempty"`
	Aim        float64 `json:"aim,omitempty"`
	Ratio      bool    `json:"ratio,omitempty"`
	Difference bool    `json:"difference,omitempty"`
	// More means that more is better.
	More bool   `json:"more,omitempty"`
	Unit string `json:"unit,omitempty"`
}

// Budgets are the figures of the design that a comparison measures. Memory is
// absolute; all others are ratios to the bare server with as many loops.
var Budgets = []Column{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Must: 460, Aim: 128, Unit: "B"},
	{Metric: "open_cpu", Head: "us/open", Text: "CPU per connection opened", Must: 1.20, Aim: 0.80, Ratio: true, Unit: "us"},
	{Metric: "echo_cpu", Head: "us/echo", Text: "CPU per echoed message", Must: 1.15, Aim: 1.00, Ratio: true, Unit: "us"},
	{Metric: "single_cpu", Head: "us/delivery", Text: "CPU per delivery, one message at a time", Must: 1.08, Aim: 1.00, Ratio: true, Unit: "us"},
	{Metric: "delivery_rate", Head: "deliveries/s", Text: "deliveries a second, without pause", Must: 3, Aim: 10, Ratio: true, More: true, Unit: "1/s"},
	{Metric: "kernel_bytes_per_pair", Head: "kernel B/pair", Unit: "B"},
	{Metric: "saturated_cpu", Head: "us/delivery, no pause", Ratio: true, Unit: "us"},
	{Latency: "echo", Percentile: 50, Head: "echo p50 ms", Unit: "ms"},
	{Latency: "echo", Percentile: 99, Head: "p99 ms", Unit: "ms"},
	{Latency: "single_last", Percentile: 50, Head: "last receiver ms", Unit: "ms"},
}

// reached reports whether s is within limit.
func (c Column) reached(s Summary, limit float64) bool {
	v := c.of(s.Median, s.Ratio, s.Difference)
	if c.More {
		return v >= limit
	}
	return v <= limit
}

// of returns the one of the three that the limits are for.
func (c Column) of(value, ratio, difference float64) float64 {
	switch {
	case c.Ratio:
		return ratio
	case c.Difference:
		return difference
	}
	return value
}

// best shows the best round beside the median, where there are several and
// something is promised: noise only ever makes a figure worse.
func (c Column) best(s Summary) string {
	if c.Must == 0 || s.Rounds < 2 || (c.Ratio && s.Ratio == 0) {
		return ""
	}
	if c.Difference {
		return fmt.Sprintf("best %+.1f", s.Best)
	}
	return "best " + c.limit(s.Best)
}

// limit shows Must or Aim; nothing where nothing is promised.
func (c Column) limit(v float64) string {
	switch {
	case c.Must == 0:
		return ""
	case c.Ratio:
		return fmt.Sprintf("%.2fx", v)
	case c.Difference:
		return fmt.Sprintf("%+.0f", v)
	}
	return FormatValue(v, c.Unit)
}

// cell shows the figure in a table.
func (c Column) cell(s Summary) string {
	text := FormatValue(s.Median, c.Unit)
	switch {
	case c.Ratio && s.Ratio > 0:
		text += fmt.Sprintf(" %.2fx", s.Ratio)
	case c.Difference:
		text += fmt.Sprintf(" (%+.1f)", s.Difference)
	}
	return text
}

// figure shows in a sentence what the limits are for.
func (c Column) figure(s Summary) string {
	switch {
	case c.Ratio:
		return fmt.Sprintf("%.2fx", s.Ratio)
	case c.Difference:
		return fmt.Sprintf("%+.1f %s", s.Difference, c.Unit)
	}
	return strings.TrimSpace(FormatValue(s.Median, c.Unit) + " " + c.Unit)
}

// first returns the comparison's own table as a section.
func (c *Comparison) first() Section {
	return Section{Text: c.Text, Servers: c.Servers, Columns: c.Columns}
}

// table returns s as rows of cells: a head, the servers, then the limits, if
// there are any.
func (c *Comparison) table(s Section) [][]string {
	head, must, aim := []string{"server"}, []string{"must"}, []string{"aim"}
	limits := false
	for _, column := range s.Columns {
		head = append(head, column.Head)
		must, aim = append(must, column.limit(column.Must)), append(aim, column.limit(column.Aim))
		limits = limits || column.Must > 0
	}
	rows := [][]string{head}
	for _, server := range s.Servers {
		row := []string{server.Label}
		for _, column := range s.Columns {
			row = append(row, c.cell(server, column))
		}
		rows = append(rows, row)
	}
	if limits {
		rows = append(rows, must, aim)
	}
	return rows
}

func (c *Comparison) cell(s Server, column Column) string {
	if column.Latency != "" {
		if h := c.distribution(s.Label, column.Latency); h != nil {
			return FormatValue(float64(h.ValueAtQuantile(column.Percentile))/1e6, "ms")
		}
		return "-"
	}
	sum, ok := c.Summary(s, column)
	switch {
	case !ok:
		return "-"
	case s.Label == s.Reference || column.best(sum) == "":
		return column.cell(sum)
	}
	return column.cell(sum) + ", " + column.best(sum)
}

// told returns the columns of the first table that have a text: those that are
// plotted and shown round by round.
func (c *Comparison) told() []Column {
	return slices.DeleteFunc(slices.Clone(c.Columns), func(column Column) bool { return column.Text == "" })
}

// Verdict returns the comparison in one sentence: held or not, and the figures
// that something is promised of.
func (c *Comparison) Verdict() string {
	var b strings.Builder
	switch faults := c.Faults(); {
	case len(faults) == 0 && len(c.Runs) > 0:
		b.WriteString("Held: " + c.growthClaim())
	case len(faults) == 0:
		fmt.Fprintf(&b, "Held: %s connections at once, and every byte that was verified arrived whole, once and in order", FormatValue(float64(c.Connections), ""))
	default:
		fmt.Fprintf(&b, "NOT HELD: %s", faults[0])
		if len(faults) > 1 {
			fmt.Fprintf(&b, " (and %d more faults)", len(faults)-1)
		}
	}
	sections := c.Sections
	for _, s := range c.Servers {
		if text := c.cost(s); text != "" {
			fmt.Fprintf(&b, "; %s", text)
		}
	}
	if !slices.ContainsFunc(c.Servers, func(s Server) bool { return s.Reference != "" }) {
		sections = append([]Section{c.first()}, sections...)
	}
	for _, s := range sections {
		if text := c.promises(s); text != "" {
			fmt.Fprintf(&b, "; %s", text)
		}
	}
	return b.String() + "."
}

// cost says what a server of the first table spends beside its reference, if
// limits are meant for it.
func (c *Comparison) cost(s Server) string {
	if s.Reference == "" {
		return ""
	}
	var spends []string
	must, aim := 0, 0
	for _, column := range c.Columns {
		sum, ok := c.Summary(s, column)
		if !ok || !s.Budget || column.Must == 0 {
			continue
		}
		if column.reached(sum, column.Must) {
			must++
		}
		if column.reached(sum, column.Aim) {
			aim++
		}
		preposition := "of"
		if column.Ratio {
			preposition = "in"
		}
		spends = append(spends, fmt.Sprintf("%s %s %s", column.figure(sum), preposition, column.Text))
	}
	if len(spends) == 0 {
		return ""
	}
	beside := s.Reference
	if strings.HasPrefix(beside, "bare") {
		beside = "a bare epoll loop that does the least any program could"
	}
	return fmt.Sprintf("%s needs %s, against %s (\"must\" reached in %d of %d figures, \"aim\" in %d)",
		s.Label, strings.Join(spends, ", "), beside, must, len(spends), aim)
}

// promises says of a section's limits whether they were reached; it is empty
// where there are none.
func (c *Comparison) promises(s Section) string {
	var said []string
	judged := 0
	for _, server := range s.Servers {
		if server.Budget {
			judged++
		}
	}
	for _, server := range s.Servers {
		whose := ""
		if judged > 1 {
			whose = server.Label + " "
		}
		for _, column := range s.Columns {
			sum, ok := c.Summary(server, column)
			if !server.Budget || column.Must == 0 || !ok {
				continue
			}
			word, best := "missed", column.best(sum)
			if column.reached(sum, column.Must) {
				word = "reached"
			}
			if best != "" {
				best += ", "
			}
			said = append(said, fmt.Sprintf("%s%s of %s (%smust %s: %s)", whose, column.figure(sum), column.Text, best, column.limit(column.Must), word))
		}
	}
	if len(said) == 0 {
		return ""
	}
	text := strings.Join(said, ", ")
	if s.Title != "" {
		text = s.Title + ": " + text
	}
	return text
}
