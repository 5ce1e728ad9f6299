package report

import (
	"fmt"
	"slices"

	"github.com/roostws/roost/bench"
)

// transportColumns are the figures of the scenario transports. Ratios are to
// WebSocket.
var transportColumns = []Column{
	{Metric: "server_cpu", Head: "server CPU, % of a core", Text: "server CPU, of one core", Ratio: true, Unit: "%"},
	{Metric: "bytes_down", Head: "B to a client a minute", Text: "bytes to each client a minute", Ratio: true, Unit: "B"},
	{Metric: "bytes_up", Head: "B from it", Text: "bytes from each client a minute", Unit: "B"},
	{Metric: "requests", Head: "requests a minute", Unit: "1/min"},
	{Metric: "update_cpu", Head: "CPU us per update", Unit: "us"},
	{Metric: "delay_p50", Head: "delay p50 ms", Text: "delay of an update, median", Unit: "ms"},
	{Metric: "delay_p99", Head: "p99 ms", Text: "delay of an update, p99", Unit: "ms"},
}

// Transports makes a comparison of the results of bench.RunTransports: a table for
// each number of clients, the largest first. cfg is what they were measured with.
func Transports(results []*bench.Result, cfg bench.TransportsConfig) *Comparison {
	c := &Comparison{
		Schema: bench.SchemaVersion, Name: "transports", Title: "Polling, long-polling, SSE and WebSocket",
		Rounds: 1, Columns: transportColumns, Results: results,
	}
	var counts []int
	for _, r := range results {
		r.Round = 1
		if !slices.Contains(counts, r.Connections) {
			counts = append(counts, r.Connections)
		}
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	for _, n := range counts {
		var servers []Server
		reference := ""
		for _, way := range bench.TransportWays() {
			label := way.LabelOf(n)
			if slices.ContainsFunc(results, func(r *bench.Result) bool { return r.Label == label }) {
				servers = append(servers, Server{Label: label})
				if way.Name == "ws" {
					reference = label
				}
			}
		}
		for i := range servers {
			servers[i].Reference = reference
		}
		if c.Servers == nil {
			c.Servers, c.Connections = servers, n
			continue
		}
		c.Sections = append(c.Sections, Section{Title: count(n) + " clients", Servers: servers, Columns: transportColumns})
	}
	if len(results) > 0 {
		r := results[0]
		c.Started, c.Environment = r.Started, r.Environment
		c.Text = fmt.Sprintf("%s clients of one channel, and messages of %d B for all of them, %g a second. Bytes are the payload of TCP in both directions: heads of requests and responses, events and frames, without the headers of TCP and IP. The clients send no header that they need not; a browser's request has some 500 B more. Ratios are to WebSocket.",
			count(c.Connections), r.PayloadBytes, rateOf(cfg))
	}
	for _, r := range results {
		r.Environment = bench.Environment{} // the comparison has it
	}
	return c
}

func rateOf(cfg bench.TransportsConfig) float64 {
	if cfg.Rate > 0 {
		return cfg.Rate
	}
	return 0.5
}
