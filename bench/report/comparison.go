package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/roostws/roost/bench"
)

// A Comparison is everything that a benchmark script measured: servers side by
// side in several rounds of the same scenarios, or runs of the scenario grow.
type Comparison struct {
	Schema int `json:"schema"`
	// Name is the part of the file names that says which script it was: c10k.
	Name  string `json:"name,omitempty"`
	Title string `json:"title"`
	// Text says what the first table compares with what.
	Text        string    `json:"text,omitempty"`
	Started     time.Time `json:"started"`
	Command     string    `json:"command"`
	Connections int       `json:"connections,omitempty"`
	Rounds      int       `json:"rounds,omitempty"`
	// Found says in sentences what the machine allows.
	Found []string `json:"found,omitempty"`
	// Servers and Columns are the rows and the figures of the first table,
	// Sections are further tables.
	Servers  []Server  `json:"servers,omitempty"`
	Columns  []Column  `json:"columns,omitempty"`
	Sections []Section `json:"sections,omitempty"`
	// Runs are those of the scenario grow.
	Runs        []Run             `json:"runs,omitempty"`
	Environment bench.Environment `json:"environment"`
	// Results are all single results, as they were measured.
	Results []*bench.Result `json:"results,omitempty"`
	// Failures are servers or scenarios that gave no result.
	Failures []string `json:"failures,omitempty"`
}

// A Server is one row of a table.
type Server struct {
	Label string `json:"label"`
	// About says what it is, for the list under the tables; it may be empty.
	About string `json:"about,omitempty"`
	// Reference is the label of the server that its ratios refer to.
	Reference string `json:"reference,omitempty"`
	// Budget means that the limits of the columns are meant for this server.
	Budget bool `json:"budget,omitempty"`
	// Peer is set for a program of others. What it does wrong is a finding, not
	// a fault of the comparison.
	Peer bool `json:"peer,omitempty"`
}

// A Section is one table: servers, and figures of them.
type Section struct {
	// Title is its heading, Text says what is compared with what.
	Title string `json:"title"`
	Text  string `json:"text"`
	// Servers are its rows; their labels are those of results.
	Servers []Server `json:"servers"`
	Columns []Column `json:"columns"`
}

// A Summary is what all rounds say about one figure of one server.
type Summary struct {
	Median, Min, Max float64
	// Ratio is the median of the rounds' ratios, server to reference; 0 where
	// there is none. Noise comes in waves that are longer than a server's turn,
	// so that ratios are taken within a round and not between medians.
	// Difference is the same for differences.
	Ratio, Difference float64
	// Best is the round that is best by what the column's limits are for.
	Best   float64
	Rounds int
}

// Summary returns what the rounds say about a column of s, and reports whether
// there is such a figure.
func (c *Comparison) Summary(s Server, column Column) (Summary, bool) {
	var values, ratios, differences []float64
	reference := c.byRound(s.Reference, column)
	for round, v := range c.byRound(s.Label, column) {
		values = append(values, v)
		if base := reference[round]; base > 0 {
			ratios = append(ratios, v/base)
			differences = append(differences, v-base)
		}
	}
	if len(values) == 0 {
		return Summary{}, false
	}
	sum := Summary{Median: median(values), Min: slices.Min(values), Max: slices.Max(values), Rounds: len(values)}
	lowest, highest := sum.Min, sum.Max
	if len(ratios) > 0 {
		sum.Ratio, sum.Difference = median(ratios), median(differences)
		lowest = column.of(lowest, slices.Min(ratios), slices.Min(differences))
		highest = column.of(highest, slices.Max(ratios), slices.Max(differences))
	}
	if sum.Best = lowest; column.More {
		sum.Best = highest
	}
	return sum, true
}

// byRound returns one figure of one server, by round. CPU per operation is 0
// where there was no operation: such a round has no figure.
func (c *Comparison) byRound(label string, column Column) map[int]float64 {
	values := make(map[int]float64)
	for _, r := range c.Results {
		if r.Label != label || (column.Job != "" && r.Job != column.Job) {
			continue
		}
		if m, ok := r.Metric(column.Metric); ok && (m.Value > 0 || !column.Ratio) {
			values[r.Round] = m.Value
		}
	}
	return values
}

// median of a list that is not empty.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// distribution merges a latency of all rounds; nil if there is none.
func (c *Comparison) distribution(label, name string) *hdrhistogram.Histogram {
	var sum *hdrhistogram.Histogram
	for _, r := range c.Results {
		if l, ok := r.Latencies[name]; ok && r.Label == label {
			switch h := decode(l); {
			case h == nil:
			case sum == nil:
				sum = h
			default:
				sum.Merge(h)
			}
		}
	}
	return sum
}

// decode reads a distribution; nil if it is damaged.
func decode(l bench.Latency) *hdrhistogram.Histogram {
	h, err := hdrhistogram.Decode([]byte(l.HDR))
	if err != nil || h.TotalCount() == 0 {
		return nil
	}
	return h
}

// all returns every result, those of runs included.
func (c *Comparison) all() []*bench.Result {
	all := slices.Clone(c.Results)
	for _, run := range c.Runs {
		all = append(all, run.Result)
	}
	return all
}

// peer reports whether label names a program of others.
func (c *Comparison) peer(label string) bool {
	named := func(s Server) bool { return s.Peer && s.Label == label }
	return slices.ContainsFunc(c.Servers, named) ||
		slices.ContainsFunc(c.Sections, func(s Section) bool { return slices.ContainsFunc(s.Servers, named) })
}

// Held reports whether every server was measured and everything of ours that
// was verified was right.
func (c *Comparison) Held() bool { return len(c.Faults()) == 0 }

// Faults returns what was wrong, each once.
func (c *Comparison) Faults() []string {
	faults := slices.Concat(c.Failures, c.said(false))
	slices.Sort(faults)
	return slices.Compact(faults)
}

// Findings returns what programs of others did wrong, each once.
func (c *Comparison) Findings() []string { return c.said(true) }

func (c *Comparison) said(byPeers bool) []string {
	var list []string
	for _, r := range c.all() {
		if c.peer(r.Label) != byPeers {
			continue
		}
		for _, f := range r.Faults {
			list = append(list, fmt.Sprintf("%s, %s: %s", r.Label, r.Scenario, f))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Warnings returns what makes figures doubtful: the worst warning of each kind,
// and how many there were.
func (c *Comparison) Warnings() []string {
	var all []string
	for _, r := range c.all() {
		all = append(all, r.Warnings...)
	}
	return worstOfEach(all)
}

// worstOfEach returns the worst warning of each kind, and how many there were.
// Two of a kind differ in the step at their beginning, and in their numbers.
func worstOfEach(warnings []string) []string {
	byKind := make(map[string][]string)
	for _, w := range warnings {
		kind := w
		if _, rest, ok := strings.Cut(w, ": "); ok {
			kind = rest
		}
		kind = number.ReplaceAllString(kind, "#")
		byKind[kind] = append(byKind[kind], w)
	}
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		list := byKind[kind]
		worst := slices.MaxFunc(list, func(a, b string) int { return cmp.Compare(firstNumber(a), firstNumber(b)) })
		if len(list) > 1 {
			worst += fmt.Sprintf(" (the worst of %d)", len(list))
		}
		lines = append(lines, worst)
	}
	return lines
}

// number is a quantity: two warnings of one kind differ in theirs.
var number = regexp.MustCompile(`[0-9][0-9.]*(ms|µs|s| %)?`)

func firstNumber(warning string) float64 {
	text := number.FindString(warning)
	if d, err := time.ParseDuration(text); err == nil {
		return d.Seconds()
	}
	v, _ := strconv.ParseFloat(strings.TrimSuffix(text, " %"), 64) // 0 if there is none
	return v
}

// Write writes the comparison as indented JSON.
func (c *Comparison) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(c)
}

// Read reads what Write wrote, and the older files of scripts/c10k.sh and
// scripts/c100k.sh. It refuses other schemas.
func Read(rd io.Reader) (*Comparison, error) {
	c := &Comparison{}
	if err := json.NewDecoder(rd).Decode(c); err != nil {
		return nil, fmt.Errorf("read comparison: %w", err)
	}
	if c.Schema != bench.SchemaVersion {
		return nil, fmt.Errorf("comparison has schema %d, want %d", c.Schema, bench.SchemaVersion)
	}
	if len(c.Servers) == 0 && len(c.Runs) == 0 {
		return nil, fmt.Errorf("comparison has neither servers nor runs")
	}
	if len(c.Servers) > 0 && len(c.Columns) == 0 { // a file of before 2026-12
		c.Columns = Budgets
	}
	if c.Name == "" {
		c.Name = "c10k"
	}
	return c, nil
}
