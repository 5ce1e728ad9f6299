package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Status is a check's outcome.
type Status string

const (
	// OK: it leaves room for the target.
	OK Status = "ok"
	// TooLow: it stops the machine below the target.
	TooLow Status = "too low"
	// Advice: it refuses no connection, but many newcomers at once would feel it.
	Advice Status = "advice"
	// Unknown: it could not be read.
	Unknown Status = "unknown"
)

// A Check is one limit and what it means.
type Check struct {
	// Name is the limit as its manual calls it.
	Name string `json:"name"`
	// Found is its value, for people.
	Found string `json:"found"`
	// Fits is how many connections it allows, Unbounded where it bounds
	// something else, or nothing.
	Fits int64 `json:"fits"`
	// Status reports whether that is enough for the target.
	Status Status `json:"status"`
	// Why says what the limit does.
	Why string `json:"why"`
	// Want is the value that makes room for the target, empty where the value
	// found is enough.
	Want string `json:"want,omitempty"`
	// Commands lift it, each to be typed as it is.
	Commands []string `json:"commands,omitempty"`
}

const backlogWant = 65535

// runChecks runs every check, the tightest first.
func runChecks(f *Facts, target, bytesPerConnection int64) []Check {
	checks := []Check{
		checkNofile(f, target),
		checkNrOpen(f, target),
		checkFileMax(f, target),
		checkMemory(f, target, bytesPerConnection),
		checkTCPMem(f, target),
		checkConntrack(f, target),
		checkBacklog("net.core.somaxconn", f.Somaxconn,
			"a listener's queue of newcomers: a storm beyond it is dropped and comes back a second later"),
		checkBacklog("net.ipv4.tcp_max_syn_backlog", f.SynBacklog,
			"handshakes under way: beyond it the kernel answers with cookies, or not at all"),
		checkLocalPorts(f),
		checkCPUs(f),
		checkCapabilities(f, target),
	}
	for i := range checks {
		c := &checks[i]
		if c.Status == "" {
			c.Status = OK
			if c.Fits < target {
				c.Status = TooLow
			}
		}
		if c.Status == OK || c.Status == Unknown {
			c.Want, c.Commands = "", nil
		}
	}
	slices.SortStableFunc(checks, func(a, b Check) int {
		switch {
		case a.Fits < b.Fits:
			return -1
		case a.Fits > b.Fits:
			return 1
		}
		return 0
	})
	return checks
}

func checkNofile(f *Facts, target int64) Check {
	want := NofileFor(target)
	found := limitText(f.NofileHard)
	if f.NofileSoft < f.NofileHard {
		found += fmt.Sprintf(" (soft limit %s: roost raises it itself)", limitText(f.NofileSoft))
	}
	c := Check{
		Name:  "nofile, hard limit",
		Found: found,
		Fits:  ConnectionsFor(f.NofileHard),
		Why:   "descriptors that one process may have open: one for each connection, and a reserve of 64 and 1 %",
		Want:  grouped(int64(want)),
	}
	n := strconv.FormatUint(want, 10)
	if f.Root && f.MayRaiseNofile {
		c.Commands = []string{"ulimit -n " + n + "   # this shell, before roost serve"}
	} else if f.Root {
		c.Commands = []string{"# root may not raise it here (no CAP_SYS_RESOURCE): change it where this container or machine is started"}
	} else {
		c.Commands = []string{"sudo prlimit --pid $$ --nofile=" + n + ":" + n + "   # this shell, before roost serve"}
	}
	c.Commands = append(c.Commands,
		"# for good: LimitNOFILE="+n+" in the systemd unit; docker run --ulimit nofile="+n+":"+n+"; or /etc/security/limits.d for logins",
	)
	return c
}

func checkNrOpen(f *Facts, target int64) Check {
	want := NofileFor(target)
	return known(f.NrOpen, Check{
		Name:     "fs.nr_open",
		Found:    grouped(int64(f.NrOpen)),
		Fits:     ConnectionsFor(f.NrOpen),
		Why:      "the highest nofile that anybody may set",
		Want:     grouped(int64(want)),
		Commands: []string{sysctlCommand("fs.nr_open", want)},
	})
}

func checkFileMax(f *Facts, target int64) Check {
	want := fileMaxFor(f, target)
	var free uint64
	if f.FileMax > f.FilesUsed {
		free = f.FileMax - f.FilesUsed
	}
	return known(f.FileMax, Check{
		Name:     "fs.file-max",
		Found:    fmt.Sprintf("%s (%s used)", limitText(f.FileMax), grouped(int64(f.FilesUsed))),
		Fits:     ConnectionsFor(free),
		Why:      "open files of the whole machine",
		Want:     grouped(int64(want)),
		Commands: []string{sysctlCommand("fs.file-max", want)},
	})
}

// fileMaxFor leaves as much again as is used now for all other programs.
func fileMaxFor(f *Facts, target int64) uint64 { return NofileFor(target) + 2*f.FilesUsed + 10_000 }

// memoryBytes is what new connections may take: nine tenths of what is
// available, in the machine and in the control group.
func memoryBytes(f *Facts) int64 {
	free := f.MemAvailableBytes
	if f.Cgroup.MemoryMaxBytes > 0 {
		free = min(free, max(0, f.Cgroup.MemoryMaxBytes-f.Cgroup.MemoryUsedBytes))
	}
	return free / 10 * 9
}

func memoryFits(f *Facts, bytesPerConnection int64) int64 {
	if f.MemAvailableBytes == 0 {
		return Unbounded
	}
	return memoryBytes(f) / bytesPerConnection
}

func checkMemory(f *Facts, target, bytesPerConnection int64) Check {
	found := bytesText(f.MemAvailableBytes) + " available"
	if f.Cgroup.MemoryMaxBytes > 0 {
		found += fmt.Sprintf(", cgroup limit %s (%s used)", bytesText(f.Cgroup.MemoryMaxBytes), bytesText(f.Cgroup.MemoryUsedBytes))
	}
	need := target * bytesPerConnection / 9 * 10
	return known(uint64(f.MemAvailableBytes), Check{
		Name:  "memory",
		Found: found,
		Fits:  memoryFits(f, bytesPerConnection),
		Why: fmt.Sprintf("nine tenths of it, at %s bytes for an idle connection: %s in the kernel, %s in the server",
			grouped(bytesPerConnection), grouped(KernelBytesPerConnection), grouped(bytesPerConnection-KernelBytesPerConnection)),
		Want:     bytesText(need) + " free",
		Commands: []string{"# " + bytesText(need) + " of free memory, or a second machine; a cgroup limit is lifted by MemoryMax= (systemd) or --memory (docker)"},
	})
}

func checkTCPMem(f *Facts, target int64) Check {
	high := f.TCPMemPages[2]
	return known(uint64(high), Check{
		Name:  "net.ipv4.tcp_mem",
		Found: fmt.Sprintf("%s pages (%s)", grouped(high), bytesText(high*f.PageSize)),
		Fits:  max(0, high-f.TCPMemUsedPages) / TCPPagesPerConnection,
		Why:   "queued bytes of all TCP sockets together: a page for each connection while a broadcast is on its way; idle ones take none",
		Want:  tcpMemFor(f, target),
		Commands: []string{
			"sudo sysctl -w net.ipv4.tcp_mem='" + tcpMemFor(f, target) + "'",
		},
	})
}

// tcpMemFor gives target connections a page each below the pressure mark, and
// half as much again below the limit.
func tcpMemFor(f *Facts, target int64) string {
	pressure := max(f.TCPMemPages[1], target*TCPPagesPerConnection+f.TCPMemUsedPages)
	return fmt.Sprintf("%d %d %d", pressure/4*3, pressure, max(f.TCPMemPages[2], pressure/2*3))
}

func checkConntrack(f *Facts, target int64) Check {
	c := Check{
		Name: "net.netfilter.nf_conntrack_max",
		Why:  "connections that the firewall keeps track of; beyond it packets are dropped",
	}
	if !f.ConntrackLoaded {
		c.Found, c.Fits = "not loaded", Unbounded
		return c
	}
	c.Found = fmt.Sprintf("%s (%s in use)", grouped(f.ConntrackMax), grouped(f.ConntrackInUse))
	c.Fits = max(0, f.ConntrackMax-f.ConntrackInUse)
	want := conntrackFor(f, target)
	c.Want = grouped(want)
	c.Commands = []string{
		sysctlCommand("net.netfilter.nf_conntrack_max", uint64(want)),
		"# or leave the port out: iptables -t raw -A PREROUTING -p tcp --dport 8080 -j NOTRACK, and OUTPUT with --sport",
	}
	return c
}

// conntrackFor: ended connections stay in the table for a while.
func conntrackFor(f *Facts, target int64) int64 { return max(2*target, target+2*f.ConntrackInUse) }

func checkBacklog(name string, found uint64, why string) Check {
	c := known(found, Check{Name: name, Found: grouped(int64(found)), Fits: Unbounded, Why: why})
	if c.Status == "" && found < backlogWant {
		c.Status = Advice
		c.Want = grouped(backlogWant)
		c.Commands = []string{sysctlCommand(name, backlogWant)}
	}
	return c
}

func checkLocalPorts(f *Facts) Check {
	ports := max(0, f.LocalPortLast-f.LocalPortFirst+1)
	return known(uint64(f.LocalPortLast), Check{
		Name:  "net.ipv4.ip_local_port_range",
		Found: fmt.Sprintf("%d-%d", f.LocalPortFirst, f.LocalPortLast),
		Fits:  Unbounded,
		Why:   fmt.Sprintf("for load generators only: %s connections from one address of this machine to one address and port. roost bench uses several addresses", grouped(ports)),
	})
}

func checkCPUs(f *Facts) Check {
	c := Check{
		Name:  "processors",
		Found: strconv.Itoa(f.CPUs),
		Fits:  Unbounded,
		Why:   "one event loop each",
	}
	if f.Cgroup.CPUs > 0 {
		c.Found += fmt.Sprintf(", cgroup quota %.2g", f.Cgroup.CPUs)
	}
	return c
}

func checkCapabilities(f *Facts, target int64) Check {
	c := Check{
		Name: "capabilities",
		Fits: Unbounded,
		Why:  "CAP_SYS_RESOURCE raises nofile over the hard limit, CAP_NET_ADMIN sets what is under net",
	}
	var have []string
	if f.MayRaiseNofile {
		have = append(have, "CAP_SYS_RESOURCE")
	}
	if f.MaySetSysctl {
		have = append(have, "CAP_NET_ADMIN or CAP_SYS_ADMIN")
	}
	c.Found = "none of them"
	if len(have) > 0 {
		c.Found = strings.Join(have, ", ")
	}
	if !f.MayRaiseNofile && ConnectionsFor(f.NofileHard) < target {
		c.Status = Advice
		c.Commands = []string{"# grant CAP_SYS_RESOURCE (docker run --cap-add SYS_RESOURCE), or start roost with the limit already raised"}
	}
	return c
}

// known turns a check whose value could not be read into Unknown.
func known(value uint64, c Check) Check {
	if value == 0 {
		c.Found, c.Fits, c.Status = "not readable", Unbounded, Unknown
	}
	return c
}

func sysctlCommand(name string, value uint64) string {
	return fmt.Sprintf("sudo sysctl -w %s=%d", name, value)
}

func limitText(n uint64) string {
	if n >= Unbounded {
		return "unlimited"
	}
	return grouped(int64(n))
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return grouped(n) + " B"
}
