//go:build linux

package main

import (
	"context"
	"net"
	"path/filepath"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

// With -socketio, Roost is measured beside Socket.IO itself on Node, with clients that speak
// its protocol over WebSockets and are all in one room.

// socketIOYardstick is the label of the original.
const socketIOYardstick = "socket.io"

// What Roost has to reach there, of what the original takes (docs/socketio.md).
const socketIOText = "Clients of Socket.IO over WebSockets, all in one room; messages of 128 B, which a back end posts to each server over HTTP; medians of the rounds: %d. Ratios are to Socket.IO itself on Node, and were taken within each round. The aim: memory of an idle connection at most 0.05x, CPU per delivery at most 0.33x."

var socketIOColumns = []report.Column{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user memory per idle connection", Ratio: true, Unit: "B"},
	{Metric: "open_cpu", Head: "us/open", Text: "CPU per open", Ratio: true, Unit: "us"},
	{Metric: "single_cpu", Head: "us/delivery", Text: "CPU per delivery to a room", Ratio: true, Unit: "us"},
	{Metric: "saturated_cpu", Head: "without pause", Text: "the same, without pause", Ratio: true, Unit: "us"},
	{Metric: "delivery_rate", Head: "deliveries/s", Text: "deliveries a second, without pause", Ratio: true, More: true, Unit: "1/s"},
}

// socketIO returns both servers.
func (o options) socketIO(bin string) []contender {
	// jobs: subscribe is what a client sends to be in the room; publish names the server's
	// address for back ends and the body of a post, behind what Args has been called with.
	jobs := func(subscribe []string, publish func(clients string) (url, body string)) []rounds.Job {
		clients := func(b *bench.Options) {
			b.URL += "socket.io/?EIO=4&transport=websocket"
			b.Subscribe = subscribe
		}
		return []rounds.Job{{Name: rounds.Relay, Scenarios: []rounds.Scenario{
			func(ctx context.Context, b bench.Options) (*bench.Result, error) {
				clients(&b)
				return bench.RunIdle(ctx, bench.IdleConfig{Options: b, Period: o.period / 2})
			},
			func(ctx context.Context, b bench.Options) (*bench.Result, error) {
				url, body := publish(b.URL)
				clients(&b)
				return bench.RunBroadcast(ctx, bench.BroadcastConfig{Options: b, Period: o.period, PublishURL: url, PublishBody: body,
					PublishHeaders: []string{"Content-Type: application/json"}})
			},
		}}}
	}
	var admin string
	roost := contender{Target: rounds.Target{
		Server: report.Server{Label: "roost", About: "roost serve --socketio", Reference: socketIOYardstick},
		Args: func(_, addr string, _ bool) []string {
			admin = freePort()
			return []string{filepath.Join(bin, "roost"), "serve", "--addr", addr, "--admin-addr", admin, "--socketio", "--anonymous",
				"--namespaces", `[{name: io, subscribe: anyone}]`, "--ping-interval", "10m", "--log-level", "warn"}
		},
		Jobs: jobs([]string{`40`, `42["join","room"]`}, func(string) (url, body string) {
			return "http://" + admin + "/v1/publish", `{"channel":"io:/#room","data":["m","{{.Payload}}"],"wait":"0s"}`
		}),
	}}
	node := contender{Target: rounds.Target{
		Server: report.Server{Label: socketIOYardstick, About: "npm socket.io 4.8.1 with ws on Node, one process", Reference: socketIOYardstick, Peer: true},
		Args: func(_, addr string, _ bool) []string {
			return []string{"node", filepath.Join(socketIOPeer, "server.js"), "-addr", addr}
		},
		Jobs: jobs([]string{`40`}, func(clients string) (url, body string) { return "http" + clients[len("ws"):] + "publish", "" }),
	}}
	node.missing = func() string { return missingNode(socketIOPeer, "socket.io") }
	return []contender{node, roost}
}

const socketIOPeer = "bench/peers/node-socketio"

// freePort returns an address that nobody listened on a moment ago.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0" // and the server says what is wrong
	}
	defer l.Close()
	return l.Addr().String()
}
