//go:build linux || darwin || freebsd

package netpolltest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
)

// testDataAtOnce: what was sent before OnOpen is read.
func testDataAtOnce(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	for range 100 {
		conn := r.dial(0)
		r.wantEcho("data sent straight after connecting", conn)
		conn.Close()
	}
}

// testDataBuffer: the handler may change what it is given, and the whole of it
// is given, in order, whatever its size.
func testDataBuffer(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.ReadBufferBytes = 4096
	var largest atomic.Int64
	r := newRig(t, start, cfg, hooks{data: func(l netpoll.Loop, id netpoll.ID, p []byte) {
		largest.Store(max(largest.Load(), int64(len(p))))
		for i := range p {
			p[i] ^= 0xA5
		}
		if n, err := l.Write(id, p); n != len(p) || err != nil {
			t.Errorf("Write = %d, %v, want %d", n, err, len(p))
		}
	}})
	conn := r.dial(0)
	sent := pattern(1 << 20)
	go conn.Write(sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] ^= 0xA5
	}
	if !bytes.Equal(got, sent) {
		t.Error("the echo differs")
	}
	if n := largest.Load(); n > 4096 {
		t.Errorf("OnData was given %d bytes, want at most ReadBufferBytes", n)
	}
}

// testWritev: any number of slices, in order, empty ones among them, and none
// of them changed.
func testWritev(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	conn, id := r.open()
	for _, count := range []int{0, 1, 2, 1023, 1024, 1025, 5000} {
		var bufs [][]byte
		var want []byte
		p := pattern(20 * count)
		for i := range count {
			b := p[20*i:][:i%20]
			bufs = append(bufs, b)
			want = append(want, b...)
		}
		r.on(id.Loop(), func(l netpoll.Loop) {
			if n, err := l.Writev(id, bufs); n != len(want) || err != nil {
				t.Errorf("Writev of %d slices = %d, %v, want %d", count, n, err, len(want))
			}
			if n, err := l.Write(id, nil); n != 0 || err != nil {
				t.Errorf("Write of nothing = %d, %v", n, err)
			}
		})
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Writev of %d slices: the peer got something else (%v)", count, err)
		}
		for i, b := range bufs {
			if len(b) != i%20 {
				t.Fatalf("Writev changed slice %d", i)
			}
		}
	}
}

// stream writes p to id as a careful caller does: on after each OnWritable. It
// alternates between Write and Writev.
type stream struct {
	id     netpoll.ID
	p      []byte
	sent   int
	shorts atomic.Int64
	ready  atomic.Int64
	err    error
}

// push writes until the socket is full.
func (s *stream) push(l netpoll.Loop) {
	for s.sent < len(s.p) {
		chunk := s.p[s.sent:min(s.sent+300_000, len(s.p))]
		var n int
		var err error
		if s.sent%2 == 0 {
			n, err = l.Write(s.id, chunk)
		} else {
			half := len(chunk) / 2
			n, err = l.Writev(s.id, [][]byte{chunk[:half], chunk[half:]})
		}
		s.sent += n
		if err != nil {
			s.err = err
			return
		}
		if n < len(chunk) {
			s.shorts.Add(1)
			return
		}
	}
}

// testShortWrite: a peer that does not read costs nothing and is reported;
// when it reads, OnWritable comes once for each short write, and everything
// arrives.
func testShortWrite(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.SendBufferBytes = 64 << 10
	s := &stream{p: pattern(16 << 20)}
	r := newRig(t, start, cfg, hooks{writable: func(l netpoll.Loop, id netpoll.ID) {
		s.ready.Add(1)
		s.push(l)
	}})
	other, _ := r.open()
	conn, id := r.open()
	s.id = id
	var stalled int
	r.on(id.Loop(), func(l netpoll.Loop) {
		s.push(l)
		stalled = s.sent
		if n, err := l.Write(id, s.p[s.sent:]); err != nil || n >= len(s.p)-s.sent {
			t.Errorf("Write to a full socket = %d, %v, want a short count and no error", n, err)
		} else {
			s.sent += n
		}
	})
	if stalled == 0 || stalled >= len(s.p) {
		t.Fatalf("the kernel took %d of %d bytes, want a part", stalled, len(s.p))
	}
	// The loop goes on meanwhile, and does not spin on the full socket. (The
	// peer's kernel may take a little more.)
	for range 100 {
		r.wantEcho("another connection", other)
	}
	if n := s.ready.Load(); n > 20 {
		t.Errorf("OnWritable came %d times while the peer did not read", n)
	}
	got := make([]byte, len(s.p))
	for read := 0; read < len(got); { // in slow steps at first, then at once
		step := min(len(got)-read, 1000+read/4)
		n, err := io.ReadFull(conn, got[read:read+step])
		if err != nil {
			t.Fatalf("after %d bytes: %v", read+n, err)
		}
		read += n
	}
	if !bytes.Equal(got, s.p) {
		t.Error("the peer got something else")
	}
	r.on(id.Loop(), func(netpoll.Loop) {})
	// The first short write was repeated before its OnWritable: one for both.
	if shorts, ready := s.shorts.Load(), s.ready.Load(); shorts == 0 || shorts != ready {
		t.Errorf("%d short writes, %d calls of OnWritable", shorts, ready)
	}
	r.wantStats("short writes are counted", func(got netpoll.Stats) bool { return got.ShortWrites > uint64(s.shorts.Load()) })
}

// testWriteKeepsNothing: the engine keeps no byte of what a stalled peer does
// not take, and none of its buffers.
func testWriteKeepsNothing(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.SendBufferBytes = 32 << 10
	r := newRig(t, start, cfg, hooks{writable: func(netpoll.Loop, netpoll.ID) {}})
	type stalled struct {
		conn net.Conn
		id   netpoll.ID
	}
	var all []stalled
	for range 20 {
		conn, id := r.open()
		conn.(*net.TCPConn).SetReadBuffer(4096)
		all = append(all, stalled{conn, id})
	}
	p := pattern(8 << 20)
	before := liveHeap()
	for _, s := range all {
		r.on(s.id.Loop(), func(l netpoll.Loop) {
			for range 50 { // a careless caller: it does not wait for OnWritable
				if _, err := l.Write(s.id, p); err != nil {
					t.Errorf("Write: %v", err)
				}
				if _, err := l.Writev(s.id, [][]byte{p, p}); err != nil {
					t.Errorf("Writev: %v", err)
				}
			}
		})
	}
	if grown := liveHeap() - before; grown > 1<<20 {
		t.Errorf("20 stalled connections and 24 GB offered: the heap grew by %d bytes", grown)
	}
	runtime.KeepAlive(p)
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// testPauseRead: nothing is read while paused, everything is afterwards; the
// peer may be far ahead, as far as the engine goes.
func testPauseRead(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.PausedReadMaxBytes = 1 << 20
	var got bytes.Buffer // on the loop
	var received atomic.Int64
	r := newRig(t, start, cfg, hooks{
		open: func(l netpoll.Loop, id netpoll.ID, _ uint64) { l.PauseRead(id) },
		data: func(l netpoll.Loop, id netpoll.ID, p []byte) {
			got.Write(p)
			received.Add(int64(len(p)))
			if got.Len()%3 == 0 { // now and then, in the middle of it
				l.PauseRead(id)
				l.PauseRead(id)
				l.ResumeRead(id)
			}
		},
	})
	conn, id := r.open()
	sent := pattern(900 << 10)
	for _, part := range [][]byte{sent[:10], sent[10:300_000], sent[300_000:]} {
		before := received.Load()
		wrote := make(chan error, 1)
		go func() {
			_, err := conn.Write(part)
			wrote <- err
		}()
		// Some turns of the loop, with the referee watching OnData.
		for range 100 {
			r.on(id.Loop(), func(netpoll.Loop) {})
		}
		if n := received.Load(); n != before {
			t.Fatalf("%d bytes were read while paused", n-before)
		}
		r.on(id.Loop(), func(l netpoll.Loop) { l.ResumeRead(id) })
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		r.eventually("reading what was sent while paused", func() bool {
			return received.Load() == before+int64(len(part))
		})
		r.on(id.Loop(), func(l netpoll.Loop) { l.PauseRead(id) })
	}
	r.on(id.Loop(), func(l netpoll.Loop) {
		if !bytes.Equal(got.Bytes(), sent) {
			t.Error("what was read differs from what was sent")
		}
		l.ResumeRead(id)
		l.ResumeRead(id)
	})
	if r.isClosed(id) {
		t.Error("the connection was closed")
	}
}

// testPauseReadBound: a paused peer that goes on sending is held back by TCP,
// or, by an engine that cannot stop its reads, cut off.
func testPauseReadBound(t *testing.T, start startFunc, cutsOff bool) {
	cfg := testConfig()
	cfg.PausedReadMaxBytes = 100 << 10
	r := newRig(t, start, cfg, hooks{
		open: func(l netpoll.Loop, id netpoll.ID, _ uint64) { l.PauseRead(id) },
		data: func(netpoll.Loop, netpoll.ID, []byte) {},
	})
	conn, id := r.open()
	if cutsOff {
		go conn.Write(pattern(1 << 20))
		r.wantClose("more than PausedReadMaxBytes", id, netpoll.ErrPausedReadFull)
		r.wantEnd("more than PausedReadMaxBytes", conn)
		return
	}
	conn.(*net.TCPConn).SetWriteBuffer(32 << 10)
	conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	sent, err := conn.Write(pattern(16 << 20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes written to a paused connection: %v, want them to get stuck", sent, err)
	}
	if got := r.engine.Stats().BytesRead; got != 0 {
		t.Errorf("%d bytes were read from a paused connection", got)
	}
	r.on(id.Loop(), func(l netpoll.Loop) { l.ResumeRead(id) })
	r.eventually("reading what was sent while paused", func() bool {
		return r.engine.Stats().BytesRead == uint64(sent)
	})
}
