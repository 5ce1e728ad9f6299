//go:build linux || darwin || freebsd

package netpolltest

import (
	"flag"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
)

// startFunc starts the engine under test.
type startFunc func(cfg netpoll.Config, newHandler func(l netpoll.Loop) netpoll.Handler) (netpoll.Engine, error)

// TestContract holds each engine of this system to every sentence of the contract
// in package netpoll, on real sockets. Beside what each part looks at, a referee
// watches in all of them the rules that hold at any time, and at the end of each
// nothing may be left over: no connection, no descriptor, no goroutine.
//
// It counts the descriptors of the process, beside which nothing else may run:
// each engine has a process of its own.
func TestContract(t *testing.T) {
	own := os.Getenv(engineEnv)
	for _, driver := range engines.All() {
		if own != "" && own != driver.Name() {
			continue // another process tests it
		}
		t.Run(driver.Name(), func(t *testing.T) {
			if own != "" {
				testContract(t, driver)
				return
			}
			t.Parallel()
			run := flag.Lookup("test.run").Value.String()
			if !strings.Contains(run, "/") {
				run = ownPattern(t)
			}
			runProcess(t, run, engineEnv+"="+driver.Name())
		})
	}
}

// engineEnv names, in a process of TestContract, the engine that it tests.
const engineEnv = "ROOST_CONTRACT_ENGINE"

// runProcess runs tests of this program in another process, with one more
// variable in its environment. The test that calls it must be among them.
func runProcess(t *testing.T, pattern, variable string) {
	cmd := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), variable)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a process with %s: %v\n%s", variable, err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// ownPattern returns the -test.run pattern of the calling test.
func ownPattern(t *testing.T) string {
	return "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
}

func testContract(t *testing.T, driver netpoll.Driver) {
	start := driver.Start
	warmUp(t, start)
	for _, part := range []struct {
		name string
		test func(t *testing.T, start startFunc)
	}{
		{"Start", testStart},
		{"AddressInUse", testAddressInUse},
		{"Listeners", testListeners},
		{"NoListener", testNoListener},
		{"SocketOptions", testSocketOptions},
		{"DeferAccept", testDeferAccept},
		{"Identity", testIdentity},
		{"StaleID", testStaleID},
		{"Renew", testRenew},

		{"DataAtOnce", testDataAtOnce},
		{"DataBuffer", testDataBuffer},
		{"Writev", testWritev},
		{"WriteBatch", testWriteBatch},
		{"ShortWrite", testShortWrite},
		{"WriteKeepsNothing", testWriteKeepsNothing},
		{"PauseRead", testPauseRead},
		{"PauseReadBound", func(t *testing.T, start startFunc) {
			testPauseReadBound(t, start, driver.Name() == "gnet")
		}},

		{"CloseReasons", testCloseReasons},
		{"WriteError", testWriteError},
		{"CloseDelivers", testCloseDelivers},
		{"CloseTimesOut", testCloseTimesOut},
		{"CloseAnywhere", testCloseAnywhere},
		{"AbortStalled", testAbortStalled},
		{"VanishAndReturn", testVanishAndReturn},

		{"WakeCoalesces", testWakeCoalesces},
		{"WakeInsideOnWake", testWakeInsideOnWake},
		{"WakeHammer", testWakeHammer},
		{"WakeYieldsToSockets", testWakeYieldsToSockets},
		{"WakeAfterClose", testWakeAfterClose},
		{"WakeDuringClose", testWakeDuringClose},
		{"Ticks", testTicks},
		{"Panics", testPanics},

		{"MaxConns", testMaxConns},
		{"NoDescriptorLeft", testNoDescriptorLeft},
		{"AttachConnected", testAttachConnected},
		{"AttachConnecting", testAttachConnecting},
		{"AttachRefused", testAttachRefused},
		{"StopAccepting", testStopAccepting},
		{"EngineClose", testEngineClose},
		{"Chaos", testChaos},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, start) })
	}
}

// warmUp makes what the process makes once and keeps, so that the counts of
// descriptors and goroutines are steady.
func warmUp(t *testing.T, start startFunc) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // Go's own poller
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	engine, err := start(testConfig(), func(l netpoll.Loop) netpoll.Handler {
		return &rigHandler{rig: &rig{}, loop: l}
	})
	if err != nil {
		t.Fatal(err)
	}
	engine.Close()
}

func testStart(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	if got := len(r.engine.Loops()); got != 2 {
		t.Fatalf("%d loops, want 2", got)
	}
	for i, l := range r.engine.Loops() {
		if l.Index() != i || r.loops[i] == nil {
			t.Errorf("loop %d has index %d and handler %v", i, l.Index(), r.loops[i])
		}
	}
	for range 10 {
		r.wantEcho("echo", r.dial(0))
	}
	r.wantStats("10 echoes", func(s netpoll.Stats) bool {
		return s.Conns == 10 && s.Accepted == 10 && s.Attached == 0 && s.ShortWrites == 0 &&
			s.Reads >= 10 && s.Writes >= 10 && s.BytesRead > 100 && s.BytesRead == s.BytesWritten
	})
	select {
	case <-r.engine.Done():
		t.Errorf("the engine is done: %v", r.engine.Err())
	default:
	}
}

func testAddressInUse(t *testing.T, start startFunc) {
	first := newRig(t, start, testConfig(), hooks{})
	cfg := testConfig()
	cfg.Listen = []string{"127.0.0.1:0", first.engine.Addrs()[0].String()}
	fds := countDescriptors(t)
	newHandler := func(l netpoll.Loop) netpoll.Handler {
		return &rigHandler{rig: first, loop: l}
	}
	if e, err := start(cfg, newHandler); err == nil {
		e.Close()
		t.Fatal("a second engine listens on the same port, without ReusePort")
	}
	wantBack(t, "descriptors", fds, func() int { return countDescriptors(t) })

	cfg.ReusePort, cfg.Listen = true, cfg.Listen[:1]
	shared := newRig(t, start, cfg, hooks{})
	cfg.Listen = []string{shared.engine.Addrs()[0].String()}
	second := newRig(t, start, cfg, hooks{})
	for range 50 {
		shared.wantEcho("one of two engines on a port", shared.dial(0))
	}
	a, b := len(shared.openings()), len(second.openings())
	if a == 0 || b == 0 || a+b != 50 {
		t.Errorf("two engines on one port took %d and %d of 50 connections", a, b)
	}
}

func testListeners(t *testing.T, start startFunc) {
	cfg := testConfig()
	path := t.TempDir() + "/s"
	cfg.Listen = []string{"127.0.0.1:0", "[::1]:0", "unix:" + path, "127.0.0.1:0", ":0"}
	r := newRig(t, start, cfg, hooks{})
	addrs := r.engine.Addrs()
	if len(addrs) != len(cfg.Listen) {
		t.Fatalf("Addrs: %v, want one for each of %v", addrs, cfg.Listen)
	}
	for i, addr := range addrs {
		if tcp, ok := addr.(*net.TCPAddr); ok && tcp.Port == 0 {
			t.Errorf("Addrs[%d] = %v, want the port that was chosen", i, addr)
		}
		before := len(r.openings())
		r.wantEcho(addr.String(), r.dial(i))
		if got := r.openings()[before].tag; got != uint64(i) {
			t.Errorf("OnOpen says listener %d, want %d", got, i)
		}
	}
	if addrs[2].Network() != "unix" || addrs[2].String() != path {
		t.Errorf("Addrs[2] = %v, want the unix socket %s", addrs[2], path)
	}
	if addrs[0].String() == addrs[3].String() {
		t.Errorf("two listeners on %v", addrs[0])
	}
}

func testNoListener(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.Listen = nil
	r := newRig(t, start, cfg, hooks{})
	if got := r.engine.Addrs(); len(got) != 0 {
		t.Errorf("Addrs = %v, want none", got)
	}
	r.on(0, func(netpoll.Loop) {})
}

func testIdentity(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.Loops = 1
	r := newRig(t, start, cfg, hooks{})
	var ids [5]netpoll.ID
	for i := range ids {
		_, ids[i] = r.open()
		if got := ids[i].Slot(); got != uint32(i) {
			t.Errorf("connection %d has slot %d: slots are not dense", i, got)
		}
	}
	for _, i := range []int{1, 3} {
		r.on(0, func(l netpoll.Loop) { l.Abort(ids[i]) })
		r.wantClose("aborted", ids[i], netpoll.ErrClosed)
	}
	for _, i := range []int{3, 1} { // last freed, first reused
		_, id := r.open()
		if id.Slot() != ids[i].Slot() || id.Generation() == ids[i].Generation() {
			t.Errorf("the newcomer is %v, want the slot of %v in a new generation", id, ids[i])
		}
	}
}

func testStaleID(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.Loops = 1
	r := newRig(t, start, cfg, hooks{})
	r.open() // keeps the table from being empty
	conn, stale := r.open()
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	r.on(0, func(l netpoll.Loop) {
		if got := l.RemoteAddr(stale); got != local {
			t.Errorf("RemoteAddr = %v, want %v", got, local)
		}
		if fd := l.FD(stale); fd < 0 {
			t.Errorf("FD = %d", fd)
		}
		l.Abort(stale)
	})
	r.wantClose("aborted", stale, netpoll.ErrClosed)
	conn, id := r.open()
	if id.Slot() != stale.Slot() {
		t.Fatalf("the newcomer is %v, want the slot of %v", id, stale)
	}
	r.on(0, func(l netpoll.Loop) {
		for _, id := range []netpoll.ID{
			stale, 0, netpoll.MakeID(0, stale.Slot(), 0), netpoll.MakeID(0, 1000, 1), netpoll.MakeID(0, netpoll.MaxSlots-1, 1),
			netpoll.MakeID(1, id.Slot(), id.Generation()),
		} {
			if n, err := l.Write(id, []byte("stale")); n != 0 || err != netpoll.ErrClosed {
				t.Errorf("Write(%v) = %d, %v, want 0, ErrClosed", id, n, err)
			}
			if n, err := l.Writev(id, [][]byte{[]byte("stale")}); n != 0 || err != netpoll.ErrClosed {
				t.Errorf("Writev(%v) = %d, %v, want 0, ErrClosed", id, n, err)
			}
			if got := l.RemoteAddr(id); got.IsValid() {
				t.Errorf("RemoteAddr(%v) = %v, want none", id, got)
			}
			if got := l.FD(id); got != -1 {
				t.Errorf("FD(%v) = %d, want -1", id, got)
			}
			l.PauseRead(id)
			l.Close(id)
			l.Abort(id)
		}
	})
	r.wantEcho("the slot's new owner", conn)
}
