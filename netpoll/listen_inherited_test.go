//go:build linux || darwin || freebsd

package netpoll

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inherit opens a listening socket as a parent process would, and answers its
// descriptor.
func inherit(t *testing.T, network, address string) (int, net.Addr) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	fd := -1
	if err := onListener(l, func(original int) (err error) {
		fd, err = unix.Dup(original)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return fd, l.Addr()
}

func TestInheritedListeners(t *testing.T) {
	for _, kind := range Kinds() {
		for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), string(kind))} {
			t.Run(fmt.Sprint(kind, " ", network), func(t *testing.T) {
				fd, addr := inherit(t, network, address)
				e := startEcho(t, kind, Config{Loops: 2, Listen: []string{fmt.Sprint("fd:", fd)}})
				if got := e.Addrs()[0].String(); got != addr.String() {
					t.Errorf("Addrs() = %s, want %s", got, addr)
				}
				for range 8 {
					wantEcho(t, dial(t, e), "inherited")
				}
				if network == "unix" {
					e.StopAccepting()
					if _, err := os.Lstat(address); err != nil {
						t.Errorf("the file belongs to whoever opened the socket: %v", err)
					}
				}
			})
		}
	}
}

func TestInheritedIsNoListener(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	for _, kind := range Kinds() {
		for address, want := range map[string]string{
			"fd:":                      "no descriptor",
			"fd:-1":                    "no descriptor",
			"fd:three":                 "no descriptor",
			"fd:999999":                "no listening socket",
			fmt.Sprint("fd:", pair[0]): "no listening socket",
		} {
			_, err := Start(kind, Config{Listen: []string{address}}, noHandler)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address) {
				t.Errorf("%s on %s: %v, want %q and the address", kind, address, err, want)
			}
		}
	}
}
