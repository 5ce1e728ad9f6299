//go:build linux || darwin || freebsd

package engines_test

import (
	"errors"
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

// noHandler is for engines that must not start.
func noHandler(netpoll.Loop) netpoll.Handler { panic("the engine started") }

func TestPortIsOneForAllLoops(t *testing.T) {
	for _, driver := range engines.All() {
		t.Run(driver.Name(), func(t *testing.T) {
			e := startEcho(t, driver, netpoll.Config{Loops: 8, Listen: []string{"127.0.0.1:0", ":0"}})
			for range 32 {
				wantEcho(t, dial(t, e), "any loop")
			}
		})
	}
}

func TestAddressInUseSaysWhich(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for _, driver := range engines.All() {
		for _, loops := range []int{1, 2} {
			_, err := driver.Start(netpoll.Config{Loops: loops, Listen: []string{address}}, noHandler)
			if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), address) {
				t.Errorf("%s with %d loops on a taken port: %v, want EADDRINUSE and the address", driver.Name(), loops, err)
			}
		}
	}
}

// TestAddressInUseByReusePort: a listener with SO_REUSEPORT takes in any number
// of others, but only if they want it too.
func TestAddressInUseByReusePort(t *testing.T) {
	for _, driver := range engines.All() {
		shared := startEcho(t, driver, netpoll.Config{Loops: 2, Listen: []string{"127.0.0.1:0"}, ReusePort: true})
		address := shared.Addrs()[0].String()
		if _, err := driver.Start(netpoll.Config{Loops: 2, Listen: []string{address}}, noHandler); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%s: joined a shared port without ReusePort: %v", driver.Name(), err)
		}
		startEcho(t, driver, netpoll.Config{Loops: 2, Listen: []string{address}, ReusePort: true})
	}
}

func TestBadConfig(t *testing.T) {
	for _, driver := range engines.All() {
		for _, tt := range []struct {
			cfg  netpoll.Config
			want string
		}{
			{netpoll.Config{Loops: -1}, "Loops"},
			{netpoll.Config{Loops: netpoll.MaxLoops + 1}, "Loops"},
			{netpoll.Config{MaxConns: netpoll.MaxSlots + 1}, "MaxConns"},
			{netpoll.Config{TickInterval: -time.Second}, "TickInterval"},
			{netpoll.Config{Listen: []string{"nonsense"}}, "nonsense"},
			{netpoll.Config{Listen: []string{"127.0.0.1:0", "127.0.0.1:99999"}}, "99999"},
			{netpoll.Config{Listen: []string{"unix:" + t.TempDir() + "/no/such/folder"}}, "no/such/folder"},
		} {
			if _, err := driver.Start(tt.cfg, noHandler); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Start(%s, %+v) = %v, want an error about %q", driver.Name(), tt.cfg, err, tt.want)
			}
		}
	}
}

func TestUnixSocketFile(t *testing.T) {
	for _, driver := range engines.All() {
		t.Run(driver.Name(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			cfg := netpoll.Config{Loops: 2, Listen: []string{"unix:" + path}}
			dead, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			dead.(*net.UnixListener).SetUnlinkOnClose(false)
			dead.Close() // its file stays, as that of a killed server

			e := startEcho(t, driver, cfg)
			wantEcho(t, dial(t, e), "on a dead server's path")
			if _, err := driver.Start(cfg, noHandler); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("a living server's socket was taken: %v", err)
			}
			wantEcho(t, dial(t, e), "still there")
			e.StopAccepting()
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("the file is still there after StopAccepting: %v", err)
			}

			if err := os.WriteFile(path, []byte("not a socket"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := driver.Start(cfg, noHandler); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("listening over a plain file: %v", err)
			}
			if got, err := os.ReadFile(path); string(got) != "not a socket" {
				t.Errorf("the plain file has become %q, %v", got, err)
			}
		})
	}
}

// TestSuccessorsFileStays: a successor has put its own socket on the path.
func TestSuccessorsFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	driver := engines.All()[0]
	first := startEcho(t, driver, netpoll.Config{Loops: 1, Listen: []string{"unix:" + path}})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := startEcho(t, driver, netpoll.Config{Loops: 1, Listen: []string{"unix:" + path}})
	first.StopAccepting()
	wantEcho(t, dial(t, second), "the successor's")
}
