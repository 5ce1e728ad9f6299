package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
)

// markdown is the report for people; base is the name of its neighbours.
func (r *report) markdown(base string) []byte {
	var b bytes.Buffer
	first := r.Runs[0].Result
	last := first.Steps[len(first.Steps)-1]
	fmt.Fprintf(&b, "# %s WebSocket connections in one process, %s\n\n", bench.FormatValue(float64(last.Connections), ""), r.Started.Format(time.DateOnly))
	fmt.Fprintf(&b, "%s\n\n![plot](%s.svg)\n", r.sentence(), base)
	for _, one := range r.Runs {
		one.markdown(&b)
	}
	e := r.Environment
	b.WriteString("\n## Where and how\n\n")
	fmt.Fprintf(&b, "- host %s: %s, %d CPUs, %.1f GiB, kernel %s, %d descriptors a process\n", e.Host, e.CPU, e.CPUs, gib(e.Memory), e.Kernel, e.Descriptors)
	fmt.Fprintf(&b, "- %s, commit %s\n- `%s`\n- everything above and more: %s.json\n", e.Go, e.Commit, r.Command, base)
	return b.Bytes()
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }

// sentence is the claim, with its figures.
func (r *report) sentence() string {
	one := r.Runs[0]
	s := one.Result.Steps[len(one.Result.Steps)-1]
	word := "Held"
	if !r.held() {
		word = "**Not held**"
	}
	text := fmt.Sprintf("%s: one server process had %s connections open at once, for %s of its own memory and %s of the kernel's for each (both ends are on this machine); %s of %s deliveries to all of them (broadcasts: %d) arrived, each whole, once and in order.",
		word, bench.FormatValue(float64(s.Connections), ""), byteCount(max(s.UserBytes, s.UserBytesAfter)), byteCount(s.SlabBytes+s.TCPBytes),
		bench.FormatValue(float64(s.Delivered), ""), bench.FormatValue(float64(s.Expected), ""), s.Published)
	if one.Emulated {
		text += " This was in a virtual machine whose processor is emulated: **counts and bytes are true, times are not.**"
	}
	return text
}

func byteCount(v float64) string { return bench.FormatValue(v, "B") + " B" }

func (one run) markdown(b *bytes.Buffer) {
	r := one.Result
	if one.Emulated {
		fmt.Fprintf(b, "\n## In the emulated machine: true bytes, untrue times\n\nKernel %s, %s, %.1f GiB, %d descriptors a process.", r.Environment.Kernel, cpus(r.Environment.CPUs), gib(r.Environment.Memory), r.Environment.Descriptors)
		b.WriteString(" The server's deadlines were stretched as far as the processor is slow. Times in the tables are some 3 to 150 times what they would be, as the host was more or less busy with other programs.\n")
	} else {
		fmt.Fprintf(b, "\n## Natively: true bytes, true times\n\nKernel %s, %s. Not a machine of its own: what other programs did is in the times, and in the kernel's bytes.\n", r.Environment.Kernel, cpus(r.Environment.CPUs))
	}
	fmt.Fprintf(b, "Server: %s; messages of %d B.\n\n", r.Label, r.PayloadBytes)
	b.WriteString("| connections | user B each | after broadcasts | slab B each, both ends | TCP buffers B | all kernel B | deliveries | to the last receiver | CPU per delivery | CPU per open |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, s := range r.Steps {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s of %s | %s s | %s us | %s us |\n",
			bench.FormatValue(float64(s.Connections), ""), figure(s.UserBytes), figure(s.UserBytesAfter), figure(s.SlabBytes), figure(s.TCPBytes), figure(s.KernelBytes),
			bench.FormatValue(float64(s.Delivered), ""), bench.FormatValue(float64(s.Expected), ""), figure(s.BroadcastSeconds), figure(s.DeliveryCPU), figure(s.OpenCPU))
	}
	b.WriteString("\nUser: anonymous memory of the server less what it had before anybody came. All kernel: all memory in use that is neither a program's nor a file's.\n\n")
	one.pauses(b)
	for _, list := range []struct {
		name  string
		lines []string
	}{{"fault", r.Faults}, {"warning", r.Warnings}, {"note", r.Notes}} {
		for _, line := range list.lines {
			fmt.Fprintf(b, "- %s: %s\n", list.name, line)
		}
	}
	fmt.Fprintf(b, "- inside: `%s`\n", strings.Join(r.Environment.Command, " "))
}

// pauses is the table of what the garbage collector did.
func (one run) pauses(b *bytes.Buffer) {
	b.WriteString("| up to connections | garbage collections | longest pause | all pauses | live heap |\n|--:|--:|--:|--:|--:|\n")
	for i, s := range one.Result.Steps {
		p := stepPauses(one.Result.Steps, one.Cycles, i)
		if p.count == 0 {
			fmt.Fprintf(b, "| %s | 0 | - | - | - |\n", bench.FormatValue(float64(s.Connections), ""))
			continue
		}
		fmt.Fprintf(b, "| %s | %d | %s ms | %s ms in %.0f s | %d MB |\n", bench.FormatValue(float64(s.Connections), ""), p.count,
			figure(p.longestMs), figure(p.totalMs), one.seconds(i), p.liveMB)
	}
	b.WriteString("\nThe first row has those of the server's start as well.\n\n")
}

func (one run) seconds(i int) float64 {
	if i == 0 {
		return one.Result.Steps[0].ServerSeconds
	}
	return one.Result.Steps[i].ServerSeconds - one.Result.Steps[i-1].ServerSeconds
}

func figure(v float64) string { return bench.FormatValue(v, "B") }

func cpus(n int) string {
	if n == 1 {
		return "1 CPU"
	}
	return fmt.Sprintf("%d CPUs", n)
}
