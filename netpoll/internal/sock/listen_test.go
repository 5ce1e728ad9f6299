//go:build linux || darwin || freebsd

package sock

import (
	"net"
	"testing"

	"github.com/roostws/roost/netpoll"
)

// TestListenersHaveOnePort: the system chooses a port for the first loop, and
// the others must get the same.
func TestListenersHaveOnePort(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0"} {
		listeners, addr, err := Listen(address, &netpoll.Config{Loops: 8, Backlog: 16})
		if err != nil {
			t.Fatal(err)
		}
		for i, ln := range listeners {
			err := ln.Use(func(fd int) error {
				if got, err := boundPort(fd); err != nil || got != addr.(*net.TCPAddr).Port {
					t.Errorf("listener %d of %q has port %d, %v, want that of %v", i, address, got, err, addr)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			ln.Close(nil)
		}
		if listeners[0].Use(func(int) error { return nil }) == nil {
			t.Error("a closed listener can be used")
		}
	}
}
