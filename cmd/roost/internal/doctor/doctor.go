// Package doctor tells how many connections a Linux machine can hold, what
// stops it first, and what to type to lift that.
//
//	facts.go     what the machine says: /proc, /sys, through an fs.FS
//	cgroup.go    the control group's part of it, versions 1 and 2
//	checks.go    one check for each limit: how many connections it allows
//	fix.go       the settings that lift them, as files and as commands
//	print.go     the report for people
//
// Nothing here is cached and nothing runs in the background. All of it can be
// tested with a file system of the test's own.
package doctor

import "math"

// What an idle connection costs, in bytes, as it was measured. The margin is not
// in here: a tenth of the memory is left alone (memoryBytes).
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

// Unbounded is the answer of a check without a limit: the highest whole
// number on which all readers of JSON agree.
const Unbounded = 1<<53 - 1

// DescriptorReserve is how many of nofile descriptors are kept back: for
// listeners, pollers, log files, and newcomers that are told that the server is
// full. 64, and one in a hundred.
func DescriptorReserve(nofile uint64) uint64 { return 64 + nofile/100 }

// ConnectionsFor is how many connections fit into nofile descriptors.
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

// NofileFor is the smallest limit, rounded up to a thousand, into which n
// connections fit.
func NofileFor(n int64) uint64 {
	// n <= nofile - 64 - nofile/100, so nofile >= (n+64)/0.99.
	want := uint64(math.Ceil(float64(n+64)/0.99)) + 1
	return (want + 999) / 1000 * 1000
}

// A Question is what somebody wants to know.
type Question struct {
	// Target is how many connections should fit. If zero, as many as the
	// memory allows, at most a million.
	Target int64
	// UserBytes is what the server keeps for each connection. If zero,
	// UserBytesPerConnection.
	UserBytes int64
}

// A Report is the answer.
type Report struct {
	// Machine says what was looked at.
	Machine Machine `json:"machine"`
	// Fits is how many connections this machine holds as it is.
	Fits int64 `json:"fits"`
	// StoppedBy names the check that allows the fewest.
	StoppedBy string `json:"stopped_by"`
	// Target is the number that the advice is for; TargetAsked reports whether
	// it was asked for or follows from the memory.
	Target      int64 `json:"target"`
	TargetAsked bool  `json:"target_asked"`
	// TargetFits reports whether Target connections fit.
	TargetFits bool `json:"target_fits"`
	// BytesPerConnection is the memory that one connection is reckoned with,
	// kernel and user together.
	BytesPerConnection int64 `json:"bytes_per_connection"`
	// Checks are all limits that were looked at, the tightest first.
	Checks []Check `json:"checks"`
	// Fix are the settings that make room for Target.
	Fix Fix `json:"fix"`
}

// Machine is the part of the facts that people want to see first.
type Machine struct {
	Kernel      string `json:"kernel"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memory_bytes"`
	Root        bool   `json:"root"`
}

// Examine judges facts.
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

// roundDown keeps two digits: 5,432,100 becomes 5,400,000.
func roundDown(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return n / unit * unit
}
