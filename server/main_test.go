package server_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package when its tests leave goroutines or descriptors
// behind.
func TestMain(m *testing.M) {
	// The first listener starts Go's own poller, which stays.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := waitForNothing(before); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// waitForNothing gives what is ending a moment to end.
func waitForNothing(before map[string]int) (err error) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		switch left, after := leftGoroutines(), descriptors(); {
		case len(left) > 0:
			err = fmt.Errorf("leak: %d goroutines are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
		case fmt.Sprint(after) != fmt.Sprint(before):
			err = fmt.Errorf("leak: the open descriptors were %v, and are %v", before, after)
		default:
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// leftGoroutines are the stacks of those that run our code or an engine's, but
// for the caller's own.
func leftGoroutines() (left []string) {
	buf := make([]byte, 4<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	for _, stack := range stacks[1:] {
		if strings.Contains(stack, "roostws/roost/") || strings.Contains(stack, "panjf2000/gnet/") {
			left = append(left, stack)
		}
	}
	return left
}

// descriptors counts this process's by kind: "socket", "anon_inode", and so on.
func descriptors() map[string]int {
	kinds := map[string]int{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			kind, _, _ := strings.Cut(target, ":")
			if !strings.HasPrefix(kind, "/") {
				kinds[kind]++
			}
		}
	}
	return kinds
}
