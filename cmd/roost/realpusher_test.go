//go:build realclients

package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// A cuttable line carries connections to a server. A request for /cut is not for the server:
// it ends all of them.
type cuttable struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn // guarded by mu
}

func newCuttable(t *testing.T, to string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &cuttable{listener: listener}
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(near, to)
		}
	}()
	return listener.Addr().String()
}

func (l *cuttable) carry(near net.Conn, to string) {
	l.mu.Lock()
	l.conns = append(l.conns, near)
	l.mu.Unlock()
	first := make([]byte, 4096)
	n, err := near.Read(first)
	if err != nil || strings.HasPrefix(string(first[:n]), "GET /cut ") {
		l.cut()
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		_ = near.Close()
		return
	}
	defer far.Close()
	defer near.Close()
	if _, err := far.Write(first[:n]); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	}()
	_, _ = io.Copy(far, near)
}

func (l *cuttable) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// pusherScript runs the clients of Pusher against the binary.
func pusherScript(t *testing.T, where ...string) {
	nodePath(t)
	hooks, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := hooks.Addr().(*net.TCPAddr).Port
	_ = hooks.Close() // for the script
	p := startRoost(t, loopback("--origins", "*", "--pusher-apps", fmt.Sprintf(`[{id: one, key: one-key, secret: one-secret, client-events: true, subscription-counts: true,
		webhook-url: "http://127.0.0.1:%d", webhook-events: [channel_occupied, channel_vacated, member_added, member_removed, client_event, cache_miss, subscription_count]},
		{id: two, key: two-key, secret: two-secret}]`, port))...)
	script(t, "node", "pusher.js", append([]string{p.addr, newCuttable(t, p.addr), fmt.Sprint(port)}, where...)...)
}

// Unchanged pusher-js, laravel-echo and pusher, the library of back ends, in Node.js.
func TestRealClientPusher(t *testing.T) {
	t.Parallel()
	pusherScript(t)
}

// The bundles of the clients in a page of Chromium do the same.
func TestBrowserPusher(t *testing.T) {
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	pusherScript(t, "chromium")
}
