package metrics

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// process shows what the system knows of the process, under the names that
// Prometheus' own libraries use.
type process struct{}

var started = time.Now()

var (
	cpuDesc      = prometheus.NewDesc("process_cpu_seconds_total", "CPU time of the process, user and system.", nil, nil)
	residentDesc = prometheus.NewDesc("process_resident_memory_bytes", "Resident memory of the process.", nil, nil)
	startDesc    = prometheus.NewDesc("process_start_time_seconds", "When the process started, in Unix seconds.", nil, nil)
	filesDesc    = prometheus.NewDesc("process_max_fds", "How many descriptors the process may have.", nil, nil)
)

// Describe is part of prometheus.Collector.
func (p process) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{cpuDesc, residentDesc, startDesc, filesDesc} {
		to <- desc
	}
}

// Collect is part of prometheus.Collector. It leaves out what the system does not
// tell.
func (p process) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(startDesc, prometheus.GaugeValue, float64(started.UnixMilli())/1000)
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
		cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		to <- prometheus.MustNewConstMetric(cpuDesc, prometheus.CounterValue, cpu.Seconds())
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		to <- prometheus.MustNewConstMetric(filesDesc, prometheus.GaugeValue, float64(limit.Cur))
	}
	if pages, ok := residentPages(); ok {
		to <- prometheus.MustNewConstMetric(residentDesc, prometheus.GaugeValue, float64(pages)*float64(os.Getpagesize()))
	}
}

// residentPages reads the second number of /proc/self/statm.
func residentPages() (pages uint64, ok bool) {
	if runtime.GOOS != "linux" {
		return 0, false
	}
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err = strconv.ParseUint(fields[1], 10, 64)
	return pages, err == nil
}
