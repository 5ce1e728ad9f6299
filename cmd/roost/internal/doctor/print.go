package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the report as text.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "Linux %s, %d processors, %s of memory\n\n",
		r.Machine.Kernel, r.Machine.CPUs, bytesText(r.Machine.MemoryBytes))
	fmt.Fprintf(w, "This machine holds %s connections. What stops it first: %s.\n\n",
		countText(r.Fits), r.StoppedBy)

	fmt.Fprintf(w, "  %-9s %-33s %15s   %s\n", "", "limit", "connections", "found")
	for _, c := range r.Checks {
		fmt.Fprintf(w, "  %-9s %-33s %15s   %s\n", c.Status, c.Name, countText(c.Fits), c.Found)
	}

	switch {
	case r.TargetAsked && r.TargetFits:
		fmt.Fprintf(w, "\n%s connections fit.\n", grouped(r.Target))
	case r.TargetAsked:
		fmt.Fprintf(w, "\n%s connections do not fit.\n", grouped(r.Target))
	}
	r.printAdvice(w)
}

func (r *Report) printAdvice(w io.Writer) {
	first := true
	for _, c := range r.Checks {
		if len(c.Commands) == 0 {
			continue
		}
		if first {
			fmt.Fprintf(w, "\nFor %s connections:\n", grouped(r.Target))
			first = false
		}
		want := ""
		if c.Want != "" {
			want = " to " + c.Want
		}
		fmt.Fprintf(w, "\n  %s%s\n", c.Name, want)
		fmt.Fprintf(w, "    %s.\n", c.Why)
		for _, command := range c.Commands {
			fmt.Fprintf(w, "      %s\n", command)
		}
	}
	if !r.Fix.Empty() {
		fmt.Fprintf(w, "\nTo keep these settings after a restart: roost doctor --target %d --fix shows the files, asks, and writes them.\n", r.Target)
	}
}

// Print writes what Apply would do.
func (f Fix) Print(w io.Writer) {
	for _, file := range f.Files {
		fmt.Fprintf(w, "/%s\n", file.Path)
		for line := range strings.Lines(file.Content) {
			fmt.Fprintf(w, "    %s", line)
		}
	}
	for _, s := range f.Settings {
		fmt.Fprintf(w, "set now: %s = %s\n", s.Name, s.Value)
	}
}

func countText(n int64) string {
	// Such a limit is as good as none.
	if n > 1e12 {
		return "-"
	}
	return grouped(n)
}
