//go:build linux || darwin || freebsd

package netpolltest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
)

// patience bounds every wait of the contract test. Only a failure takes so long.
const patience = time.Minute

// hooks are what a test wants its handler to do. They run on the loop; nil does
// nothing, except data, which echoes.
type hooks struct {
	open     func(l netpoll.Loop, id netpoll.ID, tag uint64)
	data     func(l netpoll.Loop, id netpoll.ID, p []byte)
	writable func(l netpoll.Loop, id netpoll.ID)
	close    func(l netpoll.Loop, id netpoll.ID, err error)
	wake     func(l netpoll.Loop) bool
	tick     func(l netpoll.Loop)
}

// A rig is one engine under test with a referee on each loop, and what its
// handlers have seen.
type rig struct {
	t      *testing.T
	engine netpoll.Engine
	hooks  hooks
	rules  fouls
	loops  []*rigHandler

	mu     sync.Mutex
	opened []opening
	closed map[netpoll.ID]error
}

// opening is one OnOpen.
type opening struct {
	id  netpoll.ID
	tag uint64
}

// rigHandler is a loop's handler: it notes what happens, calls the hooks, and
// runs functions that the test wants to run on the loop.
type rigHandler struct {
	rig  *rig
	loop netpoll.Loop

	mu   sync.Mutex
	jobs []func(l netpoll.Loop)
}

// testConfig is a small engine on a port that the system chooses.
func testConfig() netpoll.Config {
	return netpoll.Config{
		Loops:         2,
		Listen:        []string{"127.0.0.1:0"},
		TickInterval:  10 * time.Millisecond,
		LingerTimeout: 5 * time.Second,
	}
}

// newRig starts an engine and stops it when the test ends; then nothing of it
// may be left: connections, descriptors, goroutines.
func newRig(t *testing.T, start startFunc, cfg netpoll.Config, h hooks) *rig {
	t.Helper()
	r := &rig{t: t, hooks: h, closed: make(map[netpoll.ID]error)}
	r.loops = make([]*rigHandler, cfg.Loops)
	fds, goroutines := countDescriptors(t), countGoroutines()
	engine, err := start(cfg, func(l netpoll.Loop) netpoll.Handler {
		f := newReferee(r, l)
		f.handler = &rigHandler{rig: r, loop: f}
		r.loops[l.Index()] = f.handler.(*rigHandler)
		return f
	})
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	r.engine = engine
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		r.wantNoFouls()
		r.wantAllClosed()
		wantBack(t, "descriptors", fds, func() int { return countDescriptors(t) })
		wantBack(t, "goroutines", goroutines, countGoroutines)
	})
	return r
}

func (r *rig) foul(s string) { r.rules.add(s) }

func (r *rig) wantNoFouls() {
	r.t.Helper()
	for _, s := range r.rules.all() {
		r.t.Error(s)
	}
}

// wantAllClosed checks that each OnOpen has had its OnClose.
func (r *rig) wantAllClosed() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.opened {
		if _, ok := r.closed[o.id]; !ok {
			r.t.Errorf("%v was never closed", o.id)
		}
	}
	if s := r.engine.Stats(); s.Conns != 0 || s.Lingering != 0 {
		r.t.Errorf("after the end Stats says %+v", s)
	}
}

func (h *rigHandler) OnOpen(id netpoll.ID, tag uint64) {
	h.rig.mu.Lock()
	h.rig.opened = append(h.rig.opened, opening{id, tag})
	h.rig.mu.Unlock()
	if f := h.rig.hooks.open; f != nil {
		f(h.loop, id, tag)
	}
}

func (h *rigHandler) OnData(id netpoll.ID, p []byte) {
	if f := h.rig.hooks.data; f != nil {
		f(h.loop, id, p)
		return
	}
	h.loop.Write(id, p)
}

func (h *rigHandler) OnWritable(id netpoll.ID) {
	if f := h.rig.hooks.writable; f != nil {
		f(h.loop, id)
	}
}

func (h *rigHandler) OnClose(id netpoll.ID, err error) {
	h.rig.mu.Lock()
	h.rig.closed[id] = err
	h.rig.mu.Unlock()
	if f := h.rig.hooks.close; f != nil {
		f(h.loop, id, err)
	}
}

func (h *rigHandler) OnWake() bool {
	h.mu.Lock()
	jobs := h.jobs
	h.jobs = nil
	h.mu.Unlock()
	for _, job := range jobs {
		job(h.loop)
	}
	return h.rig.hooks.wake != nil && h.rig.hooks.wake(h.loop)
}

func (h *rigHandler) OnTick() {
	if f := h.rig.hooks.tick; f != nil {
		f(h.loop)
	}
}

// on runs f on a loop and waits for it.
func (r *rig) on(loop int, f func(l netpoll.Loop)) {
	r.t.Helper()
	h := r.loops[loop]
	donec := make(chan struct{})
	h.mu.Lock()
	h.jobs = append(h.jobs, func(l netpoll.Loop) {
		defer close(donec)
		f(l)
	})
	h.mu.Unlock()
	h.loop.Wake()
	select {
	case <-donec:
	case <-time.After(patience):
		r.t.Fatalf("loop %d did not run a function within %v of its Wake", loop, patience)
	}
}

// dial connects to a listener. The connection has a deadline and is closed when
// the test ends.
func (r *rig) dial(listener int) net.Conn {
	r.t.Helper()
	addr := r.engine.Addrs()[listener]
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		r.t.Fatalf("Dial: %v", err)
	}
	return r.adopt(conn)
}

func (r *rig) adopt(conn net.Conn) net.Conn {
	conn.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// open dials listener 0 and waits for OnOpen.
func (r *rig) open() (net.Conn, netpoll.ID) {
	r.t.Helper()
	before := r.openings()
	conn := r.dial(0)
	r.eventually("OnOpen", func() bool { return len(r.openings()) > len(before) })
	return conn, r.openings()[len(before)].id
}

// renewed notes that an opened connection has another ID.
func (r *rig) renewed(id, renewed netpoll.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened = append([]opening(nil), r.opened...)
	for i := range r.opened {
		if r.opened[i].id == id {
			r.opened[i].id = renewed
		}
	}
}

func (r *rig) openings() []opening {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened[:len(r.opened):len(r.opened)]
}

// wantClose waits for id's OnClose and checks its error.
func (r *rig) wantClose(what string, id netpoll.ID, want error) {
	r.t.Helper()
	var got error
	r.eventually(what+": OnClose", func() (ok bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		got, ok = r.closed[id]
		return ok
	})
	if !errors.Is(got, want) {
		r.t.Errorf("%s: OnClose says %v, want %v", what, got, want)
	}
}

// isClosed reports whether id had its OnClose.
func (r *rig) isClosed(id netpoll.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.closed[id]
	return ok
}

// eventually waits for a condition.
func (r *rig) eventually(what string, condition func() bool) {
	r.t.Helper()
	eventually(r.t, what, condition)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !condition(); {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// wantStats waits for counters: they are as old as the end of the last turn.
func (r *rig) wantStats(what string, ok func(s netpoll.Stats) bool) {
	r.t.Helper()
	for limit := time.Now().Add(patience); !ok(r.engine.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			r.t.Fatalf("%s: Stats says otherwise: %+v", what, r.engine.Stats())
		}
	}
}

// wantEcho sends a message and wants it back.
func (r *rig) wantEcho(what string, conn net.Conn) {
	r.t.Helper()
	if err := echo(conn); err != nil {
		r.t.Fatalf("%s: echo: %v", what, err)
	}
}

func echo(conn net.Conn) error {
	want := fmt.Appendf(nil, "echo %d", time.Now().UnixNano())
	if _, err := conn.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// wantEnd reads until the end of a connection. It may be cut off, but it must
// end.
func (r *rig) wantEnd(what string, conn net.Conn) {
	r.t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatalf("%s: the connection did not end", what)
	}
}

// reset ends a connection with an RST.
func reset(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// pattern returns n bytes, at most 16 MiB, that show where they belong. Nothing
// may change them.
func pattern(n int) []byte { return patterns()[:n:n] }

var patterns = sync.OnceValue(func() []byte {
	p := make([]byte, 16<<20)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8)*7 ^ byte(i>>16)*31
	}
	return p
})

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// countGoroutines leaves out the workers of the pool that gnet's Enroll uses:
// they stay for ten seconds after their work, whatever the engine does.
func countGoroutines() int {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	n := 0
	for _, stack := range bytes.Split(buf, []byte("\n\n")) {
		if !bytes.Contains(stack, []byte("panjf2000/ants")) {
			n++
		}
	}
	return n
}

// wantBack waits until a count is down to what it was.
func wantBack(t *testing.T, what string, before int, count func() int) {
	t.Helper()
	for limit := time.Now().Add(patience); count() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			buf := make([]byte, 1<<20)
			buf = buf[:runtime.Stack(buf, true)]
			t.Fatalf("%d %s at the end, %d before\n%s", count(), what, before, buf)
		}
	}
}
