//go:build !linux

package bench

import (
	"errors"
	"io"
	"os/exec"
	"time"
)

// errNotHere is the benchmark's error on other systems: it measures with
// Linux's /proc and loads with Linux's sockets. The server itself may run
// anywhere.
var errNotHere = errors.New("bench: needs Linux")

func serveGenerator(io.Reader, io.Writer) error       { return errNotHere }
func raiseDescriptorLimit() (int, error)              { return 0, errNotHere }
func cpuTime([]int) (time.Duration, error)            { return 0, errNotHere }
func readMemory([]int) (memory, error)                { return memory{}, errNotHere }
func procFields(string) (map[string]int64, error)     { return nil, errNotHere }
func tcpMemory() int64                                { return 0 }
func processAge(int) time.Duration                    { return 0 }
func machineCPU() time.Duration                       { return 0 }
func separateProcessors([]int, []int) (func(), error) { return nil, errNotHere }
func lowestPriority(int) error                        { return errNotHere }
func endWithParent(*exec.Cmd)                         {}
func nowNs() int64                                    { return time.Since(clockStart).Nanoseconds() }

var clockStart = time.Now()
