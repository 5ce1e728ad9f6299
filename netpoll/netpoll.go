// Package netpoll turns sockets into callbacks on event loops. It knows bytes
// and descriptors and not one word of WebSocket.
//
// # The contract
//
// An [Engine] is a fixed set of event loops. A [Loop] is one goroutine, locked
// to its thread, that waits for readiness and calls one [Handler]. Everything
// that every engine promises stands here; package netpolltest holds the test
// that each of them passes, and a fake engine that keeps the same promises
// without a kernel.
//
//   - Goroutines. Each loop has one handler, made by the function given to
//     [Start], on the loop's own goroutine. All callbacks of a handler and all
//     Loop methods except Wake, Index happen on that goroutine; nothing else
//     needs a lock. Wake may be called from anywhere, at any time, also after
//     the engine has closed.
//   - Identity. An [ID] is loop, slot and generation. Slots are dense and
//     reused (last freed, first reused), so a handler keeps its own state in
//     arrays indexed by slot. The generation makes an ID unique: a stale ID
//     does nothing, and Loop methods answer it with [ErrClosed].
//   - Opening. OnOpen comes first, exactly once, and tells where the
//     connection comes from: the index of its listener, or the tag given to
//     Attach. Data that is already there is read at once.
//   - Reading. OnData gets whatever arrived, in the loop's own buffer: the
//     handler may change the bytes (unmask in place) and must copy what it
//     wants to keep. The engine holds no input for anybody, so an idle
//     connection has no buffer. PauseRead stops OnData until ResumeRead: the
//     peer then feels TCP's own back-pressure. (The gnet engine cannot stop its
//     reads: it keeps what arrives meanwhile, up to Config.PausedReadMaxBytes,
//     and closes the connection with [ErrPausedReadFull] beyond that.)
//   - Writing. Write and Writev hand bytes to the kernel and never keep any.
//     They answer how many bytes the kernel took. Fewer than given, with a nil
//     error, means that the socket is full: the engine watches it and calls
//     OnWritable once, when there is room again; the caller keeps the rest.
//     An error means that the connection is lost; OnClose follows.
//   - Closing. OnClose comes last, exactly once for each OnOpen, and never from
//     inside a Loop method: it follows in the same turn, or the next.
//     Its error is [io.EOF] where the peer closed, [ErrClosed] where the
//     handler did, [ErrEngineClosed] where the engine was stopped, the
//     system's error otherwise. Close delivers what was written before it: it
//     ends the sending direction, reads and drops what the peer still
//     sends (a plain close(2) with unread input would reset the connection and
//     take the last message with it), and lets go when the peer has closed or
//     Config.LingerTimeout has passed. OnClose does not wait for that: the
//     handler's state can go, while the engine keeps descriptor and slot, and
//     counts them in Stats.Lingering and against Config.MaxConns. Abort lets go
//     at once, with a plain close(2). No callback other than OnClose follows
//     either of them.
//   - Waking. Wake makes OnWake run soon: any number of calls before it runs
//     are one. The flag is cleared before OnWake starts, so a Wake during
//     OnWake leads to another one. OnWake answering true asks to be called
//     again after the sockets had their turn: that is how long work yields to
//     I/O. An engine calls OnWake after the events of a turn, not between them,
//     where it can know the difference.
//   - Ticking. OnTick runs about every Config.TickInterval. It is the only
//     clock: a connection has no timer.
//   - Running out. No descriptor left, or Config.MaxConns reached, refuses the
//     newcomer (it is accepted and closed, so that it does not wait for ever),
//     counts it, and disturbs nobody who is connected.
//   - Panics. A panic in OnOpen, OnData or OnWritable is recovered, counted,
//     given to Config.OnPanic, and aborts that one connection: its OnClose says
//     [ErrClosed], as after any Abort. One in OnWake, OnTick or OnClose is
//     recovered, counted and reported.
package netpoll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Kind names an engine.
type Kind string

// The engines. Which of them a system has, [Kinds] tells.
const (
	// Epoll is Roost's own poller, on Linux: accept until EAGAIN, read straight
	// after accept, pointer-free tables.
	Epoll Kind = "epoll"
	// Easygo runs the same sockets on mailru/easygo's low-level pollers.
	Easygo Kind = "easygo"
	// Gnet runs on panjf2000/gnet.
	Gnet Kind = "gnet"
)

// Errors that callers test for.
var (
	// ErrClosed: the connection is closed, closing, or the ID is stale.
	ErrClosed = errors.New("netpoll: connection closed")
	// ErrEngineClosed: the engine was stopped.
	ErrEngineClosed = errors.New("netpoll: engine closed")
	// ErrPausedReadFull: a paused connection went on sending, on an engine
	// that cannot stop reading.
	ErrPausedReadFull = errors.New("netpoll: paused connection sent more than PausedReadMaxBytes")
	// ErrTooManyConns: Attach was refused because of Config.MaxConns.
	ErrTooManyConns = errors.New("netpoll: connection limit reached")
)

// ID names one connection for as long as the process lives. The zero ID names
// none.
type ID uint64

// The layout of an ID: 8 bits of loop, 24 bits of slot, 32 bits of generation.
const (
	MaxLoops = 1 << 8
	MaxSlots = 1 << 24
)

// MakeID builds an ID. Only engines need it.
func MakeID(loop int, slot, generation uint32) ID {
	return ID(uint64(loop)<<56 | uint64(slot&(MaxSlots-1))<<32 | uint64(generation))
}

// Loop is the index of the loop that owns the connection.
func (id ID) Loop() int { return int(id >> 56) }

// Slot is the connection's place in its loop's tables, less than the highest
// number of connections that the loop ever had at once.
func (id ID) Slot() uint32 { return uint32(id>>32) & (MaxSlots - 1) }

// Generation tells one use of a slot from the next. It is never 0.
func (id ID) Generation() uint32 { return uint32(id) }

// String is loop/slot.generation, for logs.
func (id ID) String() string {
	return fmt.Sprintf("%d-%d-%d", id.Loop(), id.Slot(), id.Generation())
}

// ParseID is the ID that String wrote. It need not name a connection.
func ParseID(text string) (ID, error) {
	var loop, slot, generation uint32
	if n, err := fmt.Sscanf(text, "%d-%d-%d", &loop, &slot, &generation); n != 3 || err != nil || loop >= MaxLoops || slot >= MaxSlots {
		return 0, fmt.Errorf("netpoll: %.40q is no connection ID: want LOOP-SLOT-GENERATION", text)
	}
	id := MakeID(int(loop), slot, generation)
	if id.String() != text || generation == 0 {
		return 0, fmt.Errorf("netpoll: %.40q is no connection ID: want LOOP-SLOT-GENERATION", text)
	}
	return id, nil
}

// AttachTag is the smallest tag that Attach takes; smaller numbers name
// listeners.
const AttachTag = 1 << 32

// A Handler reacts to one loop's events, on the loop's goroutine. None of its
// methods may block: a loop that waits for one waits for all.
type Handler interface {
	// OnOpen reports a new connection. tag is the index of its listener in
	// Config.Listen, or what Attach was given.
	OnOpen(id ID, tag uint64)
	// OnData reports bytes. p is the handler's until it returns.
	OnData(id ID, p []byte)
	// OnWritable reports that a connection whose last write was cut short has
	// room again.
	OnWritable(id ID)
	// OnClose reports the end. id is stale when it returns.
	OnClose(id ID, err error)
	// OnWake answers Wake; true asks for another call after the next look at
	// the sockets.
	OnWake() (again bool)
	// OnTick runs about every Config.TickInterval.
	OnTick()
}

// A Loop is one event loop, as its handler sees it. All methods but Index and
// Wake belong to the loop's goroutine.
type Loop interface {
	// Index is the loop's number, from 0. Any goroutine.
	Index() int
	// Wake makes OnWake run soon. Any goroutine, at any time.
	Wake()
	// Write hands p to the kernel and answers how much of it was taken. It does
	// not keep p. See the contract for a short count.
	Write(id ID, p []byte) (n int, err error)
	// Writev does the same for several slices, in order, with one system call
	// if there are not more than 1,024 (IOV_MAX). It keeps neither bufs nor what they point
	// to, and changes neither.
	Writev(id ID, bufs [][]byte) (n int, err error)
	// WriteBatch does Write for each element, in order, and fills in its N and
	// Err. Where the system has io_uring it takes one system call for hundreds
	// of them. An ID may be there once only.
	WriteBatch(batch []Outgoing)
	// PauseRead stops OnData for id until ResumeRead. Stale IDs are ignored.
	PauseRead(id ID)
	// ResumeRead undoes PauseRead. OnData never runs inside it.
	ResumeRead(id ID)
	// Close ends the connection when what was written has been delivered, or
	// Config.LingerTimeout has passed.
	Close(id ID)
	// Abort ends the connection now. Bytes on their way may be lost.
	Abort(id ID)
	// RemoteAddr asks the system for the peer's address; the zero AddrPort
	// where there is none (unix sockets, stale IDs).
	RemoteAddr(id ID) netip.AddrPort
	// FD is the connection's descriptor, -1 for a stale ID. It stays the
	// engine's property.
	FD(id ID) int
	// Attach makes fd, a non-blocking stream socket that is connected or
	// connecting, a connection of this loop. OnOpen(id, tag) follows, never
	// inside Attach, and does not wait for a connect under way: until it is
	// over Write takes 0 bytes, and OnWritable tells the end of it; if it fails,
	// OnClose follows. tag must be at least AttachTag. The loop owns fd
	// from then on; after an error it is still the caller's.
	Attach(fd int, tag uint64) error
}

// Outgoing is one write of a batch.
type Outgoing struct {
	// ID and P are what Write is given. WriteBatch does not keep P.
	ID ID
	P  []byte
	// N and Err are what Write answers.
	N   int
	Err error
}

// An Engine is a running set of loops. Any goroutine.
type Engine interface {
	// Kind is the kind that was started.
	Kind() Kind
	// Addrs are the listeners' addresses, in the order of Config.Listen, with
	// the port that the system chose where 0 was asked for.
	Addrs() []net.Addr
	// Loops are the loops, by index.
	Loops() []Loop
	// StopAccepting closes the listeners. Connections stay.
	StopAccepting()
	// Close stops everything: each open connection gets OnClose with
	// ErrEngineClosed, and lingering ones are let go (who wants last messages
	// to arrive waits until Stats.Lingering is 0). It returns when all loops
	// have ended, so a callback must not call it.
	Close() error
	// Done is closed when all loops have ended; Err then tells why: nil after
	// Close, the error otherwise.
	Done() <-chan struct{}
	// Err is the reason of an end that Close did not ask for.
	Err() error
	// Stats are the counters at this moment.
	Stats() Stats
}

// Stats are an engine's counters, summed over its loops, each as it was at the
// end of its loop's last turn. All but Conns and Lingering only grow.
type Stats struct {
	// Conns is the number of connections that had OnOpen and not yet OnClose.
	Conns int64
	// Accepted counts connections taken from listeners, Attached those given
	// to Attach.
	Accepted, Attached uint64
	// RefusedMaxConns counts newcomers closed because of Config.MaxConns,
	// RefusedNoDescriptor those for whom the process or the system had no
	// descriptor left (EMFILE, ENFILE), RefusedNoMemory those refused by
	// ENOBUFS or ENOMEM.
	RefusedMaxConns, RefusedNoDescriptor, RefusedNoMemory uint64
	// AcceptErrors counts what else accept(2) said, ECONNABORTED left out.
	AcceptErrors uint64
	// Reads and Writes count system calls that moved bytes, ShortWrites those
	// writes that the kernel cut short or refused with EAGAIN.
	Reads, Writes, ShortWrites uint64
	// BytesRead and BytesWritten count what they moved.
	BytesRead, BytesWritten uint64
	// Lingering is the number of connections waiting for their peer to close.
	Lingering int64
	// LingerTimeouts counts closes that waited Config.LingerTimeout in vain.
	LingerTimeouts uint64
	// Wakes counts OnWake calls.
	Wakes uint64
	// HandlerPanics counts panics recovered in callbacks.
	HandlerPanics uint64
}

// MaxKeepAlive is the longest Config.KeepAlive: Linux takes no longer
// TCP_KEEPIDLE.
const MaxKeepAlive = 32767 * time.Second

// Config is what an engine needs to know. It is copied by Start.
type Config struct {
	// Loops is the number of event loops. If zero, GOMAXPROCS (not NumCPU,
	// which is wrong in containers with a CPU limit).
	Loops int
	// Listen are the addresses to accept on: "host:port" for TCP (an empty
	// host means all addresses, IPv4 and IPv6), "unix:PATH" for a unix socket,
	// "fd:N" for a listening socket that the process inherited, which is the
	// engine's from then on.
	// None is allowed: such an engine serves only Attach.
	Listen []string
	// ReusePort lets other processes of the same user listen on the same TCP
	// ports; the kernel spreads newcomers over them. Without it, an address in
	// use is an error even though each loop has a listener of its own.
	ReusePort bool
	// Backlog is the listen queue. If zero, 65,535, which the kernel cuts to
	// net.core.somaxconn.
	Backlog int
	// DeferAccept, on Linux, hands over a connection only when its first bytes
	// are there, or this long after (TCP_DEFER_ACCEPT, whole seconds): 30 %
	// less CPU per connection, and silent connects never reach us.
	// If zero, off.
	DeferAccept time.Duration
	// MaxConns is the highest number of connections over all loops, lingering
	// ones included. If zero, 1,000,000.
	MaxConns int
	// ReadBufferBytes is the size of each loop's one read buffer. If zero,
	// 64 KiB.
	ReadBufferBytes int
	// SendBufferBytes sets SO_SNDBUF on each connection. If zero, the kernel
	// tunes it (up to net.ipv4.tcp_wmem's maximum).
	SendBufferBytes int
	// UserTimeout sets TCP_USER_TIMEOUT where the system has it: how
	// long sent data may stay unacknowledged. If zero, the system's default.
	UserTimeout time.Duration
	// KeepAlive sets the idle time of TCP keep-alive, at most MaxKeepAlive. If
	// zero, off.
	KeepAlive time.Duration
	// NoIOURing turns batches through io_uring off (Linux, epoll and easygo
	// engines). Where the system forbids io_uring, it is off by itself.
	NoIOURing bool
	// TickInterval is the distance between OnTick calls. If zero, 250 ms.
	TickInterval time.Duration
	// LingerTimeout bounds how long Close waits for the peer. If zero, 2 s.
	LingerTimeout time.Duration
	// PausedReadMaxBytes bounds what the gnet engine holds for a paused
	// connection. If zero, 256 KiB.
	PausedReadMaxBytes int
	// OnPanic is told of each recovered panic, on the loop; id is 0 where no
	// one connection is to blame. May be nil.
	OnPanic func(loop int, id ID, value any, stack []byte)
}

// Defaults of Config.
const (
	DefaultBacklog            = 65535
	DefaultMaxConns           = 1_000_000
	DefaultReadBufferBytes    = 64 << 10
	DefaultTickInterval       = 250 * time.Millisecond
	DefaultLingerTimeout      = 2 * time.Second
	DefaultPausedReadMaxBytes = 256 << 10
)
