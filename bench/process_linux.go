package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endWithParent lets a generator die with the process that started it.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// cpuTime is the processor time that the processes have used so far, threads
// that have ended included. It reads the kernel's CPU clock of the process,
// which counts nanoseconds; utime and stime of /proc/PID/stat count ticks of
// 10 ms.
func cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		// clock_getcpuclockid(3): the clock's id is the inverted pid and a
		// clock type, 2 for CPUCLOCK_SCHED.
		var ts unix.Timespec
		if err := unix.ClockGettime(int32(^pid)<<3|2, &ts); err != nil {
			return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

// machineCPU is the time that all processors together were busy with
// processes, in the kernel's ticks of 10 ms.
func machineCPU() time.Duration {
	fields := strings.Fields(firstLine("/proc/stat"))
	var ticks int64
	for i, f := range fields {
		// cpu user nice system idle iowait irq softirq ...
		if i == 1 || i == 2 || i == 3 || i == 6 || i == 7 {
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// readMemory looks at the processes and at the machine.
func readMemory(pids []int) (memory, error) {
	var m memory
	for _, pid := range pids {
		status, err := procFields(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return m, err
		}
		anonymous := status["RssAnon"]
		// Of another user's process the roll-up is hidden; where it is not, it is
		// exact, while the counters in status may lag.
		if rollup, err := procFields(fmt.Sprintf("/proc/%d/smaps_rollup", pid)); err == nil {
			anonymous = rollup["Anonymous"]
			m.pss += rollup["Pss"]
		}
		m.anonymous += anonymous
		if dir, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			m.descriptors += len(dir)
		}
	}
	info, err := procFields("/proc/meminfo")
	if err != nil {
		return m, err
	}
	m.slab = info["Slab"]
	return m, nil
}

// procFields reads a file of "Name: 123 kB" lines, in bytes.
func procFields(path string) (map[string]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fields := make(map[string]int64)
	for s := bufio.NewScanner(f); s.Scan(); {
		name, value, ok := strings.Cut(s.Text(), ":")
		if !ok {
			continue
		}
		value, kilo := strings.CutSuffix(strings.TrimSpace(value), " kB")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			continue
		}
		if kilo {
			n <<= 10
		}
		fields[name] = n
	}
	return fields, nil
}

// tcpMemory is what TCP accounts for in the buffers of all sockets, in bytes.
func tcpMemory() int64 {
	p, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(p), "\n") {
		fields := strings.Fields(line)
		// TCP: inuse 5 orphan 0 tw 0 alloc 5 mem 1
		for i := 0; i+1 < len(fields) && fields[0] == "TCP:"; i++ {
			if fields[i] == "mem" {
				pages, _ := strconv.ParseInt(fields[i+1], 10, 64)
				return pages * int64(os.Getpagesize())
			}
		}
	}
	return 0
}

// processAge is the time since a process was started, 0 if it is gone.
func processAge(pid int) time.Duration {
	_, stat, _ := strings.Cut(firstLine(fmt.Sprintf("/proc/%d/stat", pid)), ") ")
	fields := strings.Fields(stat)
	uptime, _, _ := strings.Cut(firstLine("/proc/uptime"), " ")
	up, err := strconv.ParseFloat(uptime, 64)
	if err != nil || len(fields) < 20 {
		return 0
	}
	// Field 22 of stat(5), in ticks of 10 ms since the machine started.
	started, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(up*float64(time.Second)) - time.Duration(started)*10*time.Millisecond
}
