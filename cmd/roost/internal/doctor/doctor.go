// Package doctor computes how many connections a Linux machine can hold, which
// limit is reached first, and which settings raise it.
//
//	facts.go     reads /proc and /sys through an fs.FS
//	cgroup.go    reads the limits of the control group, versions 1 and 2
//	checks.go    one check for each limit: how many connections it allows
//	fix.go       the settings that raise the limits, as files and commands
//	print.go     the report as text
//
// The package keeps no state and starts no goroutines. Tests give it a file
// system of their own.
package doctor

import "math"

// The measured cost of an idle connection, in bytes. The safety margin, a tenth of
// the memory, is separate (memoryBytes).
const (
	// KernelBytesPerConnection is half of the 10,051 B that the kernel took for
	// both ends of each of 250,000 connections
	// (bench/results/2026-11-23-c100k-vm.md, "all kernel B"; a million took
	// less). Its socket objects are 3.8 KB of that: tcp 2,368, inode 832,
	// file 192, dentry 192, epitem 128, and about 55.
	KernelBytesPerConnection = 5_030
	// UserBytesPerConnection is what the server itself took for a plain
	// connection with an identity of its own and one subscription
	// (bench/results/2026-11-23-tuning-vm.md). Without them it takes 56.
	UserBytesPerConnection = 170
	// TCPPagesPerConnection is charged against net.ipv4.tcp_mem while a
	// connection has anything queued, which in a broadcast all of them have.
	TCPPagesPerConnection = 1
)

// Unbounded is the result of a check without a limit: the largest whole number that
// every JSON reader represents exactly.
const Unbounded = 1<<53 - 1

// DescriptorReserve returns how many of nofile descriptors are reserved for
// listeners, pollers, log files, and connections that are refused because the
// server is full: 64 plus 1 %.
func DescriptorReserve(nofile uint64) uint64 { return 64 + nofile/100 }

// ConnectionsFor returns how many connections fit into nofile descriptors.
func ConnectionsFor(nofile uint64) int64 {
	reserve := DescriptorReserve(nofile)
	if nofile <= reserve {
		return 0
	}
	if left := nofile - reserve; left < Unbounded {
		return int64(left)
	}
	return Unbounded
}

// NofileFor returns the smallest limit, rounded up to a thousand, into which n
// connections fit.
func NofileFor(n int64) uint64 {
	// n <= nofile - 64 - nofile/100, so nofile >= (n+64)/0.99.
	want := uint64(math.Ceil(float64(n+64)/0.99)) + 1
	return (want + 999) / 1000 * 1000
}

// A Question is the input of Examine.
type Question struct {
	// Target is the number of connections that should fit. If zero, as many as the
	// memory allows, at most a million.
	Target int64
	// UserBytes is the server's own memory for each connection. If zero,
	// UserBytesPerConnection.
	UserBytes int64
}

// A Report is the result of Examine.
type Report struct {
	// Machine describes the machine.
	Machine Machine `json:"machine"`
	// Fits is how many connections fit with the current settings.
	Fits int64 `json:"fits"`
	// StoppedBy is the name of the check that allows the fewest.
	StoppedBy string `json:"stopped_by"`
	// Target is the number of connections that the advice is for. TargetAsked
	// reports whether the user gave it; otherwise it follows from the memory.
	Target      int64 `json:"target"`
	TargetAsked bool  `json:"target_asked"`
	// TargetFits reports whether Target connections fit.
	TargetFits bool `json:"target_fits"`
	// BytesPerConnection is the assumed memory of one connection, in the kernel and
	// in the server.
	BytesPerConnection int64 `json:"bytes_per_connection"`
	// Checks are all limits, the tightest first.
	Checks []Check `json:"checks"`
	// Fix holds the settings that make room for Target.
	Fix Fix `json:"fix"`
}

// Machine is the part of the facts that the report begins with.
type Machine struct {
	Kernel      string `json:"kernel"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memory_bytes"`
	Root        bool   `json:"root"`
}

// Examine compares the limits in f with the target of q.
func Examine(f *Facts, q Question) *Report {
	if q.UserBytes == 0 {
		q.UserBytes = UserBytesPerConnection
	}
	r := &Report{
		Machine: Machine{
			Kernel: f.Kernel, CPUs: f.CPUs, MemoryBytes: f.MemTotalBytes, Root: f.Root,
		},
		BytesPerConnection: KernelBytesPerConnection + q.UserBytes,
		Target:             q.Target,
		TargetAsked:        q.Target > 0,
	}
	if r.Target == 0 {
		r.Target = min(1_000_000, roundDown(memoryFits(f, r.BytesPerConnection)))
	}
	r.Checks = runChecks(f, r.Target, r.BytesPerConnection)
	r.Fits = Unbounded
	for _, c := range r.Checks {
		if c.Fits < r.Fits {
			r.Fits, r.StoppedBy = c.Fits, c.Name
		}
	}
	r.TargetFits = r.Fits >= r.Target
	r.Fix = makeFix(f, r)
	return r
}

// roundDown keeps the first two digits: 5,432,100 becomes 5,400,000.
func roundDown(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return n / unit * unit
}
