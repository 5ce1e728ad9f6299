package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// WriteMarkdown writes the comparison as a page; plot is the picture's file
// name beside it.
func (c *Comparison) WriteMarkdown(w io.Writer, plot string) {
	fmt.Fprintf(w, "# %s\n\n%s\n\n", c.Title, c.Verdict())
	writeTable(w, c.table())
	fmt.Fprintf(w, "\nMedians of %d rounds; ratios are to the bare server with as many loops, taken within each round. us: server CPU, user and kernel.\n", c.Rounds)
	for _, s := range c.Sections {
		fmt.Fprintf(w, "\n## %s\n\n%s\n\n", s.Title, s.Text)
		writeTable(w, c.sectionTable(s))
	}
	if plot != "" {
		fmt.Fprintf(w, "\n![plot](%s)\n", plot)
	}
	e := c.Environment
	fmt.Fprintf(w, "\n## Where and how\n\n")
	for _, line := range [][2]string{
		{"date", c.Started.Format("2006-01-02 15:04 UTC")},
		{"command", "`" + c.Command + "`"}, {"commit", e.Commit}, {"host", e.Host},
		{"kernel", e.Kernel + " " + e.OS}, {"CPU", fmt.Sprintf("%d x %s", e.CPUs, e.CPU)},
		{"memory", fmt.Sprintf("%d MiB", e.Memory>>20)}, {"Go", e.Go},
		{"descriptors", fmt.Sprintf("%d a process", e.Descriptors)},
	} {
		fmt.Fprintf(w, "- %s: %s\n", line[0], line[1])
	}
	for _, name := range slices.Sorted(maps.Keys(e.Limits)) {
		fmt.Fprintf(w, "- %s: %s\n", name, e.Limits[name])
	}
	writeList(w, "What the machine allows", c.Found)
	writeList(w, "Faults", c.Faults())
	writeList(w, "Warnings", c.Warnings())
	c.writeRounds(w)
}

func writeTable(w io.Writer, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
}

func writeList(w io.Writer, head string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", head)
	for _, line := range lines {
		fmt.Fprintf(w, "- %s\n", line)
	}
}

// writeRounds shows each round's figures, so that the spread is seen.
func (c *Comparison) writeRounds(w io.Writer) {
	fmt.Fprintf(w, "\n## Each round\n\n| server |")
	for _, b := range Budgets {
		fmt.Fprintf(w, " %s |", b.Head)
	}
	fmt.Fprintf(w, "\n|%s\n", strings.Repeat("---|", len(Budgets)+1))
	for _, s := range c.Servers {
		fmt.Fprintf(w, "| %s |", s.Label)
		for _, b := range Budgets {
			var cells []string
			values := c.byRound(s.Label, b.Metric)
			for _, round := range slices.Sorted(maps.Keys(values)) {
				cells = append(cells, FormatValue(values[round], b.Unit))
			}
			fmt.Fprintf(w, " %s |", strings.Join(cells, ", "))
		}
		fmt.Fprintln(w)
	}
}
