package bench

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A server that stops for 100 ms delays everything that was due meanwhile. A
// generator that waits for each answer before it sends the next message sees
// one slow message in a thousand; the timetable sees ten percent of them.
func TestLatencyCountsFromWhenDue(t *testing.T) {
	const interval, stall = int64(time.Millisecond), int64(100 * time.Millisecond)
	fromSending, fromDue := newHistogram(), newHistogram()
	free := int64(0) // when the one-at-a-time generator can send again
	for k := range int64(1000) {
		due := k * interval
		sent := max(due, free)
		answered := sent + interval/10
		if k == 500 {
			answered += stall
		}
		free = answered
		fromSending.record(answered - sent)
		fromDue.record(answered - due)
	}
	if p99 := fromSending.latency().P99Ns; p99 > 2*interval {
		t.Errorf("p99 from sending = %d ns: the example shows no omission", p99)
	}
	if l := fromDue.latency(); l.P99Ns < stall/2 || l.MaxNs < stall {
		t.Errorf("p99 from due = %d ns, max %d, want the stall of %d to show", l.P99Ns, l.MaxNs, stall)
	}
}

func TestHistogramPrecisionAndMerge(t *testing.T) {
	a, b := newHistogram(), newHistogram()
	for n := range int64(1000) {
		a.record((n + 1) * 10_000)
		b.record((n + 1001) * 10_000)
	}
	b.record(math.MaxInt64) // beyond the range: counted at its end
	text, err := b.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	again := &histogram{}
	if err := again.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	a.merge(again)
	l := a.latency()
	if l.Count != 2001 {
		t.Errorf("%d samples, want 2001", l.Count)
	}
	for name, c := range map[string][2]int64{"p50": {l.P50Ns, 10_000_000}, "p90": {l.P90Ns, 18_010_000}, "max": {l.MaxNs, histogramHighest}} {
		if off := math.Abs(float64(c[0]-c[1])) / float64(c[1]); off > 0.002 {
			t.Errorf("%s = %d, want %d within 0.2 %%", name, c[0], c[1])
		}
	}
}

func exampleResult(label string, scale float64) *Result {
	r := &Result{
		Schema: SchemaVersion, Scenario: "echo", Label: label, Started: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Seconds: 3.5, Held: true, Connections: 2000, PayloadBytes: 128, Generators: 1,
		Warnings:    []string{"at a rate: other programs used 12 % of the machine: times and latencies are theirs, too"},
		Environment: Environment{Host: "h", Kernel: "6.1", CPUs: 2, Limits: map[string]string{"fs.nr_open": "1048576"}},
	}
	r.add("user_bytes_per_conn", 100*scale, "B", "user-space memory per connection")
	r.add("echo_cpu", 6.4*scale, "us", "server CPU per message, saturated")
	r.add("delivery_rate", 1234567*scale, "1/s", "deliveries a second")
	h := newHistogram()
	for n := range int64(100) {
		h.record(int64(float64(n+1) * 1e5 * scale))
	}
	r.addLatency("echo", "round trip at a rate", h)
	return r
}

func TestResultJSON(t *testing.T) {
	want := exampleResult("x", 1)
	var b bytes.Buffer
	if err := want.Write(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := ReadResult(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, want %+v", got, want)
	}
	for _, key := range []string{`"schema": 1`, `"held": true`, `"p99_ns"`, `"hdr": "HIST`, `"kernel": "6.1"`} {
		if !strings.Contains(text, key) {
			t.Errorf("JSON has no %s:\n%s", key, text)
		}
	}
	if _, err := ReadResult(strings.NewReader(`{"schema": 99}`)); err == nil {
		t.Error("schema 99 was read")
	}
}
