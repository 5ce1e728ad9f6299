//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kind is what a server is to the comparison.
type kind string

const (
	yardstick kind = "limit" // what ratios are against
	limit     kind = "limit, other forms"
	ours      kind = "ours"
	peer      kind = "peer"
)

// mode is the job of a server.
type mode string

const (
	echo  mode = "echo"  // each message goes back to its sender
	relay mode = "relay" // each message goes to everyone
)

// A contender is a server to measure.
type contender struct {
	name, about string
	kind        kind
	// command is the program and its arguments to listen on addr.
	command func(addr string, m mode) []string
	// missing says what the server needs and this machine lacks; nil if it never does.
	missing func() string
}

// contenders are all servers, those in bin as scripts/compare.sh builds them.
func contenders(bin string) []contender {
	bare := func(args ...string) func(string, mode) []string {
		return func(addr string, m mode) []string {
			job := map[mode]string{echo: "echo", relay: "broadcast"}[m]
			return append([]string{filepath.Join(bin, "limit"), "-addr", addr, "-mode", job}, args...)
		}
	}
	engine := func(name string) contender {
		return contender{name: "roost-" + name, about: "Roost on its " + name + " engine", kind: ours, command: func(addr string, m mode) []string {
			return []string{filepath.Join(bin, "roost"), "serve", "--addr", addr, "--" + string(m), "--engine", name, "--log-level", "warn"}
		}}
	}
	other := func(name, about string) contender {
		return contender{name: name, about: about, kind: peer, command: func(addr string, m mode) []string {
			return []string{filepath.Join(bin, "peers", name), "-addr", addr, "-mode", string(m)}
		}}
	}
	return []contender{
		{name: "limit", about: "bare epoll in Go, one thread, the minimum of both jobs", kind: yardstick, command: bare("-loops", "1")},
		{name: "limit-2", about: "the same, two threads", kind: limit, command: bare("-loops", "2")},
		engine("epoll"),
		engine("gnet"),
		engine("easygo"),
		other("gnet-gobwas", "gobwas/ws v1.5.0 on a bare gnet v2.9.8"),
		other("nbio", "lesismal/nbio v1.6.8, non-blocking mode"),
		other("gobwas-easygo", "gobwas/ws v1.5.0 on mailru/easygo's pollers"),
		other("gws", "lxzan/gws v1.8.9"),
		other("gorilla", "gorilla/websocket v1.5.3"),
		other("coder", "coder/websocket v1.8.15"),
		{name: "node-ws", about: "npm ws 8.23.0 on Node, one process", kind: peer, command: func(addr string, m mode) []string {
			return []string{"node", filepath.Join(nodePeer, "server.js"), "-addr", addr, "-mode", string(m)}
		}, missing: missingNode},
	}
}

const nodePeer = "bench/peers/node-ws"

func missingNode() string {
	if _, err := exec.LookPath("node"); err != nil {
		return "node is not installed"
	}
	if _, err := os.Stat(filepath.Join(nodePeer, "node_modules", "ws", "package.json")); err != nil {
		return "ws is not installed: run npm ci in " + nodePeer
	}
	return ""
}

// choose picks the named ones, or all that this machine can run, and says why it left
// out others. The yardstick is always there, since without it there are no ratios.
func choose(all []contender, names string) (chosen []contender, leftOut []string, err error) {
	var known []string
	for _, c := range all {
		known = append(known, c.name)
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
		if c.kind != yardstick && !slices.Contains(wanted, c.name) {
			continue
		}
		if c.missing != nil {
			if lack := c.missing(); lack != "" {
				leftOut = append(leftOut, c.name+" is left out: "+lack)
				continue
			}
		}
		chosen = append(chosen, c)
	}
	return chosen, leftOut, nil
}
