// Package top makes what roost top shows out of a server's metrics.
//
//	metrics.go  reading /metrics; figures and quantiles of what was read
//	loops.go    what each event loop does
//	view.go     what is known of a server at a moment; as a screen, a line, JSON
//	text.go     numbers and columns
//	screen.go   the terminal
package top

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/roostws/roost/web"
)

// Kept is how many looks quantiles go back.
const Kept = 120

// Metrics are what a server's were at one moment. They do not change.
type Metrics struct {
	at       time.Time
	families map[string]*dto.MetricFamily
}

// Parse reads metrics in the text format of Prometheus, as they were at a time.
func Parse(r io.Reader, at time.Time) (*Metrics, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("/metrics: %w", err)
	}
	return &Metrics{at, families}, nil
}

// metric returns the first metric of a name, nil if there is none. Those that are
// asked for have no labels.
func (m *Metrics) metric(name string) *dto.Metric {
	if list := m.families[name].GetMetric(); len(list) > 0 {
		return list[0]
	}
	return nil
}

// sum adds the values of counters and gauges.
func (m *Metrics) sum(names ...string) (sum float64) {
	for _, name := range names {
		metric := m.metric(name)
		sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
	}
	return sum
}

// perLoop returns the metric of each event loop, by the number of the loop.
func (m *Metrics) perLoop(name string) map[int]float64 {
	values := map[int]float64{}
	for _, metric := range m.families[name].GetMetric() {
		for _, pair := range metric.GetLabel() {
			if loop, err := strconv.Atoi(pair.GetValue()); err == nil && pair.GetName() == "loop" {
				values[loop] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return values
}

// label returns a label of roost_build_info.
func (m *Metrics) label(name string) string {
	for _, pair := range m.metric("roost_build_info").GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// started is when the process started, in Unix seconds.
func (m *Metrics) started() float64 { return m.sum("process_start_time_seconds") }

// looks are those of one process, the oldest first.
type looks []*Metrics

// add returns the looks with one more. Another process counts from zero: what was
// seen of the one before is forgotten.
func (l looks) add(next *Metrics) looks {
	if len(l) > 0 && l.last().started() != next.started() {
		l = nil
	}
	if len(l) == Kept {
		l = append(looks(nil), l[1:]...)
	}
	return append(l, next)
}

func (l looks) last() *Metrics { return l[len(l)-1] }

// rate is how fast the sum of counters has grown between the last two looks, a
// second; NaN with one look.
func (l looks) rate(names ...string) float64 {
	if len(l) < 2 {
		return math.NaN()
	}
	before, now := l[len(l)-2], l.last()
	return max(0, now.sum(names...)-before.sum(names...)) / now.at.Sub(before.at).Seconds()
}

// value is a figure of the last look: of a histogram its 99th percentile. It is NaN
// where there is none.
func (l looks) value(f web.Figure) float64 {
	switch {
	case f.Histogram != "":
		return l.quantile(f.Histogram, 0.99)
	case f.Per != "" && l.last().sum(f.Per) == 0:
		return math.NaN()
	case f.Per != "":
		return l.last().sum(f.Gauge...) / l.last().sum(f.Per)
	case len(f.Rate) > 0:
		return l.rate(f.Rate...)
	}
	return l.last().sum(f.Gauge...)
}

// histogram returns what a histogram has counted since the first of the looks, in
// all and up to each bound. With one look that is since the server's start.
func (l looks) histogram(name string) (bounds []float64, counts []uint64, total uint64) {
	before, now := l[0].metric(name).GetHistogram(), l.last().metric(name).GetHistogram()
	if len(l) == 1 {
		before = nil
	}
	for i, bucket := range now.GetBucket() {
		n := bucket.GetCumulativeCount()
		if i < len(before.GetBucket()) {
			n -= before.GetBucket()[i].GetCumulativeCount()
		}
		bounds, counts = append(bounds, bucket.GetUpperBound()), append(counts, n)
	}
	return bounds, counts, now.GetSampleCount() - before.GetSampleCount()
}

// quantile returns the upper end of the bucket that has the quantile q, in seconds:
// infinite if it is in none, and NaN if nothing was counted.
func (l looks) quantile(name string, q float64) float64 {
	bounds, counts, total := l.histogram(name)
	if total == 0 {
		return math.NaN()
	}
	for i, n := range counts {
		if float64(n) >= q*float64(total) {
			return bounds[i]
		}
	}
	return math.Inf(1)
}
