package bench

import (
	"bytes"
	"compress/flate"
	"context"
	"io"
	"net"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A meter counts what a decoy gets, and calls enough once.
type meter struct {
	net.Listener
	conns, bytes         atomic.Int64
	wantConns, wantBytes int64
	enough               func()
}

func (m *meter) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	if n := m.conns.Add(1); err == nil && n > m.wantConns && m.wantBytes == 0 {
		m.enough()
	}
	return &meteredConn{conn, m}, err
}

type meteredConn struct {
	net.Conn
	m *meter
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if all := c.m.bytes.Add(int64(n)); c.m.wantBytes > 0 && all >= c.m.wantBytes {
		c.m.enough()
	}
	return n, err
}

// Every hostile client finds on the decoy what it would find on a server: those
// that are thrown out come back, the others stay and go on.
func TestDecoy(t *testing.T) {
	for i := range hostileKinds {
		k := &hostileKinds[i]
		for _, secure := range []bool{false, true} {
			if k.raw && !secure {
				continue
			}
			name, scheme := k.name, "ws://"
			if secure {
				name, scheme = k.name+" over TLS", "wss://"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l, err := net.Listen("tcp4", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				ctx, enough := context.WithTimeout(context.Background(), time.Minute)
				defer enough()
				m := &meter{Listener: l, enough: enough, wantConns: 1, wantBytes: 2 * hostileBytes}
				switch {
				case k.decoy == decoyCloses || k.name == "connects":
					m.wantConns, m.wantBytes = 3, 0
				case k.name == "slow_head":
					m.wantBytes = 40
				case k.decoy == decoyStops:
					m.wantBytes = 100 // the request, and no more
				}
				go serveDecoy(m, k, secure)
				did, err := k.run(ctx, scheme+l.Addr().String()+"/", trust{Insecure: true}, func() {})
				if err != nil || did.Conns < int(m.wantConns) || ctx.Err() == context.DeadlineExceeded {
					t.Errorf("%+v, %v, want %d connections, %v", did, err, m.wantConns, ctx.Err())
				}
				if m.wantConns == 1 && did.Conns != 1 {
					t.Errorf("%d connections, want one that stays", did.Conns)
				}
			})
		}
	}
}

// Clients and servers get processors of their own, and all of them back.
func TestSeparateProcessors(t *testing.T) {
	var pids []int
	for range 2 {
		cmd := exec.Command("sleep", "600")
		endWithParent(cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		pids = append(pids, cmd.Process.Pid)
	}
	sets := func() (sets [2]unix.CPUSet) {
		for i, pid := range pids {
			if err := unix.SchedGetaffinity(pid, &sets[i]); err != nil {
				t.Fatal(err)
			}
		}
		return sets
	}
	before := sets()
	release, err := separateProcessors(pids[:1], pids[1:])
	if runtime.NumCPU() < 2 {
		if err == nil {
			t.Error("one processor was separated")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	now := sets()
	for cpu := range 1024 {
		if now[0].IsSet(cpu) && now[1].IsSet(cpu) {
			t.Errorf("processor %d belongs to both", cpu)
		}
	}
	if c, s := now[0].Count(), now[1].Count(); c == 0 || s < c || c+s != before[0].Count() {
		t.Errorf("%d processors for clients and %d for servers, of %d", c, s, before[0].Count())
	}
	release()
	if sets() != before {
		t.Error("the processors were not given back")
	}
	if err := lowestPriority(pids[0]); err != nil {
		t.Error(err)
	}
}

// The bomb must be one message that inflates to what it claims.
func TestBomb(t *testing.T) {
	r := flate.NewReader(io.MultiReader(bytes.NewReader(bomb()), bytes.NewReader([]byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff})))
	n, err := io.Copy(io.Discard, r)
	if n != 32<<20 || err != nil || len(bomb()) > 48<<10 {
		t.Errorf("%d bytes inflate to %d, %v, want 32 MiB of at most 48 KiB", len(bomb()), n, err)
	}
}
