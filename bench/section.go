package bench

import (
	"fmt"
	"strings"
)

// A Section is a further table of a Comparison: servers with another job, and
// other columns.
type Section struct {
	// Title is its head, Text says what is compared with what.
	Title string `json:"title"`
	Text  string `json:"text"`
	// Servers are its rows; their labels are those of results.
	Servers []Server `json:"servers"`
	// Columns are its figures.
	Columns []Budget `json:"columns"`
}

// TLSColumns are the figures of servers that speak TLS.
var TLSColumns = []Budget{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Must: 8192, Aim: 4096, Unit: "B"},
	{Metric: "open_cpu", Head: "us/open", Text: "CPU per connection opened", Ratio: true, Unit: "us"},
	{Metric: "echo_cpu", Head: "us/echo", Text: "CPU per echoed message", Ratio: true, Unit: "us"},
	{Metric: "echo_rate", Head: "echoes/s", Text: "echoed messages a second", Ratio: true, More: true, Unit: "1/s"},
}

// CompressionColumns are the figures of servers that compress.
var CompressionColumns = []Budget{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Difference: true, Must: 64, Aim: 0, Unit: "B"},
	{Metric: "message_bytes", Head: "B/message", Text: "bytes of a message", Unit: "B"},
	{Metric: "frame_bytes", Head: "B on the wire", Text: "bytes of its frame", Unit: "B"},
	{Metric: "bytes_saved", Head: "bytes saved %", Text: "bytes saved", Unit: "%"},
	{Metric: "plain_single_cpu", Head: "us/delivery, plain", Text: "CPU per delivery, uncompressed", Unit: "us"},
	{Metric: "single_cpu", Head: "compressed", Text: "CPU per delivery, compressed", Unit: "us"},
	{Metric: "plain_saturated_cpu", Head: "no pause, plain", Text: "CPU per delivery without pause, uncompressed", Unit: "us"},
	{Metric: "saturated_cpu", Head: "compressed", Text: "CPU per delivery without pause, compressed", Unit: "us"},
}

// IdleColumns are the figures of a server whose clients are idle and pinged.
var IdleColumns = []Budget{
	{Metric: "idle_cpu", Head: "% of a core", Text: "CPU of 100,000 idle, pinged connections", Must: 5, Aim: 2, Unit: "%"},
	{Metric: "pings", Head: "pings received", Text: "pings", Unit: ""},
}

// StalledColumns are the figures of a server most of whose clients do not read.
// Its budget is the ring that each loop keeps, 4 MiB, and for the first one a
// MiB more.
var StalledColumns = []Budget{
	{Metric: "stalled_bytes", Head: "B added", Text: "memory added by clients that do not read", Must: 5 << 20, Aim: 4 << 20, Unit: "B"},
	{Metric: "stalled", Head: "do not read", Text: "receivers that do not read", Unit: ""},
	{Metric: "stalled_cpu", Head: "us/delivery to the others", Text: "CPU per delivery to the others", Unit: "us"},
}

// sectionTable is s as cells: a head, a row for each server, then the limits.
func (c *Comparison) sectionTable(s Section) [][]string {
	head, must, aim := []string{"server"}, []string{"must"}, []string{"aim"}
	for _, b := range s.Columns {
		head = append(head, b.Head)
		if b.Must > 0 {
			must, aim = append(must, b.show(b.Must)), append(aim, b.show(b.Aim))
		} else {
			must, aim = append(must, ""), append(aim, "")
		}
	}
	rows := [][]string{head}
	for _, server := range s.Servers {
		row := []string{server.Label}
		for _, b := range s.Columns {
			cell := "-"
			if sum, ok := c.Summary(server, b.Metric); ok {
				cell = b.cell(sum)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return append(rows, must, aim)
}

// sectionVerdict is what a section's budgets say, empty where it has none.
func (c *Comparison) sectionVerdict(s Section) string {
	var said []string
	for _, server := range s.Servers {
		for _, b := range s.Columns {
			sum, ok := c.Summary(server, b.Metric)
			if !server.Budget || b.Must == 0 || !ok {
				continue
			}
			word := "missed"
			if b.reached(sum, b.Must) {
				word = "reached"
			}
			said = append(said, fmt.Sprintf("%s of %s (must %s: %s)", b.figure(sum), b.Text, b.show(b.Must), word))
		}
	}
	if len(said) == 0 {
		return ""
	}
	return s.Title + ": " + strings.Join(said, ", ")
}
