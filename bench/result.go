package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// SchemaVersion is that of Result's JSON form. It changes when a reader of
// older results would be misled.
const SchemaVersion = 1

// A Result is what one scenario found out about one server.
type Result struct {
	Schema   int    `json:"schema"`
	Scenario string `json:"scenario"`
	// Round is that of a comparison, from 1; 0 outside of one.
	Round int `json:"round,omitempty"`
	// Job is what the server did in a comparison, echo or relay; empty where that
	// does not matter.
	Job     string    `json:"job,omitempty"`
	Label   string    `json:"label"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	// Held is set if everything that was verified was right.
	Held bool `json:"held"`
	// Faults say what was not, Warnings what makes a figure doubtful, Notes
	// what a reader should know.
	Faults   []string `json:"faults,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Notes    []string `json:"notes,omitempty"`

	Connections  int      `json:"connections"`
	PayloadBytes int      `json:"payload_bytes"`
	Generators   int      `json:"generators"`
	Metrics      []Metric `json:"metrics"`
	// Steps are those of the scenario grow.
	Steps []Step `json:"steps,omitempty"`
	// Latencies are distributions by name.
	Latencies map[string]Latency `json:"latencies,omitempty"`
	// Environment is left out where a Comparison holds the result.
	Environment Environment `json:"environment,omitzero"`
}

// A Metric is one figure.
type Metric struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Unit is B, us, ms, s, 1/s, %, x for a ratio, or empty for a count.
	Unit string `json:"unit,omitempty"`
	// Text says what it is, for the table.
	Text string `json:"text"`
}

// Metric finds a figure by name.
func (r *Result) Metric(name string) (Metric, bool) {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

func (r *Result) add(name string, value float64, unit, text string) {
	r.Metrics = append(r.Metrics, Metric{name, value, unit, text})
}

func (r *Result) addLatency(name, text string, h *histogram) {
	if h.h.TotalCount() == 0 {
		return
	}
	if r.Latencies == nil {
		r.Latencies = make(map[string]Latency)
	}
	l := h.latency()
	l.Text = text
	r.Latencies[name] = l
}

func (r *Result) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

func (r *Result) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Write writes the result as indented JSON.
func (r *Result) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// ReadResult reads what Write wrote. It refuses other schemas.
func ReadResult(rd io.Reader) (*Result, error) {
	r := &Result{}
	if err := json.NewDecoder(rd).Decode(r); err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	if r.Schema != SchemaVersion {
		return nil, fmt.Errorf("result has schema %d, want %d", r.Schema, SchemaVersion)
	}
	return r, nil
}
