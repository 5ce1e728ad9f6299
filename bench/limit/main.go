//go:build linux

// Command limit is the yardstick of Roost's figures: the least that a
// WebSocket server on Linux can spend. Raw epoll, raw system calls, no object
// and no pointer per connection, and of RFC 6455 only what a well-behaved
// client notices. It is not a server to use: it has no limits, no deadlines,
// and drops what does not fit into a socket.
//
//	go run ./bench/limit -addr 127.0.0.1:0 -mode echo -loops 1
//
// The first line on standard output is a JSON object with the address and the
// process id; the last, on SIGINT or SIGTERM, holds the counters.
//
// One loop is one thread with its own listener (SO_REUSEPORT where there are
// several) and its own connections. In broadcast mode a message goes to each
// connection of each loop with one send(2) per delivery; a loop hands it to the
// others by copying it into their inboxes.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

type config struct {
	addr      netip.AddrPort
	broadcast bool
	loops     int
	deferSecs int
	reusePort bool
}

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "IPv4 address and port to listen on")
	mode := flag.String("mode", "echo", "echo (each message to its sender) or broadcast (each message to all)")
	loops := flag.Int("loops", 1, "number of event loops")
	deferAccept := flag.Bool("defer", false, "TCP_DEFER_ACCEPT, and a read straight after accept")
	reusePort := flag.Bool("reuse-port", false, "let other processes listen on the same port")
	flag.Parse()

	ap, err := netip.ParseAddrPort(*addr)
	if err != nil || !ap.Addr().Is4() || (*mode != "echo" && *mode != "broadcast") || *loops < 1 {
		flag.Usage()
		os.Exit(2)
	}
	cfg := config{addr: ap, broadcast: *mode == "broadcast", loops: *loops, reusePort: *reusePort || *loops > 1}
	if *deferAccept {
		cfg.deferSecs = 10
	}
	if err := run(cfg, *mode); err != nil {
		fmt.Fprintln(os.Stderr, "limit:", err)
		os.Exit(1)
	}
}

// run serves until a signal comes.
func run(cfg config, mode string) error {
	// A loop keeps its P while it waits; the goroutines beside the loops have one.
	// The collector would wait for a loop that waits: it is off.
	runtime.GOMAXPROCS(cfg.loops + 1)
	debug.SetGCPercent(-1)
	loops := make([]*loop, cfg.loops)
	for i := range loops {
		l, err := newLoop(&cfg)
		if err != nil {
			return err
		}
		loops[i] = l
	}
	stopc := make(chan os.Signal, 1)
	signal.Notify(stopc, syscall.SIGINT, syscall.SIGTERM)
	errc := make(chan error, len(loops))
	for i, l := range loops {
		for j, other := range loops {
			if i != j {
				l.others = append(l.others, other)
			}
		}
		go func() { errc <- l.run() }()
	}
	out := json.NewEncoder(os.Stdout)
	out.Encode(map[string]any{"addr": cfg.addr.String(), "pid": os.Getpid(), "mode": mode, "loops": cfg.loops})
	select {
	case err := <-errc:
		return err
	case <-stopc:
	}
	var total counters
	for _, l := range loops {
		total.add(&l.counters)
	}
	return out.Encode(total.values())
}
