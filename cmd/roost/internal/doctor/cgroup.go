package doctor

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Cgroup holds the limits of this process's control group.
type Cgroup struct {
	// MemoryMaxBytes is the tightest limit of the group and its parents, 0 if there
	// is none. MemoryUsedBytes is the memory in use by the group with that limit.
	MemoryMaxBytes, MemoryUsedBytes int64
	// CPUs is the tightest processor quota, 0 if there is none.
	CPUs float64
}

// cgroupNoLimit is 2^60: version 1 writes a larger number for no limit.
const cgroupNoLimit = 1 << 60

// readCgroup follows /proc/self/cgroup and reads the limits of the process's group
// and of all its parents.
func readCgroup(root fs.FS) Cgroup {
	var c Cgroup
	own, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return c
	}
	for line := range strings.Lines(string(own)) {
		// "0::/path" is version 2, "4:memory:/path" version 1.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		group := strings.TrimPrefix(path.Clean(parts[2]), "/")
		switch controllers := strings.Split(parts[1], ","); {
		case parts[1] == "":
			for dir := range ancestors("sys/fs/cgroup", group) {
				c.memory(root, dir, "memory.max", "memory.current")
				c.cpuMax(root, dir)
			}
		case slices.Contains(controllers, "memory"):
			for dir := range ancestors("sys/fs/cgroup/memory", group) {
				c.memory(root, dir, "memory.limit_in_bytes", "memory.usage_in_bytes")
			}
		case slices.Contains(controllers, "cpu"):
			for dir := range ancestors("sys/fs/cgroup/cpu", group) {
				c.cpuQuota(root, dir)
			}
		}
	}
	return c
}

// ancestors yields top/group, its parents, and top. In a container some of these
// paths often do not exist: the caller skips them.
func ancestors(top, group string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for group != "" && group != "." {
			if !yield(path.Join(top, group)) {
				return
			}
			group = path.Dir(group)
		}
		yield(top)
	}
}

func (c *Cgroup) memory(root fs.FS, dir, maxFile, usedFile string) {
	limit, ok := readNumber(root, path.Join(dir, maxFile))
	if !ok || limit >= cgroupNoLimit {
		return
	}
	if c.MemoryMaxBytes == 0 || limit < c.MemoryMaxBytes {
		c.MemoryMaxBytes = limit
		c.MemoryUsedBytes, _ = readNumber(root, path.Join(dir, usedFile))
	}
}

// cpuMax reads version 2's "quota period".
func (c *Cgroup) cpuMax(root fs.FS, dir string) {
	b, err := fs.ReadFile(root, path.Join(dir, "cpu.max"))
	if err != nil {
		return
	}
	if fields := strings.Fields(string(b)); len(fields) == 2 {
		quota, err1 := strconv.ParseFloat(fields[0], 64)
		period, err2 := strconv.ParseFloat(fields[1], 64)
		if err1 == nil && err2 == nil && period > 0 {
			c.quota(quota / period)
		}
	}
}

// cpuQuota reads version 1's two files.
func (c *Cgroup) cpuQuota(root fs.FS, dir string) {
	quota, ok1 := readNumber(root, path.Join(dir, "cpu.cfs_quota_us"))
	period, ok2 := readNumber(root, path.Join(dir, "cpu.cfs_period_us"))
	if ok1 && ok2 && quota > 0 && period > 0 {
		c.quota(float64(quota) / float64(period))
	}
}

func (c *Cgroup) quota(cpus float64) {
	if c.CPUs == 0 || cpus < c.CPUs {
		c.CPUs = cpus
	}
}

func readNumber(root fs.FS, name string) (int64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil // "max" is no number: no limit
}
