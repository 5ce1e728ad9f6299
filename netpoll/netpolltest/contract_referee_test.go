//go:build linux || darwin || freebsd

package netpolltest

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"sync"

	"github.com/roostws/roost/netpoll"
)

// A referee stands between an engine's loop and the handler of a test and
// watches the rules that hold at any time, whatever a test is about: which
// goroutine calls, that OnOpen is first and OnClose last and neither comes
// twice, that nothing but OnClose follows a Close, that no callback runs inside
// a Loop method, that OnWritable is promised and OnData not paused, and that
// IDs are unique.
type referee struct {
	netpoll.Loop // Index and Wake pass through
	rig          *rig
	handler      netpoll.Handler

	// Owned by the loop's goroutine.
	goroutine uint64
	depth     int    // how many callbacks are running
	method    string // the Loop method that is running
	conns     map[netpoll.ID]*watched
	slots     map[uint32]netpoll.ID
	seen      map[netpoll.ID]bool
}

// watched is what the referee knows of one open connection.
type watched struct {
	ending   bool // Close or Abort was called, or a write failed
	paused   bool
	promised bool // OnWritable is due
}

func newReferee(r *rig, l netpoll.Loop) *referee {
	return &referee{
		Loop:      l,
		rig:       r,
		goroutine: goroutineID(),
		conns:     make(map[netpoll.ID]*watched),
		slots:     make(map[uint32]netpoll.ID),
		seen:      make(map[netpoll.ID]bool),
	}
}

// goroutineID reads the number in "goroutine 7 [running]:", the only way to
// know it.
func goroutineID() uint64 {
	var buf [64]byte
	head := buf[:runtime.Stack(buf[:], false)]
	id, err := strconv.ParseUint(string(bytes.Fields(head)[1]), 10, 64)
	if err != nil {
		panic(err)
	}
	return id
}

// foul notes a broken rule.
func (f *referee) foul(format string, args ...any) {
	f.rig.foul(fmt.Sprintf("loop %d: ", f.Index()) + fmt.Sprintf(format, args...))
}

// enter begins a callback and returns the function that ends it.
func (f *referee) enter(callback string, id netpoll.ID) (leave func()) {
	if g := goroutineID(); g != f.goroutine {
		f.foul("%s runs on goroutine %d, the loop is %d", callback, g, f.goroutine)
	}
	if f.method != "" {
		f.foul("%s(%v) runs inside %s", callback, id, f.method)
	} else if f.depth > 0 {
		f.foul("%s(%v) runs inside another callback", callback, id)
	}
	f.depth++
	return func() { f.depth-- }
}

// open is the watched connection of a callback, nil if it is none.
func (f *referee) open(callback string, id netpoll.ID) *watched {
	c := f.conns[id]
	switch {
	case c == nil && f.seen[id]:
		f.foul("%s(%v) after OnClose", callback, id)
	case c == nil:
		f.foul("%s(%v) without OnOpen", callback, id)
	case c.ending && callback != "OnClose":
		f.foul("%s(%v) after the connection was closed", callback, id)
	}
	return c
}

// run calls the handler; a panic, which goes on to the engine, ends the
// connection.
func (f *referee) run(id netpoll.ID, callback func()) {
	finished := false
	defer func() {
		if !finished {
			f.end(id)
		}
	}()
	callback()
	finished = true
}

func (f *referee) OnOpen(id netpoll.ID, tag uint64) {
	defer f.enter("OnOpen", id)()
	if f.seen[id] {
		f.foul("OnOpen(%v): the ID is not new", id)
	}
	if other, taken := f.slots[id.Slot()]; taken {
		f.foul("OnOpen(%v): the slot belongs to %v", id, other)
	}
	if id.Loop() != f.Index() || id.Generation() == 0 {
		f.foul("OnOpen(%v) on loop %d", id, f.Index())
	}
	f.seen[id] = true
	f.slots[id.Slot()] = id
	f.conns[id] = &watched{}
	f.run(id, func() { f.handler.OnOpen(id, tag) })
}

func (f *referee) OnData(id netpoll.ID, p []byte) {
	defer f.enter("OnData", id)()
	if c := f.open("OnData", id); c != nil && c.paused {
		f.foul("OnData(%v) while paused", id)
	}
	if len(p) == 0 {
		f.foul("OnData(%v) without data", id)
	}
	f.run(id, func() { f.handler.OnData(id, p) })
}

func (f *referee) OnWritable(id netpoll.ID) {
	defer f.enter("OnWritable", id)()
	if c := f.open("OnWritable", id); c != nil {
		if !c.promised {
			f.foul("OnWritable(%v) without a short write", id)
		}
		c.promised = false
	}
	f.run(id, func() { f.handler.OnWritable(id) })
}

func (f *referee) OnClose(id netpoll.ID, err error) {
	defer f.enter("OnClose", id)()
	if err == nil {
		f.foul("OnClose(%v) without a reason", id)
	}
	if f.open("OnClose", id) != nil {
		f.conns[id].ending = true
		defer delete(f.conns, id)
		delete(f.slots, id.Slot())
	}
	f.handler.OnClose(id, err)
}

func (f *referee) OnWake() bool {
	defer f.enter("OnWake", 0)()
	return f.handler.OnWake()
}

func (f *referee) OnTick() {
	defer f.enter("OnTick", 0)()
	f.handler.OnTick()
}

// within runs a Loop method, during which no callback may run.
func (f *referee) within(method string) (leave func()) {
	outer := f.method
	f.method = method
	return func() { f.method = outer }
}

func (f *referee) Write(id netpoll.ID, p []byte) (int, error) {
	defer f.within("Write")()
	n, err := f.Loop.Write(id, p)
	f.wrote("Write", id, n, len(p), err)
	return n, err
}

func (f *referee) Writev(id netpoll.ID, bufs [][]byte) (int, error) {
	defer f.within("Writev")()
	given := 0
	for _, b := range bufs {
		given += len(b)
	}
	n, err := f.Loop.Writev(id, bufs)
	f.wrote("Writev", id, n, given, err)
	return n, err
}

func (f *referee) WriteBatch(batch []netpoll.Outgoing) {
	defer f.within("WriteBatch")()
	f.Loop.WriteBatch(batch)
	for _, o := range batch {
		f.wrote("WriteBatch", o.ID, o.N, len(o.P), o.Err)
	}
}

func (f *referee) wrote(method string, id netpoll.ID, n, given int, err error) {
	if n < 0 || n > given {
		f.foul("%s(%v) says %d of %d bytes", method, id, n, given)
	}
	c := f.conns[id]
	switch {
	case c == nil || c.ending:
		if n != 0 || err == nil {
			f.foul("%s(%v) = %d, %v on a connection that is closed", method, id, n, err)
		}
	case err != nil:
		c.ending = true
	case n < given:
		c.promised = true
	}
}

func (f *referee) PauseRead(id netpoll.ID) {
	defer f.within("PauseRead")()
	f.Loop.PauseRead(id)
	if c := f.conns[id]; c != nil {
		c.paused = true
	}
}

func (f *referee) ResumeRead(id netpoll.ID) {
	defer f.within("ResumeRead")()
	f.Loop.ResumeRead(id)
	if c := f.conns[id]; c != nil {
		c.paused = false
	}
}

func (f *referee) Close(id netpoll.ID) {
	defer f.within("Close")()
	f.Loop.Close(id)
	f.end(id)
}

func (f *referee) Abort(id netpoll.ID) {
	defer f.within("Abort")()
	f.Loop.Abort(id)
	f.end(id)
}

func (f *referee) end(id netpoll.ID) {
	if c := f.conns[id]; c != nil {
		c.ending = true
	}
}

func (f *referee) Renew(id netpoll.ID) netpoll.ID {
	defer f.within("Renew")()
	renewed := f.Loop.Renew(id)
	c := f.conns[id]
	switch {
	case renewed == 0:
		return 0
	case c == nil || c.ending || c.promised:
		f.foul("Renew(%v) = %v of a connection that is closed, or has output waiting", id, renewed)
		return renewed
	case f.seen[renewed] || renewed.Slot() != id.Slot() || renewed.Loop() != id.Loop():
		f.foul("Renew(%v) = %v", id, renewed)
	}
	delete(f.conns, id)
	f.seen[renewed], f.conns[renewed], f.slots[id.Slot()] = true, c, renewed
	f.rig.renewed(id, renewed)
	return renewed
}

func (f *referee) RemoteAddr(id netpoll.ID) netip.AddrPort {
	defer f.within("RemoteAddr")()
	return f.Loop.RemoteAddr(id)
}

func (f *referee) FD(id netpoll.ID) int {
	defer f.within("FD")()
	return f.Loop.FD(id)
}

func (f *referee) Attach(fd int, tag uint64) error {
	defer f.within("Attach")()
	return f.Loop.Attach(fd, tag)
}

// fouls are the broken rules of a rig. Any goroutine.
type fouls struct {
	mu   sync.Mutex
	list []string
}

func (f *fouls) add(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) < 20 {
		f.list = append(f.list, s)
	}
}

func (f *fouls) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list
}
