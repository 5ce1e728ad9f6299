// Package leaktest fails a package's tests when they leave goroutines or descriptors
// behind.
package leaktest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long what is ending may take to end.
const patience = 30 * time.Second

// Main runs the tests of a package for its TestMain, and ends the process.
func Main(m *testing.M) {
	// The first listener starts Go's own poller, which stays.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	before := fmt.Sprint(Descriptors())
	code := m.Run()
	if code == 0 {
		http.DefaultClient.CloseIdleConnections()
		if err := wait(before); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func wait(before string) (err error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		switch left, after := Goroutines(), fmt.Sprint(Descriptors()); {
		case len(left) > 0:
			err = fmt.Errorf("leak: %d goroutines are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
		case after != before:
			err = fmt.Errorf("leak: the open descriptors were %v, and are %v", before, after)
		default:
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// ours are parts of the stacks of goroutines that have to end: those of this module, of
// an engine's library, and of HTTP connections, which the tests have to close.
var ours = []string{"roostws/roost/", "panjf2000/gnet/", "net/http."}

// Goroutines returns the stacks of those that have to end, but for the caller's own.
func Goroutines() (left []string) {
	buf := make([]byte, 4<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	for _, stack := range stacks[1:] {
		for _, part := range ours {
			if strings.Contains(stack, part) {
				left = append(left, stack)
				break
			}
		}
	}
	return left
}

// Descriptors counts the open descriptors of this process by kind: "socket",
// "anon_inode", and so on, without files. It is empty where there is no /proc.
func Descriptors() map[string]int {
	kinds := map[string]int{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			if kind, _, _ := strings.Cut(target, ":"); !strings.HasPrefix(kind, "/") {
				kinds[kind]++
			}
		}
	}
	return kinds
}
