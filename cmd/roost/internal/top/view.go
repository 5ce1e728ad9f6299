package top

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/web"
)

// A Channel is one of those with the most connections.
type Channel struct {
	Name    string `json:"name"`
	Clients int    `json:"clients"`
}

// A Node is one of the servers on a broker.
type Node struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Version     string `json:"version"`
	Connections int    `json:"connections"`
	Since       int64  `json:"since"` // Unix milliseconds
	Self        bool   `json:"self"`
}

// A Look is what a server said when it was asked once.
type Look struct {
	Metrics *Metrics
	// Ready reports whether the server takes new clients.
	Ready bool
	// Problem is why the server said nothing, nil if it did.
	Problem error

	// Nodes are the servers on its broker, if it has said so.
	Nodes []Node

	// ChannelsAsked reports whether channels were asked for: the last ones are shown
	// else. Channels are those with the most connections, the largest first, and
	// ChannelsProblem is why there are none, if so.
	ChannelsAsked   bool
	Channels        []Channel
	ChannelsProblem error
}

// A View is what is known of a server after some looks. One goroutine may use it.
type View struct {
	server  string // its address, as people read it
	figures []web.Figure
	looks   looks // those that succeeded
	last    Look  // the last one
	// From the last that asked.
	channels        []Channel
	channelsProblem error
}

// NewView returns the view of a server of which nothing is known.
func NewView(server string) *View {
	return &View{server: server, figures: web.Figures(), last: Look{Problem: errors.New("not asked yet")}}
}

// Add adds a look.
func (v *View) Add(l Look) {
	v.last = l
	if l.Problem == nil {
		v.looks = v.looks.add(l.Metrics)
	}
	if l.ChannelsAsked {
		v.channels, v.channelsProblem = l.Channels, l.ChannelsProblem
	}
}

// state is a word for the header.
func (v *View) state() string {
	switch {
	case v.last.Problem != nil && len(v.looks) > 0:
		return "no connection"
	case v.last.Problem != nil:
		return "trying to connect"
	case v.last.Ready:
		return "ready"
	}
	return "shutting down"
}

// A Style is how a line of the screen looks.
type Style uint8

// The styles.
const (
	Plain  Style = iota
	Header       // the first line
	Title        // the title of a table
	Bad          // what is wrong
)

// A Line is one of the screen.
type Line struct {
	Style Style
	Text  string
}

// Screen returns the view as lines for a terminal of this size, no longer and no
// more than fit.
func (v *View) Screen(width, height int) []Line {
	return v.screen(width, height, " · q quits ")
}

func (v *View) screen(width, height int, hint string) []Line {
	lines := []Line{{Header, fit(spread(v.head(), v.state()+hint, width), width)}}
	add := func(style Style, texts ...string) {
		for _, text := range texts {
			lines = append(lines, Line{style, fit(text, width)})
		}
	}
	if v.last.Problem != nil {
		for text := range strings.SplitSeq(v.last.Problem.Error(), "\n") {
			add(Bad, clean(text))
		}
	}
	if len(v.looks) > 0 {
		add(Plain, "")
		add(Plain, v.grid(width)...)
		add(Plain, "")
		rows := v.latencies(width)
		add(Title, rows[0])
		add(Plain, rows[1:]...)
		add(Plain, "")
		for _, rows := range [][]string{v.loopTable(width), v.servers(width)} {
			if rows != nil {
				add(Title, rows[0])
				add(Plain, rows[1:]...)
				add(Plain, "")
			}
		}
		rows = v.largest(width, height-len(lines)-1)
		add(Title, rows[0])
		add(Plain, rows[1:]...)
	}
	return lines[:min(len(lines), max(height, 1))]
}

func (v *View) head() string {
	parts := []string{" roost"}
	if len(v.looks) > 0 {
		now := v.looks.last()
		parts[0] += " " + clean(now.label("version"))
		parts = append(parts, clean(v.server), clean(now.label("engine")),
			"up "+formatAge(now.at.Sub(time.UnixMilli(int64(1000*now.started())))))
	} else {
		parts = append(parts, clean(v.server))
	}
	return strings.Join(parts, " · ")
}

// grid returns all figures but latencies, in as many columns as the width has room
// for, down each column.
func (v *View) grid(width int) []string {
	const narrow, gap = 34, 3
	var cells []web.Figure
	for _, f := range v.figures {
		if f.Histogram == "" {
			cells = append(cells, f)
		}
	}
	columns := min(max(1, (width+gap)/(narrow+gap)), 4)
	rows := (len(cells) + columns - 1) / columns
	each := (width+gap)/columns - gap
	lines := make([]string, rows)
	for i, f := range cells {
		at := &lines[i%rows]
		if *at != "" {
			*at += strings.Repeat(" ", gap)
		}
		*at += spread(f.Title, format(v.looks.value(f), f.Unit), each)
	}
	return lines
}

// latencies returns a table of the histograms.
func (v *View) latencies(width int) []string {
	width = min(width, 100)
	column := min(max(9, (width-20)/3), 12)
	title := "Latency since the start"
	if len(v.looks) > 1 {
		title = "Latency, last " + formatAge(v.looks.last().at.Sub(v.looks[0].at))
	}
	lines := []string{table(title, width, column, "50 %", "99 %", "a second")}
	for _, f := range v.figures {
		if f.Histogram != "" {
			lines = append(lines, table(f.Title, width, column, formatSecondsOr(v.looks.quantile(f.Histogram, 0.5)),
				formatSecondsOr(v.looks.quantile(f.Histogram, 0.99)), format(v.often(f), "count")))
		}
	}
	return lines
}

func formatSecondsOr(n float64) string { return format(n, "seconds") }

// often is how often a second a histogram has counted something, over the looks.
func (v *View) often(f web.Figure) float64 {
	if len(v.looks) < 2 {
		return math.NaN()
	}
	_, _, n := v.looks.histogram(f.Histogram)
	return float64(n) / v.looks.last().at.Sub(v.looks[0].at).Seconds()
}

// serversMax is how many servers have a line.
const serversMax = 16

// servers returns a table of the servers on the broker, if there are others.
func (v *View) servers(width int) []string {
	nodes := v.last.Nodes
	if len(nodes) < 2 {
		return nil
	}
	versions := map[string]bool{}
	for _, n := range nodes {
		versions[n.Version] = true
	}
	title := fmt.Sprintf("Connections         up  %d servers", len(nodes))
	if len(versions) > 1 {
		title += fmt.Sprintf(", of %d versions", len(versions))
	}
	lines := []string{fit(title, width)}
	for _, n := range nodes[:min(len(nodes), serversMax)] {
		name := cmp.Or(n.Name, n.ID) + " " + n.Version
		if n.Self {
			name += " (this one)"
		}
		up := formatAge(v.looks.last().at.Sub(time.UnixMilli(n.Since)))
		lines = append(lines, fit(fmt.Sprintf("%11s %10s  %s", format(float64(n.Connections), "count"), up, clean(name)), width))
	}
	if more := len(nodes) - serversMax; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// largest returns a table of up to most channels.
func (v *View) largest(width, most int) []string {
	lines := []string{"Connections  Channels with the most"}
	if v.channelsProblem != nil {
		return append(lines, clean(v.channelsProblem.Error()))
	}
	if len(v.channels) == 0 {
		return append(lines, "No channel has subscribers.")
	}
	for _, c := range v.channels[:min(len(v.channels), max(most, 0))] {
		// The name comes last: some characters are wider than one column.
		lines = append(lines, fit(fmt.Sprintf("%11s  %s", format(float64(c.Clients), "count"), clean(c.Name)), width))
	}
	return lines
}

// Report returns the view as lines of any length, all of it.
func (v *View) Report() (lines []string) {
	const width, all = 80, 1000
	for _, line := range v.screen(width, all, "") {
		lines = append(lines, strings.TrimRight(line.Text, " "))
	}
	return lines
}

// rowFigures are the columns of Row.
var rowFigures = []struct{ name, title string }{
	{"connections", "conns"}, {"opened", "opened/s"}, {"closed", "closed/s"}, {"received", "recv/s"}, {"delivered", "deliv/s"},
	{"bytes_in", "in/s"}, {"bytes_out", "out/s"}, {"publish", "publish99"}, {"behind", "behind"}, {"dropped", "drop/s"},
	{"cpu", "cpu"}, {"memory", "memory"},
}

const rowColumn = 11

// RowTitle returns the titles above rows.
func RowTitle() string {
	var b strings.Builder
	b.WriteString("time    ")
	for _, f := range rowFigures {
		b.WriteString(strings.Repeat(" ", rowColumn-len(f.title)) + f.title)
	}
	return b.String()
}

// Row returns the view as one line.
func (v *View) Row(at time.Time) string {
	var b strings.Builder
	b.WriteString(at.Format(time.TimeOnly))
	if v.last.Problem != nil {
		first, _, _ := strings.Cut(v.last.Problem.Error(), "\n")
		return b.String() + " " + v.state() + ": " + clean(first)
	}
	for _, column := range rowFigures {
		for _, f := range v.figures {
			if f.Name == column.name {
				text := format(v.looks.value(f), f.Unit)
				b.WriteString(strings.Repeat(" ", max(1, rowColumn-utf8.RuneCountInString(text))) + text)
			}
		}
	}
	return b.String()
}

// latency is a histogram for programs: seconds, and how many a second.
type latency struct {
	P50       *float64 `json:"p50"`
	P99       *float64 `json:"p99"`
	PerSecond *float64 `json:"per_second"`
}

// JSON returns the view as one JSON object on a line: null where there is no number.
// Figures are in their units: bytes, seconds, a second; 1 is the whole of a percentage.
func (v *View) JSON(at time.Time) ([]byte, error) {
	out := struct {
		Time      time.Time           `json:"time"`
		Server    string              `json:"server"`
		State     string              `json:"state"`
		Problem   string              `json:"problem,omitempty"`
		Version   string              `json:"version,omitempty"`
		Engine    string              `json:"engine,omitempty"`
		Figures   map[string]*float64 `json:"figures,omitempty"`
		Latencies map[string]latency  `json:"latencies,omitempty"`
		Loops     []loop              `json:"loops,omitempty"`
		Channels  []Channel           `json:"channels,omitempty"`
	}{Time: at.UTC(), Server: v.server, State: v.state()}
	if v.last.Problem != nil {
		out.Problem = v.last.Problem.Error()
	} else {
		now := v.looks.last()
		out.Version, out.Engine, out.Channels = now.label("version"), now.label("engine"), v.channels
		out.Loops = v.looks.loops()
		out.Figures, out.Latencies = map[string]*float64{}, map[string]latency{}
		for _, f := range v.figures {
			if f.Histogram == "" {
				out.Figures[f.Name] = number(v.looks.value(f))
				continue
			}
			out.Latencies[f.Name] = latency{number(v.looks.quantile(f.Histogram, 0.5)), number(v.looks.quantile(f.Histogram, 0.99)), number(v.often(f))}
		}
	}
	text, err := json.Marshal(out)
	return append(text, '\n'), err
}

// number returns nil for what JSON has no number for.
func number(n float64) *float64 {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return nil
	}
	return &n
}
