package main

import (
	"slices"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func TestBenchCommandLine(t *testing.T) {
	t.Parallel()
	var cli struct {
		Bench BenchCmd `cmd:""`
	}
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	line := []string{"bench", "slow", "ws://127.0.0.1:1/?u={{.N}}", "--pid", "12,13", "-n", "500", "--header", "A: b, c",
		"--subscribe", `{"hello":1,"b":2}`, "--subscribe", `{"join":"c{{.N}}"}`, "--period", "3s", "--rate", "7.5", "--stalled-percent", "10",
		"--insecure", "--ca-file", "ca.pem", "--compression", "--publish-url", "http://127.0.0.1:2/publish", "--json", "out.json"}
	ctx, err := parser.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	if got := ctx.Command(); got != "bench slow <url>" {
		t.Errorf("command = %q", got)
	}
	slow := cli.Bench.Slow
	c := slow.Scenario
	if c.URL != line[2] || !slices.Equal(c.PIDs, []int{12, 13}) || c.Connections != 500 ||
		!slices.Equal(c.Headers, []string{"A: b, c"}) || !slices.Equal(c.Subscribe, []string{`{"hello":1,"b":2}`, `{"join":"c{{.N}}"}`}) ||
		c.Period != 3*time.Second || c.Rate != 7.5 || c.StalledPercent != 10 ||
		c.PublishURL != "http://127.0.0.1:2/publish" || slow.JSON != "out.json" ||
		!c.Insecure || c.CAFile != "ca.pem" || !c.Compression {
		t.Errorf("parsed %+v", c)
	}
	for _, scenario := range []string{"idle", "echo", "broadcast", "storm", "mixed", "slow", "hostile", "grow", "transports"} {
		if _, err := parser.Parse([]string{"bench", scenario, "ws://x/"}); err != nil {
			t.Errorf("bench %s: %v", scenario, err)
		}
	}
}
