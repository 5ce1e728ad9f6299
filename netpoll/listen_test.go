//go:build linux || darwin || freebsd

package netpoll

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// noHandler is for engines that must not start.
func noHandler(Loop) Handler { panic("the engine started") }

func TestPortIsOneForAllLoops(t *testing.T) {
	for _, kind := range ownKinds() {
		t.Run(string(kind), func(t *testing.T) {
			e := startEcho(t, kind, Config{Loops: 8, Listen: []string{"127.0.0.1:0", ":0"}})
			inner := e.(*engine)
			for listen, addr := range e.Addrs() {
				for loop, own := range inner.listeners {
					got, err := boundPort(own[listen].fd)
					if err != nil || got != addr.(*net.TCPAddr).Port {
						t.Errorf("loop %d listens on port %d, %v, want %v", loop, got, err, addr)
					}
				}
			}
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
	for _, kind := range ownKinds() {
		for _, loops := range []int{1, 2} {
			_, err := Start(kind, Config{Loops: loops, Listen: []string{address}}, noHandler)
			if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), address) {
				t.Errorf("%s with %d loops on a taken port: %v, want EADDRINUSE and the address", kind, loops, err)
			}
		}
	}
}

// TestAddressInUseByReusePort: a listener with SO_REUSEPORT takes in any number
// of others, but only if they want it too.
func TestAddressInUseByReusePort(t *testing.T) {
	for _, kind := range ownKinds() {
		shared := startEcho(t, kind, Config{Loops: 2, Listen: []string{"127.0.0.1:0"}, ReusePort: true})
		address := shared.Addrs()[0].String()
		if _, err := Start(kind, Config{Loops: 2, Listen: []string{address}}, noHandler); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%s: joined a shared port without ReusePort: %v", kind, err)
		}
		startEcho(t, kind, Config{Loops: 2, Listen: []string{address}, ReusePort: true})
	}
}

func TestBadConfig(t *testing.T) {
	for _, kind := range ownKinds() {
		for _, tt := range []struct {
			cfg  Config
			want string
		}{
			{Config{Loops: -1}, "Loops"},
			{Config{Loops: MaxLoops + 1}, "Loops"},
			{Config{MaxConns: MaxSlots + 1}, "MaxConns"},
			{Config{TickInterval: -time.Second}, "TickInterval"},
			{Config{Listen: []string{"nonsense"}}, "nonsense"},
			{Config{Listen: []string{"127.0.0.1:0", "127.0.0.1:99999"}}, "99999"},
			{Config{Listen: []string{"unix:" + t.TempDir() + "/no/such/folder"}}, "no/such/folder"},
		} {
			if _, err := Start(kind, tt.cfg, noHandler); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Start(%s, %+v) = %v, want an error about %q", kind, tt.cfg, err, tt.want)
			}
		}
	}
	if _, err := Start("carrier pigeon", Config{}, noHandler); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestUnixSocketFile(t *testing.T) {
	for _, kind := range ownKinds() {
		t.Run(string(kind), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			cfg := Config{Loops: 2, Listen: []string{"unix:" + path}}
			dead, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			dead.(*net.UnixListener).SetUnlinkOnClose(false)
			dead.Close() // its file stays, as that of a killed server

			e := startEcho(t, kind, cfg)
			wantEcho(t, dial(t, e), "on a dead server's path")
			if _, err := Start(kind, cfg, noHandler); !errors.Is(err, unix.EADDRINUSE) {
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
			if _, err := Start(kind, cfg, noHandler); !errors.Is(err, unix.EADDRINUSE) {
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
	kind := ownKinds()[0]
	first := startEcho(t, kind, Config{Loops: 1, Listen: []string{"unix:" + path}})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := startEcho(t, kind, Config{Loops: 1, Listen: []string{"unix:" + path}})
	first.StopAccepting()
	wantEcho(t, dial(t, second), "the successor's")
}
