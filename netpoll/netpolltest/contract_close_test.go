//go:build linux || darwin || freebsd

package netpolltest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
)

func testCloseReasons(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	for _, tt := range []struct {
		name string
		end  func(conn net.Conn, id netpoll.ID)
		want error
	}{
		{"peer closes", func(conn net.Conn, _ netpoll.ID) { conn.Close() }, io.EOF},
		{"peer ends its direction", func(conn net.Conn, _ netpoll.ID) { conn.(*net.TCPConn).CloseWrite() }, io.EOF},
		{"peer resets", func(conn net.Conn, _ netpoll.ID) { reset(conn) }, syscall.ECONNRESET},
		{"handler closes", func(_ net.Conn, id netpoll.ID) {
			r.on(id.Loop(), func(l netpoll.Loop) { l.Close(id) })
		}, netpoll.ErrClosed},
		{"handler aborts", func(_ net.Conn, id netpoll.ID) {
			r.on(id.Loop(), func(l netpoll.Loop) { l.Abort(id) })
		}, netpoll.ErrClosed},
	} {
		conn, id := r.open()
		r.wantEcho(tt.name, conn)
		tt.end(conn, id)
		r.wantClose(tt.name, id, tt.want)
		conn.Close()
	}

	// What was sent before the end is read before OnClose.
	conn := r.dial(0)
	conn.Write([]byte("last words"))
	conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "last words" || err != nil {
		t.Errorf("half-closed after a message: the echo is %q, %v", got, err)
	}
}

// testWriteError: the loop is kept from reading while the peer breaks the
// connection, so that Write is the first to hear of it.
func testWriteError(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	conn, id := r.open()
	r.on(id.Loop(), func(l netpoll.Loop) {
		reset(conn)
		var err error
		for limit := time.Now().Add(patience); err == nil && time.Now().Before(limit); {
			_, err = l.Write(id, []byte("x"))
		}
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write to a broken connection says %v", err)
		}
		if n, err := l.Write(id, []byte("x")); n != 0 || err == nil {
			t.Errorf("the next Write = %d, %v, want an error", n, err)
		}
		if r.isClosed(id) {
			t.Error("OnClose ran inside Write")
		}
	})
	r.eventually("OnClose after a write error", func() bool { return r.isClosed(id) })
}

// testCloseDelivers: a last message arrives although the peer reads slowly and
// has sent something that was not read, and OnClose does not wait for that.
func testCloseDelivers(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.SendBufferBytes = 512 << 10
	last := pattern(200 << 10)
	r := newRig(t, start, cfg, hooks{data: func(l netpoll.Loop, id netpoll.ID, _ []byte) {
		if n, err := l.Write(id, last); n != len(last) || err != nil {
			t.Errorf("the last Write = %d, %v, want %d", n, err, len(last))
		}
		l.Close(id)
	}})
	conn, id := r.open()
	conn.(*net.TCPConn).SetReadBuffer(64 << 10) // less would wait for timers of TCP
	var sending sync.WaitGroup
	sending.Go(func() { conn.Write(pattern(2 << 20)) })
	r.wantClose("closed", id, netpoll.ErrClosed)
	r.wantStats("one lingers", func(s netpoll.Stats) bool { return s.Conns == 0 && s.Lingering == 1 })
	var got []byte
	for buf := make([]byte, 4<<10); ; {
		n, err := conn.Read(buf)
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", len(got), len(last), err)
		}
		if len(got) < 100<<10 {
			time.Sleep(time.Millisecond) // a slow reader
		}
	}
	if !bytes.Equal(got, last) {
		t.Errorf("the peer got %d bytes, want the %d of the last message", len(got), len(last))
	}
	sending.Wait()
	conn.Close()
	r.eventually("letting go", func() bool { return r.engine.Stats().Lingering == 0 })
	if got := r.engine.Stats().LingerTimeouts; got != 0 {
		t.Errorf("%d LingerTimeouts, want 0", got)
	}
}

// testCloseTimesOut: a peer that never closes is waited for LingerTimeout,
// whether it reads or not.
func testCloseTimesOut(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.LingerTimeout = 150 * time.Millisecond
	cfg.SendBufferBytes = 32 << 10
	r := newRig(t, start, cfg, hooks{})
	_, idle := r.open()
	_, stalled := r.open()
	began := time.Now()
	for _, id := range []netpoll.ID{idle, stalled} {
		r.on(id.Loop(), func(l netpoll.Loop) {
			if id == stalled {
				l.Write(id, pattern(8<<20))
			}
			l.Close(id)
		})
		r.wantClose("closed", id, netpoll.ErrClosed)
	}
	r.eventually("letting go", func() bool { return r.engine.Stats().Lingering == 0 })
	if took := time.Since(began); took < cfg.LingerTimeout*9/10 {
		t.Errorf("let go after %v, before LingerTimeout", took)
	}
	r.wantStats("two lingered in vain", func(s netpoll.Stats) bool { return s.LingerTimeouts == 2 })
}

// testCloseAnywhere: Close and Abort may be called in every callback, twice,
// about the connection at hand or another one; the peer goes on sending all the
// time. The referee sees that only OnClose follows.
func testCloseAnywhere(t *testing.T, start startFunc) {
	ends := map[string]func(l netpoll.Loop, id netpoll.ID){
		"Close":           func(l netpoll.Loop, id netpoll.ID) { l.Close(id); l.Close(id) },
		"Abort":           func(l netpoll.Loop, id netpoll.ID) { l.Abort(id); l.Abort(id) },
		"Close and Abort": func(l netpoll.Loop, id netpoll.ID) { l.Close(id); l.Abort(id) },
		"Write and Close": func(l netpoll.Loop, id netpoll.ID) {
			l.PauseRead(id)
			l.Write(id, []byte("bye"))
			l.Close(id)
			l.ResumeRead(id)
			if n, err := l.Write(id, []byte("late")); n != 0 || err != netpoll.ErrClosed {
				t.Errorf("Write after Close = %d, %v, want 0, ErrClosed", n, err)
			}
		},
	}
	for name, end := range ends {
		for _, where := range []string{"OnOpen", "OnData", "OnWritable", "OnWake", "OnTick", "OnClose of another"} {
			t.Run(name+" in "+where, func(t *testing.T) { closeIn(t, start, where, end) })
		}
	}
}

func closeIn(t *testing.T, start startFunc, where string, end func(l netpoll.Loop, id netpoll.ID)) {
	cfg := testConfig()
	cfg.Loops = 1
	cfg.SendBufferBytes = 32 << 10
	cfg.LingerTimeout = 100 * time.Millisecond
	var other, victim netpoll.ID // on the loop
	var armed atomic.Bool
	r := newRig(t, start, cfg, hooks{
		open: func(l netpoll.Loop, id netpoll.ID, _ uint64) {
			if other == 0 {
				other = id
				return
			}
			victim = id
			switch where {
			case "OnOpen":
				end(l, id)
			case "OnWritable":
				l.Write(id, pattern(8<<20))
			}
			armed.Store(true)
		},
		data: func(l netpoll.Loop, id netpoll.ID, p []byte) {
			if where == "OnData" && id == victim {
				end(l, id)
			} else if id == other {
				l.Write(id, p)
			}
		},
		writable: func(l netpoll.Loop, id netpoll.ID) { end(l, id) },
		wake: func(l netpoll.Loop) bool {
			if where == "OnWake" && armed.Load() {
				end(l, victim)
			}
			return false
		},
		tick: func(l netpoll.Loop) {
			if where == "OnTick" && armed.Load() {
				end(l, victim)
			}
		},
		close: func(l netpoll.Loop, id netpoll.ID, _ error) {
			if where == "OnClose of another" && id == other {
				end(l, victim)
			}
		},
	})
	otherConn, _ := r.open()
	conn := r.dial(0)
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		for p := pattern(1000); ; {
			if _, err := conn.Write(p); err != nil {
				return // the connection has ended, or its deadline has come
			}
		}
	})
	r.eventually("OnOpen", armed.Load)
	switch where {
	case "OnWake":
		r.engine.Loops()[0].Wake()
	case "OnClose of another":
		otherConn.Close()
	}
	r.wantEnd("the victim", conn) // reads, too, which makes room for OnWritable
	id := r.openings()[1].id
	r.wantClose("the victim", id, netpoll.ErrClosed)
	conn.Close()
	if where != "OnClose of another" {
		r.wantEcho("the other connection", otherConn)
	}
}

// testAbortStalled: Abort does not wait for anything.
func testAbortStalled(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.SendBufferBytes = 32 << 10
	cfg.LingerTimeout = time.Hour
	r := newRig(t, start, cfg, hooks{})
	fds := countDescriptors(t)
	conn, id := r.open()
	r.on(id.Loop(), func(l netpoll.Loop) {
		if n, err := l.Write(id, pattern(16<<20)); n == 16<<20 || err != nil {
			t.Errorf("Write = %d, %v, want a short count", n, err)
		}
		l.Abort(id)
	})
	r.wantClose("aborted", id, netpoll.ErrClosed)
	wantBack(t, "descriptors", fds+1, func() int { return countDescriptors(t) }) // ours
	r.wantEnd("aborted", conn)
}

// testVanishAndReturn: 1,000 connections, some of them paused, some with a full
// socket, are reset at once, twice. The others notice nothing, and the slots
// are used again.
func testVanishAndReturn(t *testing.T, start startFunc) {
	const crowd = 1000
	cfg := testConfig()
	cfg.SendBufferBytes = 16 << 10
	flood := pattern(1 << 20)
	r := newRig(t, start, cfg, hooks{open: func(l netpoll.Loop, id netpoll.ID, _ uint64) {
		switch id.Slot() % 3 {
		case 1:
			l.PauseRead(id)
		case 2:
			l.Write(id, flood)
		}
	}})
	resident, _ := r.open() // slot 0: neither
	for round := range 2 {
		before := len(r.openings())
		conns := make([]net.Conn, crowd)
		for i := range conns {
			conns[i] = r.dial(0)
		}
		r.eventually("opening", func() bool { return len(r.openings()) == before+crowd })
		for _, conn := range conns {
			reset(conn)
		}
		r.eventually("closing", func() bool { return r.engine.Stats().Conns == 1 })
		for _, o := range r.openings()[before:] {
			if o.id.Slot() > crowd {
				t.Fatalf("round %d: %v has slot %d, never were there so many", round, o.id, o.id.Slot())
			}
			if !r.isClosed(o.id) {
				t.Fatalf("round %d: %v had no OnClose", round, o.id)
			}
		}
		r.wantEcho("the resident", resident)
	}
}
