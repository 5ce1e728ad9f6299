package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// A Comparison sets servers side by side: several rounds of the same scenarios
// on one machine, medians, and ratios to a reference that ran in the same
// rounds.
type Comparison struct {
	Schema      int       `json:"schema"`
	Title       string    `json:"title"`
	Started     time.Time `json:"started"`
	Command     string    `json:"command"`
	Connections int       `json:"connections"`
	Rounds      int       `json:"rounds"`
	Found       []string  `json:"found"` // what the machine allows, in sentences
	Servers     []Server  `json:"servers"`
	// Sections are further tables.
	Sections    []Section   `json:"sections,omitempty"`
	Environment Environment `json:"environment"`
	// Results are all single results, raw.
	Results []*Result `json:"results"`
	// Failures are servers or scenarios that gave no result.
	Failures []string `json:"failures,omitempty"`
}

// A Server is one column of a comparison.
type Server struct {
	Label string `json:"label"`
	// Reference is the label of the server that its ratios refer to.
	Reference string `json:"reference"`
	// Budget tells that the budgets are meant for it.
	Budget bool `json:"budget"`
}

// A Summary is what all rounds say about one figure of one server.
type Summary struct {
	Median, Min, Max float64
	// Ratio is the median of the rounds' ratios, server to reference; 0 where
	// there is none. Noise comes in waves that are longer than a server's turn,
	// so neighbours are compared, not medians. Difference is the same of
	// differences.
	Ratio, Difference float64
	Rounds            int
}

// Summary answers false where there is no such figure.
func (c *Comparison) Summary(s Server, metric string) (Summary, bool) {
	var values, ratios, differences []float64
	reference := c.byRound(s.Reference, metric)
	for round, v := range c.byRound(s.Label, metric) {
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
	if len(ratios) > 0 {
		sum.Ratio, sum.Difference = median(ratios), median(differences)
	}
	return sum, true
}

// byRound is one figure of one server, round by round.
func (c *Comparison) byRound(label, metric string) map[int]float64 {
	values := make(map[int]float64)
	for _, r := range c.Results {
		if r.Label != label {
			continue
		}
		if m, ok := r.Metric(metric); ok {
			values[r.Round] = m.Value
		}
	}
	return values
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	} else {
		return v[n/2]
	}
}

// latency merges a distribution of all rounds.
func (c *Comparison) latency(label, name string) *histogram {
	sum := newHistogram()
	for _, r := range c.Results {
		if l, ok := r.Latencies[name]; ok && r.Label == label {
			if h, err := histogramOf(l); err == nil {
				sum.merge(h)
			}
		}
	}
	return sum
}

// Held tells that every server was measured and everything that was verified
// was right.
func (c *Comparison) Held() bool { return len(c.Faults()) == 0 }

// Faults lists what was wrong, each once.
func (c *Comparison) Faults() []string {
	faults := slices.Clone(c.Failures)
	for _, r := range c.Results {
		for _, f := range r.Faults {
			faults = append(faults, fmt.Sprintf("%s, %s: %s", r.Label, r.Scenario, f))
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

// Warnings lists what makes figures doubtful: of each kind the worst, and how
// often it was said.
func (c *Comparison) Warnings() []string {
	byKind := make(map[string][]string)
	for _, r := range c.Results {
		for _, w := range r.Warnings {
			byKind[warningKind(w)] = append(byKind[warningKind(w)], w)
		}
	}
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		said := byKind[kind]
		worst := slices.MaxFunc(said, func(a, b string) int { return cmp.Compare(warningSize(a), warningSize(b)) })
		if len(said) > 1 {
			worst += fmt.Sprintf(" (the worst of %d)", len(said))
		}
		lines = append(lines, worst)
	}
	return lines
}

// Write writes the comparison as indented JSON.
func (c *Comparison) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(c)
}

// ReadComparison reads what Write wrote. It refuses other schemas.
func ReadComparison(rd io.Reader) (*Comparison, error) {
	c := &Comparison{}
	if err := json.NewDecoder(rd).Decode(c); err != nil {
		return nil, fmt.Errorf("read comparison: %w", err)
	}
	if c.Schema != SchemaVersion {
		return nil, fmt.Errorf("comparison has schema %d, want %d", c.Schema, SchemaVersion)
	}
	return c, nil
}
