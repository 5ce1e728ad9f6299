//go:build linux || darwin || freebsd

package gnet

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// The traps of gnet, and the test that would fall into each. C/ stands for
// TestContract/gnet/ in package netpolltest.
//
//	EMFILE ends the engine             C/NoDescriptorLeft, C/MaxConns
//	Execute reorders, starves I/O      C/WakeYieldsToSockets, C/WakeHammer, C/WakeInsideOnWake
//	Discard(0) drops everything        C/DataBuffer, C/PauseRead (Discard is not used)
//	ReadFrom and Flush stall           C/ShortWrite (neither is used)
//	Close truncates                    C/CloseDelivers
//	Write buffers without bound        C/WriteKeepsNothing
//	OnClose inside one's own Write     C/WriteError, C/CloseAnywhere, and the referee in all of C
//	stale Fd, nil RemoteAddr           C/StaleID
//	OnTick is off the loop             C/Ticks: the referee knows the loop's goroutine
//	OnShutdown comes early             C/EngineClose (OnShutdown is not used)
//	NumCPU in containers               TestLoops
//	keep-alive is off                  C/SocketOptions
//	gc_opt makes a close slow          TestBuildTags
//	Enroll takes concrete types        C/AttachConnected, C/AttachConnecting
//	AsyncWrite needs immutable buffers not used: C/DataBuffer writes from the read buffer
//	fd 0 on BSD                        TestBuildTags
//	a panic ends the process           C/Panics
//	a loop that ends, ends silently    TestLoopEnds

// testHandler is a handler of functions; nil ones do nothing.
type testHandler struct {
	loop  netpoll.Loop
	open  func(l netpoll.Loop, id netpoll.ID)
	data  func(l netpoll.Loop, id netpoll.ID, p []byte)
	close func(id netpoll.ID, err error)
	wake  func(l netpoll.Loop)
}

func (h *testHandler) OnOpen(id netpoll.ID, _ uint64) {
	if h.open != nil {
		h.open(h.loop, id)
	}
}

func (h *testHandler) OnData(id netpoll.ID, p []byte) {
	if h.data != nil {
		h.data(h.loop, id, p)
	}
}

func (h *testHandler) OnWritable(netpoll.ID) {}

func (h *testHandler) OnClose(id netpoll.ID, err error) {
	if h.close != nil {
		h.close(id, err)
	}
}

func (h *testHandler) OnWake() bool {
	if h.wake != nil {
		h.wake(h.loop)
	}
	return false
}

func (h *testHandler) OnTick() {}

func startTest(t *testing.T, cfg netpoll.Config, h testHandler) *engine {
	t.Helper()
	e, err := Driver.Start(cfg, func(l netpoll.Loop) netpoll.Handler {
		own := h
		own.loop = l
		return &own
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e.(*engine)
}

// TestLoopEnds: gnet ends a loop when epoll_wait fails, without a
// report. The engine must not go on with a loop less.
func TestLoopEnds(t *testing.T) {
	closed := make(chan error, 10)
	opened := make(chan netpoll.ID, 10)
	e := startTest(t, netpoll.Config{Loops: 2, Listen: []string{"127.0.0.1:0"}}, testHandler{
		open:  func(_ netpoll.Loop, id netpoll.ID) { opened <- id },
		close: func(_ netpoll.ID, err error) { closed <- err },
	})
	for range 6 {
		dial(t, e)
		<-opened
	}
	err := e.loops[1].eventLoop.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		return gneterrors.ErrEngineShutdown
	}))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Done():
	case <-time.After(patience):
		t.Fatal("a loop has ended, and the engine goes on")
	}
	if err := e.Err(); !errors.Is(err, errLoopEnded) {
		t.Errorf("Err() = %v, want %v", err, errLoopEnded)
	}
	if err := e.Close(); !errors.Is(err, errLoopEnded) {
		t.Errorf("Close() = %v, want %v", err, errLoopEnded)
	}
	for range 6 {
		if err := <-closed; err != netpoll.ErrEngineClosed {
			t.Errorf("OnClose says %v, want ErrEngineClosed", err)
		}
	}
	if s := e.Stats(); s.Conns != 0 {
		t.Errorf("%d connections are left", s.Conns)
	}
}

// TestLoops: the number of loops is ours, and each loop is one of gnet's.
func TestLoops(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		e := startTest(t, netpoll.Config{Loops: n}, testHandler{})
		seen := make(map[gnet.EventLoop]bool)
		for _, l := range e.loops {
			seen[l.eventLoop] = true
		}
		if len(e.Loops()) != n || len(seen) != n || seen[nil] {
			t.Errorf("Loops: %d gave %d loops on %d of gnet's", n, len(e.Loops()), len(seen))
		}
	}
}

// TestBuildTags: gnet's gc_opt makes a close cost 26 us and more. And
// descriptor 0, which gnet's kqueue uses for waking, must not be a socket's.
func TestBuildTags(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build information")
	}
	for _, setting := range info.Settings {
		if setting.Key == "-tags" && strings.Contains(setting.Value, "gc_opt") {
			t.Errorf("built with -tags %s", setting.Value)
		}
	}
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Errorf("descriptor 0 is closed: %v", err)
	}
}

// TestAttachFails: gnet cannot take what was attached. The connection opens,
// as promised, and closes.
func TestAttachFails(t *testing.T) {
	ends := make(chan error, 1)
	opened := 0
	result := make(chan error, 1)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[1])
	attach := true
	e := startTest(t, netpoll.Config{Loops: 1, TickInterval: time.Hour}, testHandler{
		open: func(l netpoll.Loop, id netpoll.ID) {
			opened++
			// The descriptor is closed under gnet's feet.
			_ = l.(*loop).joining[id.Slot()].file.Close()
		},
		close: func(_ netpoll.ID, err error) { ends <- err },
		wake: func(l netpoll.Loop) {
			if attach {
				attach = false
				result <- l.Attach(fds[0], netpoll.AttachTag)
			}
		},
	})
	e.loops[0].Wake()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ends:
		if err == nil || opened != 1 {
			t.Errorf("OnOpen came %d times, OnClose says %v, want once, an error", opened, err)
		}
	case <-time.After(patience):
		t.Fatal("no OnClose for a socket that gnet did not take")
	}
	_ = e.Close()
	if n := e.Reserved(); n != 0 {
		t.Errorf("%d places of MaxConns are still taken", n)
	}
}

// TestAllocations: the paths of a message allocate nothing.
func TestAllocations(t *testing.T) {
	type result struct {
		name   string
		allocs float64
	}
	results := make(chan result, 3)
	e := startTest(t, netpoll.Config{Loops: 1, Listen: []string{"127.0.0.1:0"}, TickInterval: time.Hour}, testHandler{
		open: func(l netpoll.Loop, id netpoll.ID) {
			p := []byte("x")
			bufs := [][]byte{p, p}
			results <- result{"Write", testing.AllocsPerRun(100, func() { _, _ = l.Write(id, p) })}
			results <- result{"Writev", testing.AllocsPerRun(100, func() { _, _ = l.Writev(id, bufs) })}
			results <- result{"Wake", testing.AllocsPerRun(100, func() {
				l.(*loop).Woken.Store(false)
				l.(*loop).rung.Store(false)
				l.Wake()
			})}
		},
	})
	dial(t, e)
	for range 3 {
		if r := <-results; r.allocs != 0 {
			t.Errorf("%s allocates %v times, want 0", r.name, r.allocs)
		}
	}
}

// TestSpare: with the spare descriptor all waiting clients are refused, and none
// while there are descriptors.
func TestSpare(t *testing.T) {
	e := startTest(t, netpoll.Config{Loops: 1, Listen: []string{"127.0.0.1:0"}}, testHandler{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		conns = append(conns, conn)
	}
	e.refuse(ln)
	if got := e.Stats().RefusedNoDescriptor; got != 0 {
		t.Errorf("%d refused although there are descriptors", got)
	}
	if err := onListener(ln, e.refuseAll); err != nil {
		t.Errorf("refuseAll: %v", err)
	}
	if got := e.Stats().RefusedNoDescriptor; got != 3 {
		t.Errorf("%d refused, want 3", got)
	}
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a refused connection reads %v, want EOF", err)
		}
	}
}

// patience bounds every wait of these tests; none is expected to take it.
const patience = time.Minute

// dial connects to the engine's first listener.
func dial(t *testing.T, e *engine) net.Conn {
	t.Helper()
	addr := e.Addrs()[0]
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}
