// Package peer holds what every peer server shares: the flags, the line that
// says to the harness where it listens, and the way it ends.
package peer

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
)

// Config says what a peer was asked to be.
type Config struct {
	Addr  string // host:port; port 0 picks a free one
	Relay bool   // each message goes to everyone connected, not only back to its sender
}

// Flags parses the command line and ends the process if it makes no sense.
func Flags() Config {
	addr := flag.String("addr", "127.0.0.1:0", "host:port to listen on")
	mode := flag.String("mode", "echo", "echo or relay")
	flag.Parse()
	if flag.NArg() > 0 || (*mode != "echo" && *mode != "relay") {
		flag.Usage()
		os.Exit(2)
	}
	return Config{Addr: *addr, Relay: *mode == "relay"}
}

// Listen opens the TCP listener of a peer that takes one.
func (c Config) Listen() net.Listener {
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		log.Fatal(err)
	}
	return ln
}

// Announce prints the one line that the harness waits for.
func Announce(addr net.Addr) {
	fmt.Printf("listening addr=%s pid=%d\n", addr, os.Getpid())
}

// WaitForSignal returns when the process is told to end.
func WaitForSignal() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, os.Interrupt)
	<-c
}
