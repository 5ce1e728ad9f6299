package bench

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// separateProcessors lets clients run on one half of the processors that this
// process may use, and servers on the other, until release is called. With an
// odd number, servers get the one more.
func separateProcessors(clients, servers []int) (release func(), err error) {
	var may, upper, lower unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	all := may.Count()
	if all < 2 {
		return nil, errors.New("there is one only")
	}
	for cpu, seen := 0, 0; seen < all; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		if seen++; seen <= (all+1)/2 {
			lower.Set(cpu)
		} else {
			upper.Set(cpu)
		}
	}
	// Where each thread might run before. One that starts meanwhile gets what the
	// first thread of its process had.
	before := make(map[int]unix.CPUSet)
	release = func() {
		for _, pid := range slices.Concat(servers, clients) {
			_ = eachThread(pid, func(thread int) error {
				set, ok := before[thread]
				if !ok {
					if set, ok = before[pid]; !ok {
						return nil
					}
				}
				return unix.SchedSetaffinity(thread, &set)
			}) // the process may have ended
		}
	}
	for _, half := range []struct {
		pids []int
		set  *unix.CPUSet
	}{{servers, &lower}, {clients, &upper}} {
		for _, pid := range half.pids {
			err := eachThread(pid, func(thread int) error {
				var set unix.CPUSet
				if err := unix.SchedGetaffinity(thread, &set); err != nil {
					return os.NewSyscallError("sched_getaffinity", err)
				}
				before[thread] = set
				return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(thread, half.set))
			})
			if err != nil {
				release()
				return nil, fmt.Errorf("process %d: %w", pid, err)
			}
		}
	}
	return release, nil
}

// lowestPriority lets a process have what others leave of the processors.
func lowestPriority(pid int) error {
	return eachThread(pid, func(thread int) error {
		return os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, thread, 19))
	})
}

// eachThread calls fn for each thread of a process. A thread that starts
// meanwhile is the child of one that fn was called for, or is found by the
// second look; children inherit what fn sets.
func eachThread(pid int, fn func(thread int) error) error {
	done := make(map[int]bool)
	for range 2 {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, entry := range threads {
			thread, err := strconv.Atoi(entry.Name())
			if err != nil || done[thread] {
				continue
			}
			done[thread] = true
			if err := fn(thread); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}
