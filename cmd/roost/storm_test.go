package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/cmd/roost/internal/storm"
)

// A rehearsal goes through both ways and reports them: with shaping every client is told
// its moment, and none is lost. What depends on how fast a machine is, is not held here.
func TestStormRehearsal(t *testing.T) {
	t.Parallel()
	r, err := storm.Run(t.Context(), storm.Config{
		Connections: 200, Talkers: 2, Calm: 200 * time.Millisecond, Over: time.Second,
		Command: []string{os.Args[0]}, Env: []string{asRoost + "=1"}, Serve: []string{"--loops", "1"}, Progress: io.Discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"shaped_storm_refused_twice": 0, "shaped_drain_untold": 0, "unshaped_drain_untold": 0, "unshaped_storm_waiting": 0,
	} {
		if m, ok := r.Metric(name); !ok || m.Value != want {
			t.Errorf("%s = %+v, want %v", name, m, want)
		}
	}
	if m, ok := r.Metric("shaped_drain_seconds"); !ok || m.Value < 0.5 {
		t.Errorf("shaped_drain_seconds = %+v, want most of the second over which they were closed", m)
	}
	for _, name := range []string{"shaped_echo_calm", "shaped_echo_storm", "shaped_return", "shaped_drain", "unshaped_return", "unshaped_drain"} {
		if r.Latencies[name].Count == 0 {
			t.Errorf("there is no distribution %s", name)
		}
	}
	dir := t.TempDir()
	out := benchOutput{JSON: dir + "/r.json", Plot: dir + "/r.svg"}
	var table bytes.Buffer
	if err := out.report(&table, r); err != nil && err != errNotHeld {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "shaped: storm, until the last is back") {
		t.Errorf("the table is\n%s", table.String())
	}
	var read bench.Result
	if content := must(os.ReadFile(out.JSON)); json.Unmarshal(content, &read) != nil || len(read.Metrics) != len(r.Metrics) {
		t.Errorf("the JSON is %.200s", content)
	}
	if plot := must(os.ReadFile(out.Plot)); !bytes.HasPrefix(plot, []byte("<svg")) && !bytes.HasPrefix(plot, []byte("<?xml")) {
		t.Errorf("the plot is %.100s", plot)
	}
}

// What a rehearsal can't be made with is refused before anything begins.
func TestStormFlags(t *testing.T) {
	for _, args := range [][]string{{"--connections", "0"}, {"--talkers", "0"}, {"--calm", "0s"}, {"--over=-1s"}, {"--plot", "x.png"}, {"--connections", "100000000"}} {
		if code, out, errs := roost("", append([]string{"storm"}, args...)...); code != exitUsage {
			t.Errorf("roost storm %q: exit code %d, %q %q", args, code, out, errs)
		}
	}
}
