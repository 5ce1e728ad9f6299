// Package metrics serves a server's counters and durations to Prometheus. It is
// opt-in: a program that does not import it links no Prometheus library.
//
// The names follow Prometheus' conventions: the prefix "roost_", "_total" for what
// only grows, and units at the end. A scrape reads what the loops have published and
// costs the same whatever the number of connections. That is why process_open_fds,
// which means to list them all, is left out: roost_engine_conns is nearly the same.
package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/counters"
)

// A Source has something to show. *server.Server is one. Its methods may be called
// from any goroutine.
type Source interface {
	// Stats returns the counters: the same ones each time.
	Stats() server.Stats
	// Distributions returns the durations: the same ones each time.
	Distributions() []server.Distribution
	// Loops returns the counters of each event loop.
	Loops() []server.Stats
}

// New returns a handler that serves the metrics of source, of the process and of
// Go's runtime, in the format that the request asks for. labels describe the
// program in roost_build_info: "version" and "engine", for instance. Any goroutine
// may use the handler.
func New(source Source, labels map[string]string) http.Handler {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "roost_build_info", Help: "Always 1; the labels say what is running.", ConstLabels: labels,
	})
	info.Set(1)
	registry.MustRegister(info, collector{source}, process{}, collectors.NewGoCollector())
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// nameOf returns the name under which Prometheus sees a counter.
func nameOf(info counters.Info) string {
	name := info.Name
	// The unit comes last: bytes_received is received_bytes.
	if before, after, found := strings.Cut(name, "bytes_"); found {
		name = before + after + "_bytes"
	}
	if info.Kind == counters.Total {
		name += "_total"
	}
	return "roost_" + name
}

func kindOf(info counters.Info) prometheus.ValueType {
	if info.Kind == counters.Total {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// perLoop are the counters that each loop shows by itself, too: they tell whether one has
// more to do than the others.
var perLoop = []string{"connections", "subscriptions", "messages_received", "delivered", "inbox_entries"}

// collector reads the source at each scrape.
type collector struct{ source Source }

// Describe is part of prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, to) }

// Collect is part of prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	for _, stat := range c.source.Stats() {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(nameOf(stat.Info), help(stat.Help), nil, nil), kindOf(stat.Info), float64(stat.Value))
	}
	for i, stats := range c.source.Loops() {
		for _, stat := range stats {
			if !slices.Contains(perLoop, stat.Name) {
				continue
			}
			name := "roost_loop_" + strings.TrimPrefix(nameOf(stat.Info), "roost_")
			to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help(stat.Help+", of one loop"), []string{"loop"}, nil),
				kindOf(stat.Info), float64(stat.Value), strconv.Itoa(i))
		}
	}
	for _, d := range c.source.Distributions() {
		buckets, upTo := make(map[float64]uint64, len(d.Bounds)), uint64(0)
		for i, bound := range d.Bounds {
			upTo += d.Counts[i]
			buckets[bound] = upTo
		}
		to <- prometheus.MustNewConstHistogram(prometheus.NewDesc("roost_"+d.Name, help(d.Help), nil, nil), d.Count, d.Sum, buckets)
	}
}

// help makes a sentence of a noun phrase.
func help(phrase string) string { return strings.ToUpper(phrase[:1]) + phrase[1:] + "." }
