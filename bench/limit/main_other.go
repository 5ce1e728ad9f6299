//go:build !linux

// Command limit is the yardstick of Roost's figures. It is written for epoll
// and therefore exists on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "limit: needs Linux (epoll)")
	os.Exit(1)
}
