//go:build linux || darwin || freebsd

package engines_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
)

// inherit opens a listening socket as a parent process would, and returns its
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
	file, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd, l.Addr()
}

func TestInheritedListeners(t *testing.T) {
	for _, driver := range engines.All() {
		for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), driver.Name())} {
			t.Run(fmt.Sprint(driver.Name(), " ", network), func(t *testing.T) {
				fd, addr := inherit(t, network, address)
				e := startEcho(t, driver, netpoll.Config{Loops: 2, Listen: []string{fmt.Sprint("fd:", fd)}})
				if got := e.Addrs()[0].String(); got != addr.String() {
					t.Errorf("Addrs() = %s, want %s", got, addr)
				}
				for range 8 {
					wantEcho(t, dial(t, e), "inherited")
				}
				if network == "unix" {
					e.StopAccepting()
					if _, err := os.Lstat(address); err != nil {
						t.Errorf("the file belongs to the process that opened the socket, and is gone: %v", err)
					}
				}
			})
		}
	}
}

// TestInheritedOptions: connections of an inherited listener have the options of
// Config, whatever package net does with a listener that it is given.
func TestInheritedOptions(t *testing.T) {
	for _, driver := range engines.All() {
		for _, want := range []bool{false, true} {
			cfg := netpoll.Config{Loops: 1}
			if want {
				cfg.KeepAlive = time.Minute
			}
			fd, _ := inherit(t, "tcp4", "127.0.0.1:0")
			cfg.Listen = []string{fmt.Sprint("fd:", fd)}
			keepAlive := make(chan int, 1)
			e := startOne(t, driver, cfg, func(l netpoll.Loop) *testHandler {
				return &testHandler{open: func(id netpoll.ID, _ uint64) {
					on, err := unix.GetsockoptInt(l.FD(id), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
					if err != nil {
						t.Error(err)
					}
					keepAlive <- on
				}}
			})
			dial(t, e)
			if got := receive(t, "OnOpen", keepAlive) != 0; got != want {
				t.Errorf("%s: SO_KEEPALIVE is %v with KeepAlive %v, want %v", driver.Name(), got, cfg.KeepAlive, want)
			}
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
	for _, driver := range engines.All() {
		for address, want := range map[string]string{
			"fd:":                      "no descriptor",
			"fd:-1":                    "no descriptor",
			"fd:three":                 "no descriptor",
			"fd:999999":                "no listening socket",
			fmt.Sprint("fd:", pair[0]): "no listening socket",
		} {
			_, err := driver.Start(netpoll.Config{Listen: []string{address}}, noHandler)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address) {
				t.Errorf("%s on %s: %v, want %q and the address", driver.Name(), address, err, want)
			}
		}
	}
}
