package netpolltest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"sync/atomic"

	"github.com/roostws/roost/netpoll"
)

// Faults are the probabilities, from 0 to 1, of what a kernel and an engine may
// do but seldom do. With the zero value nothing of it happens.
type Faults struct {
	// ShortWrite cuts a write somewhere although there is room; OnWritable
	// follows in a later turn.
	ShortWrite float64
	// LateData leaves what arrived where it is until a later turn, LateWritable
	// a promised OnWritable, LateClose an owed OnClose (until the next turn, as
	// the contract allows).
	LateData, LateWritable, LateClose float64
	// SplitData cuts what arrived at a random place, so that OnData gets it in
	// pieces, down to single bytes.
	SplitData float64
	// SpuriousWritable, per connection and turn, calls OnWritable without need,
	// SpuriousWake, per turn, calls OnWake without Wake. No engine should, and
	// every handler should endure it.
	SpuriousWritable, SpuriousWake float64
	// Shuffle visits the connections of a turn in a random order.
	Shuffle bool
}

// Mischief is a mixture of all faults for seeded simulations.
func Mischief() Faults {
	return Faults{
		ShortWrite: 0.1, LateData: 0.2, LateWritable: 0.3, LateClose: 0.5,
		SplitData: 0.5, SpuriousWritable: 0.02, SpuriousWake: 0.1, Shuffle: true,
	}
}

// Options configure a FakeLoop. The zero value is loop 0 without faults.
type Options struct {
	// Seed makes the run repeatable. Print it when a test fails.
	Seed uint64
	// Faults are what may happen. If zero, nothing does.
	Faults Faults
	// Index is the loop's number.
	Index int
	// RoomBytes is the send room of a new connection: what the kernel takes
	// before the peer has read anything. If zero, unlimited: the peer
	// reads everything at once. See SetRoom.
	RoomBytes int
	// ReadBufferBytes bounds one OnData. If zero, 64 KiB.
	ReadBufferBytes int
	// MaxConns refuses more connections. If zero, no limit.
	MaxConns int
	// OnPanic is called for a recovered panic, as Config.OnPanic is. May be nil;
	// the panic is then a violation.
	OnPanic func(loop int, id netpoll.ID, value any, stack []byte)
}

// A ViolationKind is the rule that a handler broke.
type ViolationKind string

const (
	// UnknownID: a Loop method got an ID that this loop never gave out.
	UnknownID ViolationKind = "unknown ID"
	// StaleID: a Loop method got an ID after its OnClose had returned. The
	// contract makes it harmless; a handler that is in order does not do it.
	StaleID ViolationKind = "stale ID"
	// WriteWhileFull: a write between a short one and its OnWritable. The
	// contract allows it; it costs a system call that cannot help.
	WriteWhileFull ViolationKind = "write while full"
	// BadTag: Attach with a tag below netpoll.AttachTag.
	BadTag ViolationKind = "bad tag"
	// Panicked: a callback panicked, and Options.OnPanic is nil.
	Panicked ViolationKind = "panic"
)

// A Violation is a rule that the handler broke.
type Violation struct {
	Kind   ViolationKind
	ID     netpoll.ID
	Detail string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %v: %s", v.Kind, v.ID, v.Detail) }

// FakeLoop is a netpoll.Loop without a kernel. The test is the peer, the
// kernel and the poller: it opens connections, delivers bytes, takes bytes out
// of the send buffer, and runs the turns. Everything but Wake and Index
// belongs to one goroutine, which is the loop's: the handler's code runs inside
// Open, Turn, Tick and Stop, nowhere else.
//
// What arrives is seen in Turn, not at once; so is the end of a connection.
// The buffer given to OnData is overwritten as soon as OnData returns, which
// shows a handler that kept a piece of it.
type FakeLoop struct {
	// Immutable after NewLoop and Start.
	opts    Options
	handler netpoll.Handler

	// Any goroutine.
	awake atomic.Bool

	// Owned by the test's goroutine.
	rng            *rand.Rand
	slots          []*fakeConn // by slot; nil where free
	free           []uint32    // freed slots, the last one is the next one
	generations    []uint32    // by slot, the last one
	lastGeneration uint32
	conns          map[netpoll.ID]*fakeConn
	attached       []*fakeConn // waiting for their OnOpen
	owed           []*fakeConn // waiting for their OnClose
	again          bool        // OnWake asked to be called again
	inCallback     bool
	stopped        bool
	nextFD         int
	readBuffer     []byte
	stats          netpoll.Stats
	violations     []Violation
}

var _ netpoll.Loop = (*FakeLoop)(nil)

// NewLoop makes a loop without a handler; Start gives it one.
func NewLoop(opts Options) *FakeLoop {
	if opts.ReadBufferBytes == 0 {
		opts.ReadBufferBytes = 64 << 10
	}
	return &FakeLoop{
		opts:       opts,
		rng:        rand.New(rand.NewPCG(opts.Seed, 0x526f6f7374)),
		conns:      make(map[netpoll.ID]*fakeConn),
		nextFD:     1000,
		readBuffer: make([]byte, opts.ReadBufferBytes),
	}
}

// Start makes the handler, as an engine does on the loop's goroutine.
func (l *FakeLoop) Start(newHandler func(l netpoll.Loop) netpoll.Handler) {
	l.handler = newHandler(l)
}

// Rand returns the loop's random numbers, for a test that must depend on one
// seed only.
func (l *FakeLoop) Rand() *rand.Rand { return l.rng }

// Open makes a new connection from a listener, or with an attached tag, and calls
// OnOpen. It returns 0 if Options.MaxConns refused the connection.
func (l *FakeLoop) Open(tag uint64) netpoll.ID {
	l.assertDriver("Open")
	if l.stopped || l.refused() {
		return 0
	}
	l.stats.Accepted++
	c := l.newConn(tag, l.newFD())
	l.open(c)
	return c.id
}

// Turn runs one turn of the loop: what is ready on the sockets, then OnWake, then
// the closes that are owed. It reports whether there is something left to do.
func (l *FakeLoop) Turn() (more bool) {
	l.assertDriver("Turn")
	if l.stopped {
		return false
	}
	for _, c := range l.owed {
		c.late = false // put off in the last turn: due in this one
	}
	l.openAttached()
	for _, c := range l.visitOrder() {
		l.visit(c)
	}
	if l.again || l.awake.Swap(false) || l.chance(l.opts.Faults.SpuriousWake) {
		l.stats.Wakes++
		l.again = false
		l.callback(nil, func() { l.again = l.handler.OnWake() })
	}
	l.payClosesOwed()
	return l.more()
}

// Settle runs turns until nothing is left to do, at most maxTurns of them, and
// reports whether that was enough.
func (l *FakeLoop) Settle(maxTurns int) bool {
	for range maxTurns {
		if !l.Turn() {
			return true
		}
	}
	return !l.more()
}

// Tick runs OnTick, and the closes that came of it, as the clock of an engine
// does.
func (l *FakeLoop) Tick() {
	l.assertDriver("Tick")
	if l.stopped {
		return
	}
	l.callback(nil, l.handler.OnTick)
	l.payClosesOwed()
}

// Stop ends the loop as Engine.Close does: every open connection gets OnClose
// with ErrEngineClosed, those that were closing get theirs.
func (l *FakeLoop) Stop() {
	l.assertDriver("Stop")
	if l.stopped {
		return
	}
	l.stopped = true
	l.opts.Faults.LateClose = 0
	for _, c := range l.attached {
		l.leave(c)
	}
	l.attached = nil
	for _, c := range l.slots {
		if c != nil && c.state == fakeOpen {
			l.lose(c, netpoll.ErrEngineClosed)
			c.ended = PeerSeesEOF
		}
	}
	for _, c := range l.owed {
		c.late = false
	}
	l.payClosesOwed()
}

// Violations returns the violations so far, of the given kinds, or of any kind
// if none is given.
func (l *FakeLoop) Violations(kinds ...ViolationKind) []Violation {
	var found []Violation
	for _, v := range l.violations {
		if len(kinds) == 0 {
			found = append(found, v)
		}
		for _, k := range kinds {
			if v.Kind == k {
				found = append(found, v)
			}
		}
	}
	return found
}

// Stats returns the counters that a real engine would show.
func (l *FakeLoop) Stats() netpoll.Stats { return l.stats }

// Awake reports whether a Wake is waiting for its OnWake.
func (l *FakeLoop) Awake() bool { return l.awake.Load() || l.again }

func (l *FakeLoop) more() bool {
	if l.Awake() || len(l.owed) > 0 || len(l.attached) > 0 {
		return true
	}
	for _, c := range l.slots {
		if c != nil && c.ready() {
			return true
		}
	}
	return false
}

func (l *FakeLoop) violate(kind ViolationKind, id netpoll.ID, detail string) {
	l.violations = append(l.violations, Violation{kind, id, detail})
}

// assertDriver panics where a handler drives the loop that it runs on: that is
// a mistake of the test, not of the code under test.
func (l *FakeLoop) assertDriver(method string) {
	if l.inCallback {
		panic("netpolltest: " + method + " called from inside a callback")
	}
	if l.handler == nil {
		panic("netpolltest: " + method + " before Start")
	}
}

func (l *FakeLoop) chance(p float64) bool { return p > 0 && l.rng.Float64() < p }

func (l *FakeLoop) newFD() int {
	l.nextFD++
	return l.nextFD
}

func (l *FakeLoop) refused() bool {
	if l.opts.MaxConns == 0 || len(l.slots)-len(l.free) < l.opts.MaxConns {
		return false
	}
	l.stats.RefusedMaxConns++
	return true
}

// callback runs one callback as engines do: a panic is counted and reported,
// and aborts the connection it is about, if any.
func (l *FakeLoop) callback(c *fakeConn, f func()) {
	l.inCallback = true
	defer func() {
		l.inCallback = false
		value := recover()
		if value == nil {
			return
		}
		l.stats.HandlerPanics++
		var id netpoll.ID
		if c != nil {
			id = c.id
			l.abort(c)
		}
		if l.opts.OnPanic != nil {
			l.opts.OnPanic(l.opts.Index, id, value, debug.Stack())
			return
		}
		l.violate(Panicked, id, fmt.Sprintf("%v\n%s", value, debug.Stack()))
	}()
	f()
}

// fakeAddr is a made-up address that differs for each descriptor.
func fakeAddr(fd int) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte{10, byte(fd >> 16), byte(fd >> 8), byte(fd)})
	return netip.AddrPortFrom(ip, 40000)
}
