//go:build linux

package main

import (
	"fmt"
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
		return contender{"roost-" + name, "Roost on its " + name + " engine", ours, func(addr string, m mode) []string {
			return []string{filepath.Join(bin, "roost"), "serve", "--addr", addr, "--" + string(m), "--engine", name, "--log-level", "warn"}
		}}
	}
	other := func(name, about string) contender {
		return contender{name, about, peer, func(addr string, m mode) []string {
			return []string{filepath.Join(bin, "peers", name), "-addr", addr, "-mode", string(m)}
		}}
	}
	return []contender{
		{"limit", "bare epoll in Go, one thread, the minimum of both jobs", yardstick, bare("-loops", "1")},
		{"limit-2", "the same, two threads", limit, bare("-loops", "2")},
		engine("epoll"),
		engine("gnet"),
		engine("easygo"),
		other("gnet-gobwas", "gobwas/ws v1.5.0 on a bare gnet v2.9.8"),
		other("nbio", "lesismal/nbio v1.6.8, non-blocking mode"),
		other("gobwas-easygo", "gobwas/ws v1.5.0 on mailru/easygo's pollers"),
		other("gws", "lxzan/gws v1.8.9"),
		other("gorilla", "gorilla/websocket v1.5.3"),
		other("coder", "coder/websocket v1.8.15"),
		{"node-ws", "npm ws 8.23.0 on Node, one process", peer, func(addr string, m mode) []string {
			return []string{"node", filepath.Join("bench", "peers", "node-ws", "server.js"), "-addr", addr, "-mode", string(m)}
		}},
	}
}

// choose picks the named ones; no names picks all. The yardstick is always there,
// since without it there are no ratios.
func choose(all []contender, names string) ([]contender, error) {
	if names == "" {
		return all, nil
	}
	var known []string
	for _, c := range all {
		known = append(known, c.name)
	}
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("-only: no server %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	var chosen []contender
	for _, c := range all {
		if c.kind == yardstick || slices.Contains(wanted, c.name) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}
