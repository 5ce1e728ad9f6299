package bench

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A histogram holds durations from a microsecond to two minutes with three
// significant digits. What it is given decides whether coordinated omission
// spoils it: paced scenarios measure from the time at which a message was due,
// not from the time at which the generator got round to sending it.
type histogram struct{ h *hdrhistogram.Histogram }

const (
	histogramLowest  = int64(time.Microsecond)
	histogramHighest = int64(2 * time.Minute)
	histogramDigits  = 3
)

func newHistogram() *histogram {
	return &histogram{hdrhistogram.New(histogramLowest, histogramHighest, histogramDigits)}
}

// record adds a duration; one beyond the range counts as the range's end.
func (h *histogram) record(ns int64) {
	h.h.RecordValue(min(max(ns, 0), histogramHighest))
}

func (h *histogram) reset() { h.h.Reset() }

func (h *histogram) merge(o *histogram) { h.h.Merge(o.h) }

// MarshalText is HdrHistogram's own compressed form, in base64.
func (h *histogram) MarshalText() ([]byte, error) {
	p, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("encode histogram: %w", err)
	}
	return p, nil
}

// UnmarshalText reads what MarshalText wrote.
func (h *histogram) UnmarshalText(p []byte) error {
	d, err := hdrhistogram.Decode(p)
	if err != nil {
		return fmt.Errorf("decode histogram: %w", err)
	}
	h.h = d
	return nil
}

// Latency is a distribution of durations, as results show it.
type Latency struct {
	// Text says of what, for tables.
	Text string `json:"text"`
	// Count is the number of samples.
	Count  int64 `json:"count"`
	MinNs  int64 `json:"min_ns"`
	MeanNs int64 `json:"mean_ns"`
	P50Ns  int64 `json:"p50_ns"`
	P90Ns  int64 `json:"p90_ns"`
	P99Ns  int64 `json:"p99_ns"`
	P999Ns int64 `json:"p999_ns"`
	MaxNs  int64 `json:"max_ns"`
	// HDR is the whole distribution: HdrHistogram V2, compressed, base64.
	HDR string `json:"hdr"`
}

func (h *histogram) latency() Latency {
	l := Latency{
		Count: h.h.TotalCount(),
		MinNs: h.h.Min(), MeanNs: int64(h.h.Mean()), MaxNs: h.h.Max(),
		P50Ns: h.h.ValueAtQuantile(50), P90Ns: h.h.ValueAtQuantile(90),
		P99Ns: h.h.ValueAtQuantile(99), P999Ns: h.h.ValueAtQuantile(99.9),
	}
	if text, err := h.MarshalText(); err == nil {
		l.HDR = string(text)
	}
	return l
}

// NewLatency returns the distribution of durations that were measured elsewhere.
func NewLatency(text string, durations []time.Duration) Latency {
	h := newHistogram()
	for _, d := range durations {
		h.record(int64(d))
	}
	l := h.latency()
	l.Text = text
	return l
}
