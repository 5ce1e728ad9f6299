package report

import (
	"fmt"
	"strings"

	"github.com/roostws/roost/bench"
)

// A Run is one server of the scenario grow: what a connection costs against how
// many there are.
type Run struct {
	// Emulated means that the processor was emulated: counts and bytes are true,
	// times are not.
	Emulated bool          `json:"emulated"`
	Result   *bench.Result `json:"result"`
	// Cycles are the server's garbage collections.
	Cycles []Cycle `json:"gc"`
}

// A Cycle is one garbage collection.
type Cycle struct {
	// AtSeconds is the age of the process.
	AtSeconds float64 `json:"at_seconds"`
	// PauseMs is how long the world stood still: the first and the last of the
	// three parts. MarkMs, in between, is concurrent.
	PauseMs float64 `json:"pause_ms"`
	MarkMs  float64 `json:"mark_ms"`
	// LiveMB is the heap that was found to be in use.
	LiveMB int `json:"live_mb"`
}

// largest is the last step of the first run: the one that the claim is about.
func (c *Comparison) largest() bench.Step {
	steps := c.Runs[0].Result.Steps
	return steps[len(steps)-1]
}

// growthTitle names the page of runs.
func (c *Comparison) growthTitle() string {
	return fmt.Sprintf("%s WebSocket connections in one process", count(c.largest().Connections))
}

// growthClaim is what the first run has shown, with its figures.
func (c *Comparison) growthClaim() string {
	s := c.largest()
	text := fmt.Sprintf("one server process had %s connections open at once, for %s of its own memory and %s of the kernel's for each (both ends are on this machine); %s of %s deliveries to all of them (broadcasts: %d) arrived, each whole, once and in order",
		count(s.Connections), byteCount(max(s.UserBytes, s.UserBytesAfter)), byteCount(s.SlabBytes+s.TCPBytes),
		count(int(s.Delivered)), count(int(s.Expected)), s.Published)
	if c.Runs[0].Emulated {
		text += "; this was in a virtual machine whose processor is emulated: counts and bytes are true, times are not"
	}
	return text
}

func count(n int) string { return FormatValue(float64(n), "") }

func byteCount(v float64) string { return FormatValue(v, "B") + " B" }

// tables are those of one run: its steps, and the pauses.
func (run Run) tables() []table {
	r, e := run.Result, run.Result.Environment
	t := table{title: "Natively: true bytes, true times", text: fmt.Sprintf("Kernel %s, %s. Not a machine of its own: what other programs did is in the times, and in the kernel's bytes.", e.Kernel, plural(e.CPUs, "CPU"))}
	if run.Emulated {
		t.title = "In the emulated machine: true bytes, untrue times"
		t.text = fmt.Sprintf("Kernel %s, %s, %s, %d descriptors a process. The server's deadlines were stretched as far as the processor is slow. Times in the tables are some 3 to 150 times what they would be, as the host was more or less busy with other programs.",
			e.Kernel, plural(e.CPUs, "CPU"), gib(e.Memory), e.Descriptors)
	}
	t.text += fmt.Sprintf(" Server: %s; messages of %d B.", r.Label, r.PayloadBytes)
	t.rows = [][]string{{"connections", "user B each", "after broadcasts", "slab B each, both ends", "TCP buffers B", "all kernel B", "deliveries", "to the last receiver", "CPU per delivery", "CPU per open"}}
	figure := func(v float64) string { return FormatValue(v, "B") }
	for _, s := range r.Steps {
		t.rows = append(t.rows, []string{
			count(s.Connections), figure(s.UserBytes), figure(s.UserBytesAfter), figure(s.SlabBytes), figure(s.TCPBytes), figure(s.KernelBytes),
			count(int(s.Delivered)) + " of " + count(int(s.Expected)), figure(s.BroadcastSeconds) + " s", figure(s.DeliveryCPU) + " us", figure(s.OpenCPU) + " us",
		})
	}
	t.after = "User: anonymous memory of the server less what it had before the first connection. All kernel: all memory in use that is neither a program's nor a file's."
	return []table{t, run.pauses()}
}

// pauses is the table of what the garbage collector did up to each step.
func (run Run) pauses() table {
	steps := run.Result.Steps
	t := table{
		rows:  [][]string{{"up to connections", "garbage collections", "longest pause", "all pauses", "live heap"}},
		after: "The first row includes those of the server's start. The run's command: `" + strings.Join(run.Result.Environment.Command, " ") + "`.",
	}
	from := 0.0
	for _, s := range steps {
		cycles, live, longest, total := 0, 0, 0.0, 0.0
		for _, c := range run.Cycles {
			if c.AtSeconds <= from || c.AtSeconds > s.ServerSeconds {
				continue
			}
			cycles++
			live, longest, total = max(live, c.LiveMB), max(longest, c.PauseMs), total+c.PauseMs
		}
		row := []string{count(s.Connections), "0", "-", "-", "-"}
		if cycles > 0 {
			row = []string{count(s.Connections), fmt.Sprint(cycles), FormatValue(longest, "ms") + " ms",
				fmt.Sprintf("%s ms in %.0f s", FormatValue(total, "ms"), s.ServerSeconds-from), fmt.Sprintf("%d MB", live)}
		}
		t.rows = append(t.rows, row)
		from = s.ServerSeconds
	}
	return t
}
