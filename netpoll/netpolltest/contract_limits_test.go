//go:build linux || darwin || freebsd

package netpolltest

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// wantRefused checks that a new connection ends without an echo.
func wantRefused(t *testing.T, what string, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s: read %d bytes, %v, want the connection to end", what, n, err)
	}
	conn.Close()
}

func testMaxConns(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.MaxConns = 4
	r := newRig(t, start, cfg, hooks{})
	var conns []net.Conn
	for range 4 {
		conn, _ := r.open()
		conns = append(conns, conn)
	}
	for range 10 {
		wantRefused(t, "one too many", r.dial(0))
	}
	r.wantStats("MaxConns reached", func(s netpoll.Stats) bool { return s.RefusedMaxConns == 10 && s.Conns == 4 })
	r.on(0, func(l netpoll.Loop) {
		fds := socketPair(t)
		if err := l.Attach(fds[0], netpoll.AttachTag); !errors.Is(err, netpoll.ErrTooManyConns) {
			t.Errorf("Attach of one too many says %v, want ErrTooManyConns", err)
		}
		wantOurs(t, fds[0])
		closeAll(fds[:])
	})
	for _, conn := range conns {
		r.wantEcho("connected before", conn)
	}
	conns[2].Close()
	r.eventually("one leaves", func() bool { return r.engine.Stats().Conns == 3 })
	r.wantEcho("a newcomer in the place of one who left", r.dial(0))
	wantRefused(t, "one too many again", r.dial(0))
}

// scarceEnv marks the child process of testNoDescriptorLeft.
const scarceEnv = "ROOST_CONTRACT_SCARCE"

// testNoDescriptorLeft runs itself in a process of its own, because the limit on
// descriptors is the process's.
func testNoDescriptorLeft(t *testing.T, start startFunc) {
	if os.Getenv(scarceEnv) != "" {
		scarce(t, start)
		return
	}
	runProcess(t, ownPattern(t), scarceEnv+"=1")
}

func scarce(t *testing.T, start startFunc) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, start, testConfig(), hooks{})
	var conns []net.Conn
	for range 20 {
		conn, _ := r.open()
		conns = append(conns, conn)
	}
	wantEchoes := func(when string) {
		t.Helper()
		for _, conn := range conns {
			r.wantEcho("a connection from before, "+when, conn)
		}
	}

	hoard := takeAllDescriptors(t)
	// The client's own end takes the one descriptor that is freed.
	for range 30 {
		hoard = giveBack(t, hoard, 1)
		wantRefused(t, "no descriptor left", dialScarce(r))
		wantEchoes("with no descriptor left")
		hoard = append(hoard, takeAllDescriptors(t)...)
	}
	r.wantStats("30 refused, 20 served", func(s netpoll.Stats) bool {
		return s.RefusedNoDescriptor == 30 && s.Conns == 20 && s.AcceptErrors == 0
	})

	// Few left: served or refused, but never left waiting.
	for few := 2; few < 8; few++ {
		hoard = giveBack(t, hoard, few)
		conn := dialScarce(r)
		if err := echo(conn); err != nil && !isEnd(err) {
			t.Fatalf("with %d descriptors left: %v", few, err)
		}
		conn.Close()
		r.eventually("the newcomer leaves", func() bool { return r.engine.Stats().Conns == 20 })
		wantEchoes("with few descriptors left")
		hoard = append(hoard, takeAllDescriptors(t)...)
	}

	giveBack(t, hoard, len(hoard))
	for range 20 {
		r.wantEcho("a newcomer when there is room again", r.dial(0))
	}
	wantEchoes("afterwards")
	select {
	case <-r.engine.Done():
		t.Errorf("the engine has ended: %v", r.engine.Err())
	default:
	}
}

// dialScarce dials until the client's own end gets a descriptor: an engine that
// looks whether there are descriptors again may hold the free one for a moment.
func dialScarce(r *rig) (conn net.Conn) {
	addr := r.engine.Addrs()[0]
	r.eventually("a descriptor for the client", func() bool {
		var err error
		conn, err = net.Dial(addr.Network(), addr.String())
		if err != nil && !errors.Is(err, syscall.EMFILE) {
			r.t.Fatalf("Dial: %v", err)
		}
		return err == nil
	})
	return r.adopt(conn)
}

// isEnd reports whether err is how a refused connection ends.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func takeAllDescriptors(t *testing.T) (fds []int) {
	for {
		fd, err := syscall.Dup(0)
		if err == syscall.EMFILE {
			return fds
		}
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
}

func giveBack(t *testing.T, fds []int, n int) []int {
	if n > len(fds) {
		t.Fatalf("%d descriptors to give back, %d taken", n, len(fds))
	}
	closeAll(fds[len(fds)-n:])
	return fds[:len(fds)-n]
}

// testStopAccepting: the system refuses new connections, open ones stay.
func testStopAccepting(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.Listen = append(cfg.Listen, "unix:"+t.TempDir()+"/s")
	r := newRig(t, start, cfg, hooks{})
	tcp, unixConn := r.dial(0), r.dial(1)
	r.wantEcho("before", tcp)
	r.wantEcho("before", unixConn)
	addrs := r.engine.Addrs()
	r.engine.StopAccepting()
	r.engine.StopAccepting()
	for _, addr := range addrs {
		if conn, err := net.Dial(addr.Network(), addr.String()); err == nil {
			conn.Close()
			t.Errorf("%v still accepts", addr)
		}
	}
	if ln, err := net.Listen("tcp", addrs[0].String()); err != nil {
		t.Errorf("the port is not free: %v", err)
	} else {
		ln.Close()
	}
	r.wantEcho("after", tcp)
	r.wantEcho("after", unixConn)
	if got := r.engine.Addrs(); len(got) != 2 {
		t.Errorf("Addrs = %v, want them to stay", got)
	}
}

// testEngineClose: everything ends, whatever it is doing. That nothing is left
// is checked by the rig.
func testEngineClose(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.SendBufferBytes = 32 << 10
	cfg.LingerTimeout = time.Hour
	r := newRig(t, start, cfg, hooks{})
	flood := pattern(8 << 20)
	var idle []netpoll.ID
	for i := range 60 {
		_, id := r.open()
		r.on(id.Loop(), func(l netpoll.Loop) {
			switch i % 4 {
			case 1:
				l.PauseRead(id)
			case 2:
				l.Write(id, flood)
			case 3:
				l.Close(id)
			}
		})
		if i%4 != 3 {
			idle = append(idle, id)
		}
	}
	_, own := r.open()
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := r.engine.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	closers.Wait()
	select {
	case <-r.engine.Done():
	default:
		t.Error("not done after Close")
	}
	if err := r.engine.Err(); err != nil {
		t.Errorf("Err after Close = %v, want nil", err)
	}
	for _, id := range append(idle, own) {
		r.wantClose("engine closed", id, netpoll.ErrEngineClosed)
	}
	r.engine.StopAccepting()
}

// testSocketOptions reads the options back from an accepted connection.
func testSocketOptions(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.SendBufferBytes = 50_000
	cfg.KeepAlive = 77 * time.Second
	cfg.UserTimeout = 33 * time.Second
	r := newRig(t, start, cfg, hooks{})
	_, id := r.open()
	r.on(id.Loop(), func(l netpoll.Loop) {
		fd := l.FD(id)
		option := func(level, name int) int {
			value, err := unix.GetsockoptInt(fd, level, name)
			if err != nil {
				t.Errorf("getsockopt(%d, %d): %v", level, name, err)
			}
			return value
		}
		if option(unix.IPPROTO_TCP, unix.TCP_NODELAY) == 0 {
			t.Error("TCP_NODELAY is off")
		}
		if option(unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 {
			t.Error("SO_KEEPALIVE is off")
		}
		if got := option(unix.SOL_SOCKET, unix.SO_SNDBUF); got < 50_000 || got > 100_000 { // Linux doubles it
			t.Errorf("SO_SNDBUF = %d, want 50,000 or its double", got)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("the descriptor would be inherited by other programs (flags %x, %v)", flags, err)
		}
		if runtime.GOOS != "linux" {
			return
		}
		const tcpKeepIdle, tcpUserTimeout = 4, 18
		if got := option(unix.IPPROTO_TCP, tcpKeepIdle); got != 77 {
			t.Errorf("TCP_KEEPIDLE = %d, want 77", got)
		}
		if got := option(unix.IPPROTO_TCP, tcpUserTimeout); got != 33_000 {
			t.Errorf("TCP_USER_TIMEOUT = %d, want 33,000", got)
		}
	})
	cfg = testConfig()
	r = newRig(t, start, cfg, hooks{})
	_, id = r.open()
	r.on(id.Loop(), func(l netpoll.Loop) {
		if got, err := unix.GetsockoptInt(l.FD(id), unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != 0 || err != nil {
			t.Errorf("SO_KEEPALIVE = %d, %v, want off", got, err)
		}
	})
}

// testDeferAccept: on Linux a connection is not there before it speaks.
func testDeferAccept(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.DeferAccept = 10 * time.Second
	r := newRig(t, start, cfg, hooks{})
	silent := r.dial(0)
	for range 10 {
		r.wantEcho("a connection that speaks", r.dial(0))
	}
	if runtime.GOOS == "linux" {
		if got := len(r.openings()); got != 10 {
			t.Errorf("%d connections accepted, want the 10 that spoke", got)
		}
	}
	r.wantEcho("the silent one speaks", silent)
}
