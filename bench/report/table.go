package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/roostws/roost/bench"
)

// A table is rows of cells, the first of them heads, between two paragraphs.
type table struct {
	title, text string
	rows        [][]string
	after       string
}

// writeText writes t for a terminal.
func (t table) writeText(w io.Writer) {
	switch {
	case t.title != "":
		fmt.Fprintf(w, "\n%s: %s\n", t.title, t.text)
	default:
		fmt.Fprintln(w)
	}
	writeColumns(w, t.rows, "l"+strings.Repeat("r", len(t.rows[0])-1))
}

// writeMarkdown writes t for a page.
func (t table) writeMarkdown(w io.Writer) {
	if t.title != "" {
		fmt.Fprintf(w, "\n## %s\n", t.title)
	}
	if t.text != "" {
		fmt.Fprintf(w, "\n%s\n", t.text)
	}
	fmt.Fprintln(w)
	for i, row := range t.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|---%s|\n", strings.Repeat("|--:", len(row)-1))
		}
	}
	if t.after != "" {
		fmt.Fprintf(w, "\n%s\n", t.after)
	}
}

// tables returns all tables of the comparison in their order.
func (c *Comparison) tables() []table {
	var all []table
	if len(c.Servers) > 0 {
		all = append(all, table{text: c.Text, rows: c.table(c.first())})
	}
	for _, s := range c.Sections {
		all = append(all, table{title: s.Title, text: s.Text, rows: c.table(s)})
	}
	for _, run := range c.Runs {
		all = append(all, run.tables()...)
	}
	return all
}

// roundsTable shows each round's figures, so that their spread is seen.
func (c *Comparison) roundsTable() table {
	t := table{title: "Each round", rows: [][]string{{"server"}}}
	for _, column := range c.told() {
		t.rows[0] = append(t.rows[0], column.Head)
	}
	for _, s := range c.Servers {
		row := []string{s.Label}
		for _, column := range c.told() {
			var cells []string
			values := c.byRound(s.Label, column)
			for _, round := range slices.Sorted(maps.Keys(values)) {
				cells = append(cells, FormatValue(values[round], column.Unit))
			}
			row = append(row, strings.Join(cells, ", "))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// WriteTable writes the comparison for people at a terminal.
func (c *Comparison) WriteTable(w io.Writer) {
	for _, t := range c.tables() {
		t.writeText(w)
	}
	fmt.Fprintln(w)
	for _, list := range []struct {
		name  string
		lines []string
	}{{"limited", c.Found}, {"warning", c.Warnings()}, {"peer", c.Findings()}, {"FAULT", c.Faults()}} {
		for _, line := range list.lines {
			fmt.Fprintf(w, "%s: %s\n", list.name, line)
		}
	}
}

// WriteMarkdown writes the comparison as a page; base is the name of the plot
// and the JSON file beside it, without the ending.
func (c *Comparison) WriteMarkdown(w io.Writer, base string) {
	fmt.Fprintf(w, "# %s\n\n%s\n\n![plot](%s.svg)\n", c.Title, c.Verdict(), base)
	for _, t := range c.tables() {
		t.writeMarkdown(w)
	}
	var servers []string
	for _, s := range c.Servers {
		if s.About != "" {
			servers = append(servers, fmt.Sprintf("`%s`: %s", s.Label, s.About))
		}
	}
	writeList(w, "The servers", servers)
	writeList(w, "Where and how", c.whereAndHow(base))
	writeList(w, "What the machine allows", c.Found)
	writeList(w, "Faults", c.Faults())
	writeList(w, "What went wrong with programs of others", c.Findings())
	writeList(w, "Warnings", c.Warnings())
	if len(c.Servers) > 0 && c.Rounds > 1 {
		c.roundsTable().writeMarkdown(w)
	}
}

func (c *Comparison) whereAndHow(base string) []string {
	e := c.Environment
	lines := []string{
		"date: " + c.Started.Format("2006-01-02 15:04 UTC"), "command: `" + c.Command + "`",
		"commit: " + e.Commit, "host: " + e.Host, "kernel: " + e.Kernel + " " + e.OS, fmt.Sprintf("CPU: %d x %s", e.CPUs, e.CPU),
		"memory: " + gib(e.Memory), "Go: " + e.Go, fmt.Sprintf("descriptors: %d a process", e.Descriptors),
	}
	for _, name := range slices.Sorted(maps.Keys(e.Limits)) {
		lines = append(lines, name+": "+e.Limits[name])
	}
	return append(lines, "everything above and more: "+base+".json")
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

func writeList(w io.Writer, head string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", head)
	for _, line := range lines {
		fmt.Fprintf(w, "- %s\n", strings.ReplaceAll(line, "\n", " "))
	}
}

// WriteResult writes one result for people at a terminal.
func WriteResult(w io.Writer, r *bench.Result) {
	fmt.Fprintf(w, "%s: %s, %d connections, %d B, %.0f s\n", r.Scenario, r.Label, r.Connections, r.PayloadBytes, r.Seconds)
	var rows [][]string
	for _, m := range r.Metrics {
		rows = append(rows, []string{"  " + m.Text, FormatValue(m.Value, m.Unit), m.Unit})
	}
	writeColumns(w, rows, "lrl")
	writeLatencies(w, r.Latencies)
	for _, list := range []struct {
		name  string
		lines []string
	}{{"note", r.Notes}, {"warning", worstOfEach(r.Warnings)}, {"FAULT", r.Faults}} {
		for _, line := range list.lines {
			fmt.Fprintf(w, "  %s: %s\n", list.name, line)
		}
	}
	if r.Held {
		fmt.Fprintln(w, "  held: everything that was checked was right")
	} else {
		fmt.Fprintln(w, "  NOT HELD")
	}
}

// writeLatencies writes one line for each distribution.
func writeLatencies(w io.Writer, latencies map[string]bench.Latency) {
	if len(latencies) == 0 {
		return
	}
	rows := [][]string{{"  ms", "p50", "p90", "p99", "p99.9", "max"}}
	for _, name := range slices.Sorted(maps.Keys(latencies)) {
		l := latencies[name]
		row := []string{"  " + l.Text}
		for _, ns := range []int64{l.P50Ns, l.P90Ns, l.P99Ns, l.P999Ns, l.MaxNs} {
			row = append(row, FormatValue(float64(ns)/1e6, "ms"))
		}
		rows = append(rows, row)
	}
	writeColumns(w, rows, "lrrrrr")
}

// FormatValue returns v with three significant digits, from 100 on as a whole
// number with its thousands apart. Without a unit it is a count.
func FormatValue(v float64, unit string) string {
	switch a := math.Abs(v); {
	case unit == "" || a >= 99.95:
		return groupThousands(strconv.FormatFloat(math.Round(v), 'f', 0, 64))
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func groupThousands(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// writeColumns writes rows with columns aligned as align says: l or r for each.
func writeColumns(w io.Writer, rows [][]string, align string) {
	widths := make([]int, len(align))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i > 0 {
				b.WriteString("  ")
			}
			if align[i] == 'r' {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
