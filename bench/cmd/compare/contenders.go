//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

// yardstick is the label of the server that ratios are to.
const yardstick = "limit"

// columns are the figures. Memory is shown as it is: the yardstick's is next to
// nothing.
var columns = []report.Column{
	{Metric: "user_bytes_per_conn", Job: rounds.Echo, Head: "user B/conn", Text: "user memory per idle connection", Unit: "B"},
	{Metric: "user_bytes_per_conn", Job: rounds.Relay, Head: "in a relay's list", Text: "the same, in the list of a relay", Unit: "B"},
	{Metric: "open_cpu", Job: rounds.Echo, Head: "us/open", Text: "CPU per open", Ratio: true, Unit: "us"},
	{Metric: "echo_cpu", Head: "us/echo", Text: "CPU per echo", Ratio: true, Unit: "us"},
	{Metric: "single_cpu", Head: "us/delivery", Text: "CPU per delivery", Ratio: true, Unit: "us"},
	{Metric: "delivery_rate", Head: "deliveries/s", Text: "deliveries a second, without pause", Ratio: true, More: true, Unit: "1/s"},
}

// A contender is a server to measure.
type contender struct {
	rounds.Target
	// missing says what the server needs and this machine lacks; nil if it never
	// lacks anything.
	missing func() string
}

// echoConnections are fewer: CPU per echo depends on how busy the server is, not on
// how many are idle beside it, and each of these has a message on the way at all times.
const echoConnections = 1000

// jobs are the two lives of each server: first as an echo, then as a relay. Both
// begin with idle connections, so that memory is what these connections cost.
func (o options) jobs() []rounds.Job {
	idle := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		return bench.RunIdle(ctx, bench.IdleConfig{Options: b, Period: o.period / 2})
	}
	echo := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		b.Connections = min(b.Connections, echoConnections)
		return bench.RunEcho(ctx, bench.EchoConfig{Options: b, Period: o.period})
	}
	broadcast := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		return bench.RunBroadcast(ctx, bench.BroadcastConfig{Options: b, Period: o.period})
	}
	return []rounds.Job{
		{Name: rounds.Echo, Scenarios: []rounds.Scenario{idle, echo}},
		{Name: rounds.Relay, Scenarios: []rounds.Scenario{idle, broadcast}},
	}
}

// contenders returns all servers, those in bin as scripts/compare.sh builds them.
func (o options) contenders(bin string) []contender {
	make := func(s report.Server, command func(job, addr string) []string) contender {
		s.Reference = yardstick
		return contender{Target: rounds.Target{Server: s, Jobs: o.jobs(), Args: func(job, addr string, _ bool) []string { return command(job, addr) }}}
	}
	bare := func(name, about, loops string) contender {
		return make(report.Server{Label: name, About: about}, func(job, addr string) []string {
			mode := map[string]string{rounds.Echo: "echo", rounds.Relay: "broadcast"}[job]
			return []string{filepath.Join(bin, "limit"), "-addr", addr, "-mode", mode, "-loops", loops}
		})
	}
	engine := func(name string) contender {
		return make(report.Server{Label: "roost-" + name, About: "Roost on its " + name + " engine"}, func(job, addr string) []string {
			return []string{filepath.Join(bin, "roost"), "serve", "--addr", addr, "--" + job, "--engine", name, "--log-level", "warn"}
		})
	}
	peer := func(name, about string) contender {
		return make(report.Server{Label: name, About: about, Peer: true}, func(job, addr string) []string {
			return []string{filepath.Join(bin, "peers", name), "-addr", addr, "-mode", job}
		})
	}
	node := make(report.Server{Label: "node-ws", About: "npm ws 8.23.0 on Node, one process", Peer: true}, func(job, addr string) []string {
		return []string{"node", filepath.Join(nodePeer, "server.js"), "-addr", addr, "-mode", job}
	})
	node.missing = func() string { return missingNode(nodePeer, "ws") }
	return []contender{
		bare(yardstick, "bare epoll in Go, one thread, the minimum of both jobs", "1"),
		bare("limit-2", "the same, two threads", "2"),
		engine("epoll"),
		engine("gnet"),
		engine("easygo"),
		peer("gnet-gobwas", "gobwas/ws v1.5.0 on a bare gnet v2.9.8"),
		peer("nbio", "lesismal/nbio v1.6.8, non-blocking mode"),
		peer("gobwas-easygo", "gobwas/ws v1.5.0 on mailru/easygo's pollers"),
		peer("gws", "lxzan/gws v1.8.9"),
		peer("gorilla", "gorilla/websocket v1.5.3"),
		peer("coder", "coder/websocket v1.8.15"),
		node,
	}
}

const nodePeer = "bench/peers/node-ws"

// missingNode says what a peer on Node lacks, that needs a package.
func missingNode(peer, name string) string {
	if _, err := exec.LookPath("node"); err != nil {
		return "node is not installed"
	}
	if _, err := os.Stat(filepath.Join(peer, "node_modules", name, "package.json")); err != nil {
		return name + " is not installed: run npm ci in " + peer
	}
	return ""
}

// choose returns the named contenders, or all that this machine can run, and says why it left
// out others. The yardstick, the first one, is always there, since without it there are no
// ratios.
func choose(all []contender, names string) (chosen []contender, leftOut []string, err error) {
	var known []string
	for _, c := range all {
		known = append(known, c.Label)
	}
	wanted := known
	if names != "" {
		wanted = strings.Split(names, ",")
	}
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return nil, nil, fmt.Errorf("-only: no server %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	for _, c := range all {
		if c.Label != all[0].Label && !slices.Contains(wanted, c.Label) {
			continue
		}
		if c.missing != nil {
			if lack := c.missing(); lack != "" {
				leftOut = append(leftOut, c.Label+" is left out: "+lack)
				continue
			}
		}
		chosen = append(chosen, c)
	}
	return chosen, leftOut, nil
}
