//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
)

// report is all of a comparison, as it is saved.
type report struct {
	Schema      int               `json:"schema"`
	Date        time.Time         `json:"date"`
	Environment bench.Environment `json:"environment"`
	Plan        plan              `json:"plan"`
	Limits      []string          `json:"limits,omitempty"`
	Servers     []serverInfo      `json:"servers"`
	Rows        []row             `json:"rows"`
	Warnings    []string          `json:"warnings,omitempty"`
	Turns       []turn            `json:"turns"`
}

type serverInfo struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Kind  kind   `json:"kind"`
}

func (r *report) summarize() {
	r.Rows = summarizeTurns(r.Servers, r.Turns)
	r.Warnings = summarizeWarnings(r.Turns)
}

// held tells whether every turn came to its end and our servers did all that was
// checked. What a peer did wrong is a finding, not a failure of the comparison.
func (r *report) held() bool {
	kinds := make(map[string]kind)
	for _, s := range r.Servers {
		kinds[s.Name] = s.Kind
	}
	for _, t := range r.Turns {
		if t.Error != "" || (kinds[t.Server] == ours && len(t.Faults) > 0) {
			return false
		}
	}
	return true
}

// cells are the table: a header and a line for each server.
func (r *report) cells() [][]string {
	header := []string{"server"}
	for _, f := range figures {
		header = append(header, f.title)
	}
	lines := [][]string{header}
	for _, row := range r.Rows {
		line := []string{row.Server}
		if !row.Held {
			line[0] += " (!)"
		}
		for _, f := range figures {
			line = append(line, f.cell(row.Values[f.name]))
		}
		lines = append(lines, line)
	}
	return lines
}

func (f figure) cell(v value) string {
	if v.Rounds == 0 {
		return "-"
	}
	s := bench.FormatValue(v.Median, f.unit) + " " + f.unit
	if v.Ratio > 0 {
		s = fmt.Sprintf("%.2fx (%s)", v.Ratio, s)
	}
	return s
}

// writeTable writes the table for a terminal.
func (r *report) writeTable(w io.Writer) {
	lines := r.cells()
	// Titles are long: they go under each other, with a letter for the column.
	fmt.Fprintf(w, "\n%d connections, medians of %s; ratios are to limit, within each round\n\n", r.Plan.Connections, r.Plan.rounds())
	for i, title := range lines[0][1:] {
		fmt.Fprintf(w, "  %c  %s\n", 'A'+i, title)
		lines[0][i+1] = string(rune('A' + i))
	}
	fmt.Fprintln(w)
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		fmt.Fprintf(&b, "%-*s", widths[0], line[0])
		for i, cell := range line[1:] {
			fmt.Fprintf(&b, "  %*s", widths[i+1], cell)
		}
		fmt.Fprintln(w, b.String())
	}
	fmt.Fprintln(w)
	for _, row := range r.Rows {
		for _, note := range row.Notes {
			fmt.Fprintf(w, "(!) %s: %s\n", row.Server, note)
		}
	}
	for _, line := range slices.Concat(r.Warnings, r.Limits) {
		fmt.Fprintf(w, "limited: %s\n", line)
	}
}

// save writes the report in three forms.
func (r *report) save(path string) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	for _, file := range []struct {
		ending  string
		content []byte
	}{
		{".json", append(raw, '\n')},
		{".md", r.markdown(filepath.Base(path))},
		{".svg", r.plot()},
	} {
		if err := os.WriteFile(path+file.ending, file.content, 0o644); err != nil {
			return err
		}
		fmt.Println("wrote " + path + file.ending)
	}
	return nil
}

// markdown is the report for people; name is that of its neighbours.
func (r *report) markdown(name string) []byte {
	var b bytes.Buffer
	e := r.Environment
	fmt.Fprintf(&b, "# Servers compared, %s\n\n", r.Date.Format(time.DateOnly))
	fmt.Fprintf(&b, "%d connections, messages of 128 B, medians of %s. Ratios are to `limit`, a bare server that does the\nminimum of the same jobs, and were taken within each round: 1.00x is the least that a program can spend.\n\n", r.Plan.Connections, r.Plan.rounds())
	fmt.Fprintf(&b, "![plot](%s.svg)\n\n", name)
	lines := r.cells()
	fmt.Fprintf(&b, "| %s |\n|---%s|\n", strings.Join(lines[0], " | "), strings.Repeat("|--:", len(lines[0])-1))
	for _, line := range lines[1:] {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
	}
	noted := false
	for _, row := range r.Rows {
		for _, note := range row.Notes {
			if !noted {
				b.WriteString("\nWhat went wrong (!):\n\n")
				noted = true
			}
			fmt.Fprintf(&b, "- %s: %s\n", row.Server, strings.ReplaceAll(note, "\n", " "))
		}
	}
	b.WriteString("\n## The servers\n\n")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "- `%s`: %s\n", s.Name, s.About)
	}
	b.WriteString("\n## Where and how\n\n")
	fmt.Fprintf(&b, "- host %s: %d x %s, %.1f GiB\n- %s, kernel %s, %s\n- commit %s\n- `%s`\n",
		e.Host, e.CPUs, e.CPU, float64(e.Memory)/(1<<30), e.OS, e.Kernel, e.Go, e.Commit, strings.Join(e.Command, " "))
	for _, line := range slices.Concat(r.Warnings, r.Limits) {
		fmt.Fprintf(&b, "- limited: %s\n", line)
	}
	fmt.Fprintf(&b, "- each turn, every scenario and the lowest and highest of each figure: %s.json\n", name)
	return b.Bytes()
}
