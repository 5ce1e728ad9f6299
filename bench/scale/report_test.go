package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roostws/roost/bench"
)

func testReport(held bool) *report {
	steps := []bench.Step{
		{Connections: 1000, UserBytes: 50, SlabBytes: 9000, Published: 2, Expected: 2000, Delivered: 2000, OpenCPU: 30, DeliveryCPU: 9, ServerSeconds: 10},
		{Connections: 250_000, UserBytes: 48, UserBytesAfter: 51, SlabBytes: 9100, TCPBytes: 2, Published: 2, Expected: 500_000, Delivered: 499_999, OpenCPU: 31, ServerSeconds: 20},
	}
	return &report{
		Schema: bench.SchemaVersion, Name: "c100k", Command: "scripts/c100k.sh",
		Runs: []run{{Emulated: true, Result: &bench.Result{Schema: bench.SchemaVersion, Held: held, Steps: steps}, Cycles: parseTrace(trace)}},
	}
}

func TestPageSaysWhatIsTrue(t *testing.T) {
	page := string(testReport(true).markdown("base"))
	for _, want := range []string{
		"# 250,000 WebSocket connections in one process",
		"Held: one server process had 250,000 connections open at once, for 51.0 B of its own memory and 9,102 B of the kernel's",
		"499,999 of 500,000 deliveries to all of them (broadcasts: 2)",
		"counts and bytes are true, times are not",
		"(base.svg)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if page := string(testReport(false).markdown("base")); !strings.Contains(page, "**Not held**: one server") {
		t.Errorf("the page of a run that did not hold:\n%s", page)
	}
}

func TestSaveAndRead(t *testing.T) {
	dir := t.TempDir()
	r := testReport(false)
	r.Environment.Host = "here"
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*-c100k-here.*"))
	if err != nil || len(found) != 3 {
		t.Fatalf("saved %v, %v, want a page, a plot and a report", found, err)
	}
	var again report
	if err := again.read(strings.TrimSuffix(found[0], filepath.Ext(found[0])) + ".json"); err != nil {
		t.Fatal(err)
	}
	if got, want := string(again.markdown("x")), string(r.markdown("x")); got != want {
		t.Errorf("a saved report gives another page:\n%s\nwant\n%s", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again.read(filepath.Join(dir, "other.json")) == nil {
		t.Error("a file that is no report was read as one")
	}
}
