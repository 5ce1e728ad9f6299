//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// serverReserve are the descriptors of a server process that are no
	// connections.
	serverReserve = 512
	// reusePortFill is how full a process may be planned where the kernel
	// spreads connections over several: it does so by a hash, not evenly.
	reusePortFill = 0.9
	// bytesPerPair is what both ends of a loopback connection need in the
	// kernel, measured at 10.2 KB, and in two Go processes, with room to spare.
	bytesPerPair = 14 << 10
)

// capacity is what stops us, and at how many connections.
type capacity struct {
	descriptors int   // hard limit of a process
	systemFiles int64 // fs.file-max
	memory      int64 // available, bytes
}

func lookAround() capacity {
	var c capacity
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil {
		c.descriptors = int(min(lim.Max, 1<<30))
	}
	c.systemFiles = readNumber("/proc/sys/fs/file-max")
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.SplitSeq(string(info), "\n") {
			if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
				kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				c.memory = kb << 10
			}
		}
	}
	return c
}

func readNumber(path string) int64 {
	p, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(p)), 10, 64)
	if err != nil { // 2^64-1, say: no limit
		return 1 << 62
	}
	return n
}

// perProcess is how many connections one server process may hold.
func (c capacity) perProcess() int { return c.descriptors - serverReserve }

// processes is how many server processes n connections need.
func (c capacity) processes(n int) int {
	if n <= c.perProcess() {
		return 1
	}
	each := int(float64(c.perProcess()) * reusePortFill)
	return (n + each - 1) / each
}

// fit is the most that fits, at most n.
func (c capacity) fit(n int) int {
	byMemory := c.memory * 8 / 10 / bytesPerPair
	byFiles := c.systemFiles * 9 / 10 / 2
	return int(max(1, min(int64(n), byMemory, byFiles)))
}

// found says plainly what the machine allows.
func (c capacity) found(asked, fits int) []string {
	lines := []string{fmt.Sprintf("a process may open %d descriptors (hard limit): one server process holds up to %d connections", c.descriptors, c.perProcess())}
	if n := c.processes(fits); n > 1 {
		lines = append(lines, fmt.Sprintf("%d connections need %d server processes on one port (SO_REUSEPORT); each publishes to its own connections only", fits, n))
	} else {
		lines = append(lines, fmt.Sprintf("%d connections fit into one server process", fits))
	}
	if fits < asked {
		lines = append(lines, fmt.Sprintf("%d connections were asked for, but %d MiB of memory and %d descriptors system-wide allow %d",
			asked, c.memory>>20, c.systemFiles, fits))
	}
	return lines
}
