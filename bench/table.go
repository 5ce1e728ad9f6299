package bench

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// WriteTable writes the result for people.
func (r *Result) WriteTable(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, %d connections, %d B, %.0f s\n", r.Scenario, r.Label, r.Connections, r.PayloadBytes, r.Seconds)
	var rows [][]string
	for _, m := range r.Metrics {
		rows = append(rows, []string{"  " + m.Text, FormatValue(m.Value, m.Unit), m.Unit})
	}
	writeColumns(w, rows, "lrl")
	r.writeLatencies(w)
	for _, list := range []struct {
		name  string
		lines []string
	}{{"note", r.Notes}, {"warning", r.Warnings}, {"FAULT", r.Faults}} {
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
func (r *Result) writeLatencies(w io.Writer) {
	if len(r.Latencies) == 0 {
		return
	}
	rows := [][]string{{"  ms", "p50", "p90", "p99", "p99.9", "max"}}
	for _, name := range slices.Sorted(maps.Keys(r.Latencies)) {
		l := r.Latencies[name]
		row := []string{"  " + l.Text}
		for _, ns := range []int64{l.P50Ns, l.P90Ns, l.P99Ns, l.P999Ns, l.MaxNs} {
			row = append(row, FormatValue(float64(ns)/1e6, "ms"))
		}
		rows = append(rows, row)
	}
	writeColumns(w, rows, "lrrrrr")
}

// FormatValue shows three significant digits, whole numbers from 100 on, with
// thousands apart.
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
