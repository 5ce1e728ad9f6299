//go:build linux || darwin || freebsd

package netpolltest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
)

// socketPair is two connected unix sockets, non-blocking.
func socketPair(t *testing.T) (fds [2]int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		unix.SetNonblock(fd, true)
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		syscall.Close(fd)
	}
}

// wantOurs checks that fd is still open.
func wantOurs(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Errorf("Attach failed, and the descriptor is gone: %v", err)
	}
}

// tcpSocket is a non-blocking socket that is connecting to addr, or connected.
func tcpSocket(t *testing.T, addr net.Addr) (fd int, err error) {
	t.Helper()
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd)
	unix.SetNonblock(fd, true)
	tcp := addr.(*net.TCPAddr)
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())})
}

// fdConn makes a net.Conn of one end of a socket pair.
func fdConn(t *testing.T, fd int) net.Conn {
	t.Helper()
	file := os.NewFile(uintptr(fd), "peer")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// attach makes fd a connection of a loop.
func (r *rig) attach(loop, fd int, tag uint64) {
	r.t.Helper()
	r.on(loop, func(l netpoll.Loop) {
		if err := l.Attach(fd, tag); err != nil {
			r.t.Errorf("Attach: %v", err)
		}
	})
}

func testAttachConnected(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	for loop := range 2 {
		for i := range 5 {
			fds := socketPair(t)
			peer := r.adopt(fdConn(t, fds[1]))
			peer.Write([]byte("before")) // data that is there already is read at once
			before := len(r.openings())
			tag := netpoll.AttachTag + uint64(loop*100+i)
			r.attach(loop, fds[0], tag)
			got := make([]byte, 6)
			if _, err := io.ReadFull(peer, got); err != nil || string(got) != "before" {
				t.Fatalf("the echo of what was sent before Attach: %q, %v", got, err)
			}
			o := r.openings()[before]
			if o.tag != tag || o.id.Loop() != loop {
				t.Errorf("OnOpen(%v, %d), want tag %d on loop %d", o.id, o.tag, tag, loop)
			}
			r.wantEcho("attached", peer)
			r.on(loop, func(l netpoll.Loop) {
				if addr := l.RemoteAddr(o.id); addr.IsValid() {
					t.Errorf("RemoteAddr of a unix socket = %v, want none", addr)
				}
				l.Close(o.id)
			})
			r.wantEnd("closed", peer)
			peer.Close()
		}
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	fd, _ := tcpSocket(t, ln.Addr())
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r.adopt(conn)
	before := len(r.openings())
	r.attach(1, fd, netpoll.AttachTag)
	r.wantEcho("attached", conn)
	id := r.openings()[before].id
	r.on(1, func(l netpoll.Loop) {
		if got, want := l.RemoteAddr(id).String(), ln.Addr().String(); got != want {
			t.Errorf("RemoteAddr = %v, want %v", got, want)
		}
	})
	r.wantStats("attached", func(s netpoll.Stats) bool { return s.Attached == 11 && s.Accepted == 0 })
}

// testAttachConnecting attaches a socket whose connection is on its way, and one
// whose connection will be refused.
func testAttachConnecting(t *testing.T, start startFunc) {
	hello := []byte("hello from a socket that was connecting")
	var sent atomic.Int64
	push := func(l netpoll.Loop, id netpoll.ID) {
		n, err := l.Write(id, hello[sent.Load():])
		if err != nil {
			t.Errorf("Write: %v", err)
		}
		sent.Add(int64(n))
	}
	r := newRig(t, start, testConfig(), hooks{
		open: func(l netpoll.Loop, id netpoll.ID, tag uint64) {
			if tag == netpoll.AttachTag {
				push(l, id)
			}
		},
		writable: push,
	})

	// A listener whose queue is full lets clients wait: their SYN is dropped
	// and sent again after a second.
	listener, addr := fullListener(t)
	defer syscall.Close(listener)
	var waiting int
	var queued []int
	for {
		fd, err := tcpSocket(t, addr)
		if err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		if !isConnected(fd) {
			waiting = fd
			break
		}
		queued = append(queued, fd)
	}
	r.attach(0, waiting, netpoll.AttachTag)
	for range 20 {
		r.on(0, func(netpoll.Loop) {}) // some turns, while it is connecting
	}
	closeAll(queued)
	for {
		fd, _, err := unix.Accept(listener)
		if err != nil {
			t.Fatal(err)
		}
		unix.CloseOnExec(fd)
		conn := r.adopt(fdConn(t, fd))
		got, err := io.ReadAll(io.LimitReader(conn, int64(len(hello))))
		conn.Close()
		if len(got) == 0 && err == nil {
			continue // one of those that filled the queue
		}
		if err != nil || !bytes.Equal(got, hello) {
			t.Errorf("the peer got %q, %v, want %q", got, err, hello)
		}
		break
	}
	r.wantClose("the peer has closed", r.openings()[0].id, io.EOF)

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	fd, err := tcpSocket(t, closed.Addr())
	if err != unix.EINPROGRESS {
		t.Fatalf("connect to a closed port returns %v at once, want EINPROGRESS", err)
	}
	r.attach(1, fd, netpoll.AttachTag+1)
	r.eventually("OnOpen", func() bool { return len(r.openings()) == 2 })
	r.wantClose("connect refused", r.openings()[1].id, syscall.ECONNREFUSED)
}

// fullListener is a listener with the shortest queue there is.
func fullListener(t *testing.T) (fd int, addr net.Addr) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}
}

// isConnected gives a connection on loopback 100 ms to be made.
func isConnected(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, _ := unix.Poll(fds, 100)
	return n == 1
}

func testAttachRefused(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	fds := socketPair(t)
	r.on(0, func(l netpoll.Loop) {
		for _, tag := range []uint64{0, 1, netpoll.AttachTag - 1} {
			if err := l.Attach(fds[0], tag); err == nil {
				t.Errorf("Attach with tag %d, a listener's, was not refused", tag)
			}
		}
		wantOurs(t, fds[0])
	})
	closeAll(fds[:])
	if s := r.engine.Stats(); s.Attached != 0 || s.Conns != 0 {
		t.Errorf("Stats: %d attached, %d connections, want none", s.Attached, s.Conns)
	}
	if got := r.openings(); len(got) != 0 {
		t.Errorf("OnOpen was called for %v", got)
	}
}
