package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Unlimited is a limit that is not one.
const Unlimited = math.MaxUint64

// Facts are what the machine says about itself. A number that could not be
// read is in Unknown, by the file that should have held it.
type Facts struct {
	Kernel   string
	CPUs     int
	PageSize int64
	Root     bool

	NofileSoft, NofileHard uint64
	// MayRaiseNofile: the process has CAP_SYS_RESOURCE, so that root of this
	// machine (or container) may go over the hard limit.
	MayRaiseNofile bool
	// MaySetSysctl: the process has CAP_NET_ADMIN or CAP_SYS_ADMIN.
	MaySetSysctl bool

	NrOpen, FileMax, FilesUsed uint64

	Somaxconn, SynBacklog uint64
	Syncookies            uint64

	TCPMemPages     [3]int64 // low, pressure, high
	TCPMemUsedPages int64
	TCPRmem         [3]int64 // minimum, default, maximum
	TCPWmem         [3]int64

	MemTotalBytes, MemAvailableBytes int64
	Cgroup                           Cgroup

	// ConntrackLoaded: the kernel tracks connections, and ConntrackMax bounds
	// how many.
	ConntrackLoaded               bool
	ConntrackMax, ConntrackInUse  int64
	LocalPortFirst, LocalPortLast int64

	Unknown []string
}

// Collect reads the facts from root, the machine's "/".
func Collect(root fs.FS) (*Facts, error) {
	r := reader{root: root}
	f := &Facts{CPUs: runtime.NumCPU(), PageSize: int64(os.Getpagesize())}

	limits, err := fs.ReadFile(root, "proc/self/limits")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && runtime.GOOS != "linux" {
			return nil, fmt.Errorf("doctor: it reads Linux's /proc, and this is %s", runtime.GOOS)
		}
		return nil, fmt.Errorf("doctor: is /proc mounted? %w", err)
	}
	f.NofileSoft, f.NofileHard, err = parseNofile(string(limits))
	if err != nil {
		return nil, err
	}

	f.Kernel = r.line("proc/sys/kernel/osrelease")
	f.status(r.text("proc/self/status"))
	f.NrOpen = r.uint("proc/sys/fs/nr_open")
	f.FileMax = r.uint("proc/sys/fs/file-max")
	if used := r.ints("proc/sys/fs/file-nr", 3); used != nil {
		f.FilesUsed = uint64(used[0])
	}
	f.Somaxconn = r.uint("proc/sys/net/core/somaxconn")
	f.SynBacklog = r.uint("proc/sys/net/ipv4/tcp_max_syn_backlog")
	f.Syncookies = r.uint("proc/sys/net/ipv4/tcp_syncookies")
	copy(f.TCPMemPages[:], r.ints("proc/sys/net/ipv4/tcp_mem", 3))
	copy(f.TCPRmem[:], r.ints("proc/sys/net/ipv4/tcp_rmem", 3))
	copy(f.TCPWmem[:], r.ints("proc/sys/net/ipv4/tcp_wmem", 3))
	f.TCPMemUsedPages = sockstatMem(r.text("proc/net/sockstat"))
	if ports := r.ints("proc/sys/net/ipv4/ip_local_port_range", 2); ports != nil {
		f.LocalPortFirst, f.LocalPortLast = ports[0], ports[1]
	}
	meminfo := r.text("proc/meminfo")
	f.MemTotalBytes = meminfoBytes(meminfo, "MemTotal:")
	f.MemAvailableBytes = meminfoBytes(meminfo, "MemAvailable:")

	if _, err := fs.Stat(root, "proc/sys/net/netfilter/nf_conntrack_max"); err == nil {
		f.ConntrackLoaded = true
		f.ConntrackMax = int64(r.uint("proc/sys/net/netfilter/nf_conntrack_max"))
		f.ConntrackInUse = int64(r.uint("proc/sys/net/netfilter/nf_conntrack_count"))
	}
	f.Cgroup = readCgroup(root)
	f.Unknown = r.unknown
	return f, nil
}

// reader reads small files and remembers which could not be read.
type reader struct {
	root    fs.FS
	unknown []string
}

func (r *reader) text(name string) string {
	b, err := fs.ReadFile(r.root, name)
	if err != nil {
		r.unknown = append(r.unknown, "/"+name)
	}
	return string(b)
}

func (r *reader) line(name string) string { return strings.TrimSpace(r.text(name)) }

func (r *reader) uint(name string) uint64 {
	text := r.line(name)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && text != "" {
		r.unknown = append(r.unknown, "/"+name)
	}
	return n
}

// ints returns the first count numbers of a file, nil where there are fewer.
func (r *reader) ints(name string, count int) []int64 {
	fields := strings.Fields(r.text(name))
	if len(fields) < count {
		return nil
	}
	numbers := make([]int64, count)
	for i := range numbers {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			r.unknown = append(r.unknown, "/"+name)
			return nil
		}
		numbers[i] = n
	}
	return numbers
}

// parseNofile finds the descriptor limits in /proc/PID/limits.
func parseNofile(limits string) (soft, hard uint64, err error) {
	for line := range strings.Lines(limits) {
		rest, found := strings.CutPrefix(line, "Max open files")
		if !found {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			break
		}
		soft, err1 := parseLimit(fields[0])
		hard, err2 := parseLimit(fields[1])
		return soft, hard, errors.Join(err1, err2)
	}
	return 0, 0, errors.New("doctor: /proc/self/limits has no line 'Max open files'")
}

func parseLimit(text string) (uint64, error) {
	if text == "unlimited" || text == "max" {
		return Unlimited, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// Capabilities, by their bit (linux/capability.h).
const (
	capNetAdmin    = 12
	capSysAdmin    = 21
	capSysResource = 24
)

// status reads user and capabilities from /proc/self/status.
func (f *Facts) status(status string) {
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "Uid:":
			f.Root = len(fields) > 2 && fields[2] == "0" // the effective one
		case "CapEff:":
			caps, err := strconv.ParseUint(fields[1], 16, 64)
			if err != nil {
				continue
			}
			f.MayRaiseNofile = caps&(1<<capSysResource) != 0
			f.MaySetSysctl = caps&(1<<capNetAdmin|1<<capSysAdmin) != 0
		}
	}
}

// sockstatMem finds the pages that TCP uses in /proc/net/sockstat.
func sockstatMem(sockstat string) int64 {
	for line := range strings.Lines(sockstat) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			if fields[i] == "mem" {
				n, _ := strconv.ParseInt(fields[i+1], 10, 64)
				return n
			}
		}
	}
	return 0
}

func meminfoBytes(meminfo, key string) int64 {
	for line := range strings.Lines(meminfo) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == key {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
