package web

import "encoding/json"

// A Figure is a number that people watch, made from the server's metrics. The
// dashboard and roost top show the same ones, from dashboard/figures.json. One of
// Gauge, Rate and Histogram is set.
type Figure struct {
	Name  string `json:"name"` // in snake_case, for programs
	Title string `json:"title"`
	Note  string `json:"note"`
	// Unit is "count", "bytes", "seconds", or "percent" of a number of which 1 is the
	// whole.
	Unit string `json:"unit"`

	Gauge     []string `json:"gauge"`     // the sum of these metrics
	Rate      []string `json:"rate"`      // how fast the sum of these counters grows, a second
	Histogram string   `json:"histogram"` // quantiles of this histogram
	Per       string   `json:"per"`       // the metric that the figure is divided by
}

// Figures returns all figures, in the order in which they are shown.
func Figures() []Figure {
	text, err := files.ReadFile("dashboard/figures.json")
	if err != nil {
		panic("web: " + err.Error())
	}
	var figures []Figure
	if err := json.Unmarshal(text, &figures); err != nil {
		panic("web: dashboard/figures.json: " + err.Error())
	}
	return figures
}
