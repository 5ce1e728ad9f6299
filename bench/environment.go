package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Environment is what a figure depends on besides the server.
type Environment struct {
	Host   string `json:"host"`
	OS     string `json:"os"`
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
	Go     string `json:"go"`
	// Descriptors is the hard limit of open descriptors of a process.
	Descriptors int `json:"descriptors"`
	// Limits are kernel settings that matter to connections.
	Limits  map[string]string `json:"limits"`
	Command []string          `json:"command"`
	// Commit is that of the working directory, "+" where it was changed; empty
	// where there is no git.
	Commit string `json:"commit,omitempty"`
}

// limitFiles are the settings that end up in a result.
var limitFiles = []string{
	"fs/nr_open", "fs/file-max", "net/core/somaxconn", "net/ipv4/tcp_max_syn_backlog",
	"net/ipv4/ip_local_port_range", "net/ipv4/tcp_mem", "net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem",
}

// ReadEnvironment returns what it finds of this machine and process.
func ReadEnvironment() Environment {
	e := Environment{
		OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		CPUs: runtime.NumCPU(), CPU: cpuModel(), Kernel: firstLine("/proc/sys/kernel/osrelease"),
		Limits: make(map[string]string), Command: append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), Commit: commit(),
	}
	e.Host, _ = os.Hostname()
	e.Descriptors, _ = raiseDescriptorLimit()
	if info, err := procFields("/proc/meminfo"); err == nil {
		e.Memory = info["MemTotal"]
	}
	for _, name := range limitFiles {
		if v := firstLine("/proc/sys/" + name); v != "" {
			e.Limits[strings.ReplaceAll(name, "/", ".")] = strings.Join(strings.Fields(v), " ")
		}
	}
	// Huge pages decide what memory that was touched only in part takes.
	if _, rest, ok := strings.Cut(firstLine("/sys/kernel/mm/transparent_hugepage/enabled"), "["); ok {
		e.Limits["transparent_hugepage"], _, _ = strings.Cut(rest, "]")
	}
	return e
}

func firstLine(path string) string {
	p, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(p), "\n")
	return line
}

func cpuModel() string {
	p, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(p), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	hash := strings.TrimSpace(string(out))
	if exec.Command("git", "diff", "--quiet", "HEAD").Run() != nil {
		hash += "+"
	}
	return hash
}
