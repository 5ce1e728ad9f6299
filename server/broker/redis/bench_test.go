//go:build realclients

package redis

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/redistest"
	"github.com/roostws/roost/server/broker"
)

// nobody is a node that is told nothing.
type nobody struct{ broker.Inbound }

func (nobody) Interrupted(func(string) bool, error) {}

// BenchmarkPublish measures publications to 100 channels with history, 100 bytes each, and
// in the same run the same script by redis-benchmark: with 50 connections one command at a
// time, and with pipelines of 100. The quotient is what the broker reaches of the latter.
func BenchmarkPublish(b *testing.B) {
	s := redistest.Start(b)
	node, err := New(Options{URL: s.URL()})
	if err != nil {
		b.Fatal(err)
	}
	if err := node.Start(nobody{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = node.Close() })
	var l *life
	for deadline := time.Now().Add(20 * time.Second); l == nil; time.Sleep(time.Millisecond) {
		node.mu.Lock()
		l = node.sequencers[0].life
		node.mu.Unlock()
		if time.Now().After(deadline) {
			b.Fatal("it does not connect")
		}
	}
	publications := func(n int) {
		results := make(chan error, 10_000)
		due := 0
		for i := range n {
			if due == cap(results) {
				<-results
				due--
			}
			due++
			node.Publish(&broker.Publication{
				Message: broker.Message{Channel: "h:" + strconv.Itoa(i%100), Type: 1, Payload: make([]byte, 100)}, Keep: broker.Keep{Messages: 100, Age: time.Hour},
			}, func(_ broker.Placed, err error) { results <- err })
		}
		for range due {
			if err := <-results; err != nil {
				b.Fatal(err)
			}
		}
	}
	tool := func(options ...string) (perSecond float64) {
		args := append(options, "-h", "127.0.0.1", "-p", strings.TrimPrefix(s.Addr(), "127.0.0.1:"), "-n", "100000", "-q",
			"evalsha", l.scripts.publish, "3", "roost:m:b", "roost:s:b", "roost:fence",
			"100", "3600000", "604800000", newID(), "roost:c:b", strings.Repeat("x", 112), "1", "0", "PUBLISH")
		out, err := exec.Command("redis-benchmark", args...).CombinedOutput()
		all := regexp.MustCompile(`([0-9.]+) requests per second`).FindAllSubmatch(out, -1)
		if err != nil || len(all) == 0 {
			b.Fatalf("redis-benchmark: %v: %s", err, out)
		}
		perSecond, _ = strconv.ParseFloat(string(all[len(all)-1][1]), 64)
		return perSecond
	}
	publications(20_000)
	for b.Loop() {
		alone, pipelines := tool("-c", "50"), tool("-c", "50", "-P", "100")
		began := time.Now()
		publications(100_000)
		own := 100_000 / time.Since(began).Seconds()
		b.ReportMetric(own, "publications/s")
		b.ReportMetric(alone, "benchmark/s")
		b.ReportMetric(pipelines, "pipelined/s")
		b.ReportMetric(own/alone, "of-benchmark")
		b.ReportMetric(own/pipelines, "of-pipelined")
	}
}
