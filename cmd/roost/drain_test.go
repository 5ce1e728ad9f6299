package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/internal/wstest"
)

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// glut opens a client of an echo that reads nothing: what it sends comes back until
// nothing more goes either way.
func glut(t *testing.T, addr string) {
	c := dial(t, addr, "/")
	message := []byte(strings.Repeat("x", 60<<10))
	for {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		if err := wsutil.WriteClientText(c.Conn, message); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil {
			t.Errorf("a client that does not read: %v", err)
			return
		}
	}
}

// A server that is to stop says so, serves on, and lets its clients go one after the
// other, each with a moment of its own to come back. Clients that read nothing do not
// keep it. It does so for a signal and for roost drain.
func TestDrain(t *testing.T) {
	t.Parallel()
	const delay, over, rest = time.Second, 2 * time.Second, 25 * time.Second
	slot := regexp.MustCompile(`^server is going away; retry=\d+$`)
	for _, how := range []string{"SIGTERM", "roost drain"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := startRoost(t, loopback("--echo", "--admin-addr", "0", "--close-timeout", "1h", "--write-stall-timeout", "1h", "--send-buffer-bytes", "65536",
				"--drain-delay", delay.String(), "--drain-over", over.String(), "--shutdown-timeout", rest.String())...)
			admin := p.adminURL()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { glut(t, p.addr) })
			}
			wg.Wait()
			clients := make([]*client, 50)
			for i := range clients {
				clients[i] = dial(t, p.addr, "/")
			}
			begun := time.Now()
			if how == "SIGTERM" {
				p.signal(syscall.SIGTERM)
			} else if code, out, errs := roost("", "drain", "--url", admin); code != exitOK || !strings.Contains(out, " closes 70 connections over 2s, after 1s; it ends within 28s") {
				t.Fatalf("roost drain: %d %q %q", code, out, errs)
			}
			await(t, "the admin port says that it is to stop", func() bool { status, _ := get(t, admin+"/readyz", ""); return status == 503 })
			if status, _ := get(t, admin+"/healthz", ""); status != 200 {
				t.Errorf("/healthz: %d while it drains: a supervisor would kill it", status)
			}
			if time.Since(begun) < delay { // else there was no time to look
				if status, _ := get(t, "http://"+p.addr+"/readyz", ""); status != 503 && time.Since(begun) < delay {
					t.Errorf("/readyz of the clients' port: %d", status)
				}
			}
			for _, c := range clients {
				wg.Go(func() {
					if _, _, err := c.Receive(); err == nil {
						t.Error("a client got a message")
					} else if closed := (wsutil.ClosedError{}); !errors.As(err, &closed) || closed.Code != ws.StatusGoingAway || !slot.MatchString(closed.Reason) {
						t.Errorf("a client was told %v", err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(begun); took < delay+over*9/10 {
				t.Errorf("all were told within %v: the last one's moment is after %v", took, delay+over)
			}
			p.wantExit(exitOK)
			if took := time.Since(begun); took > delay+over+rest {
				t.Errorf("it took %v", took)
			}
			if strings.Contains(p.said(), "did not close in time") {
				t.Error("clients that do not read kept it until its deadline")
			}
		})
	}
}

// redial opens a WebSocket at addr, with another attempt for a client whose connection
// was in the queue of the listener that was just closed.
func redial(t *testing.T, addr string) (c *client) {
	t.Helper()
	await(t, "a connection to "+addr, func() bool {
		conn, err := tryDial(addr, "/")
		if err != nil {
			return false
		}
		c = &client{wstest.New(t, conn)}
		return true
	})
	return c
}

// A rolling restart: two processes share both ports with --reuse-port, and the first one
// leaves its clients to the second.
func TestRollingRestartReusePort(t *testing.T) {
	t.Parallel()
	addr, admin := freeAddr(t), freeAddr(t)
	serve := func() *process {
		return startRoost(t, "--addr", addr, "--admin-addr", admin, "--reuse-port", "--relay", "--drain-over", "500ms")
	}
	old := serve()
	clients := make([]*client, 30)
	for i := range clients {
		clients[i] = dial(t, addr, "/")
	}
	young := serve()
	old.signal(syscall.SIGTERM)
	for i, c := range clients {
		c.WantClosing(ws.StatusGoingAway)
		clients[i] = redial(t, addr)
	}
	old.wantExit(exitOK)
	wantHere(t, young, "http://"+admin, len(clients))
	clients[0].Send("moved")
	for _, c := range clients {
		c.Want("moved")
	}
}

// The same with sockets of systemd's: they outlive the processes, and nobody is refused.
func TestRollingRestartSystemd(t *testing.T) {
	t.Parallel()
	sockets, addr := listeningFile(t, "tcp", "127.0.0.1:0")
	adminSocket, admin := listeningFile(t, "tcp", "127.0.0.1:0")
	serve := func() *process {
		return startRoostAs(t, func(p *process) {
			p.cmd.ExtraFiles = []*os.File{sockets, adminSocket}
			p.cmd.Env = append(p.cmd.Env, asActivated+"=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=ws:admin")
		}, "--addr", "systemd:ws", "--admin-addr", "systemd:admin", "--relay", "--drain-over", "500ms")
	}
	old := serve()
	clients := make([]*client, 30)
	for i := range clients {
		clients[i] = dial(t, addr.String(), "/")
	}
	if code, out, errs := roost("", "drain", "--url", "http://"+admin.String()); code != exitOK {
		t.Fatalf("roost drain: %d %q %q", code, out, errs)
	}
	waiting, err := net.Dial("tcp", addr.String()) // it waits in the queue, or comes to the old one
	if err != nil {
		t.Fatalf("between two processes: %v", err)
	}
	defer waiting.Close()
	for _, c := range clients {
		c.WantClosing(ws.StatusGoingAway)
	}
	old.wantExit(exitOK)
	young := serve()
	for i := range clients {
		clients[i] = dial(t, addr.String(), "/")
	}
	wantHere(t, young, "http://"+admin.String(), len(clients))
	clients[0].Send("moved")
	for _, c := range clients {
		c.Want("moved")
	}
}

// wantHere waits until the process, whose admin port that is, has n clients.
func wantHere(t *testing.T, p *process, admin string, n int) {
	t.Helper()
	if got := p.adminURL(); got != admin {
		t.Fatalf("its admin port is %s, want %s", got, admin)
	}
	await(t, "all clients are here", func() bool {
		_, body := get(t, admin+"/v1/stats", "")
		return strings.Contains(body, fmt.Sprintf(`"connections":%d,`, n))
	})
}
