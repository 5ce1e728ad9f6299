// Package netpoll turns sockets into callbacks on event loops. It knows bytes
// and descriptors, and nothing of WebSocket.
//
// This package is the contract. The engines that keep it are packages of their
// own, so that a program links only what it uses: epoll, the default on Linux,
// easygo and gnet, the default elsewhere. Package engines finds them by name.
//
// # The contract
//
// An [Engine] is a fixed set of event loops. A [Loop] is one goroutine
// that waits for readiness and calls one [Handler]. What every
// engine promises is written here; the tests of package netpolltest hold each of
// them to it, and a fake engine that keeps the same promises without a kernel.
//
//   - Goroutines. Each loop has one handler, made by the function given to
//     [Driver].Start, on the loop's own goroutine. All callbacks of a handler
//     and all Loop methods except Wake and Index run on that goroutine; nothing
//     else needs a lock. Any goroutine may call Wake, at any time, also after
//     the engine has closed.
//   - Identity. An [ID] is loop, slot and generation. Slots are dense and
//     reused (last freed, first reused), so a handler keeps its own state in
//     arrays indexed by slot. The generation makes an ID unique: for a stale ID,
//     Loop methods do nothing and return [ErrClosed]. The generations of a loop
//     count up, so they also tell which of two connections is older.
//   - Opening. OnOpen comes first, exactly once, and says where the connection
//     comes from: the index of its listener, or the tag given to Attach. Data
//     that has already arrived is read at once.
//   - Reading. OnData gets what has arrived, in the loop's own buffer: the
//     handler may change the bytes (unmask in place) and must copy what it
//     wants to keep. The engine holds no input, so an idle connection has no
//     buffer. PauseRead stops OnData until ResumeRead: the peer is then slowed
//     down by TCP. (The gnet engine cannot stop its reads: it keeps what arrives
//     meanwhile, up to Config.PausedReadMaxBytes, and closes the connection with
//     [ErrPausedReadFull] beyond that.)
//   - Writing. Write and Writev hand bytes to the kernel and never keep any.
//     They return how many bytes the kernel took. Fewer than given, with a nil
//     error, means that the socket is full: the engine watches it and calls
//     OnWritable once, when there is room again; the caller keeps the rest.
//     An error means that the connection is lost; OnClose follows.
//   - Closing. OnClose comes last, exactly once for each OnOpen, and never from
//     inside a Loop method: it follows in the same turn, or the next.
//     Its error is [io.EOF] if the peer closed, [ErrClosed] if the handler did,
//     [ErrEngineClosed] if the engine was stopped, and the system's error
//     otherwise. Close delivers what was written before it: it ends the sending
//     direction, reads and drops what the peer still sends (a plain close(2)
//     with unread input would reset the connection and lose the last message),
//     and frees the connection when the peer has closed or Config.LingerTimeout
//     has passed. OnClose does not wait for that: the handler can drop its
//     state, while the engine keeps descriptor and slot, and counts them in
//     Stats.Lingering and against Config.MaxConns. Abort frees the connection at
//     once, with a plain close(2). After either, no callback but OnClose
//     follows.
//   - Waking. Wake makes OnWake run soon: any number of calls before it runs
//     are one. The flag is cleared before OnWake starts, so a Wake during
//     OnWake leads to another call. If OnWake returns true, it is called again
//     after the sockets had their turn: that is how long work yields to I/O. An
//     engine calls OnWake after the events of a turn, not between them, if it
//     knows the end of a turn.
//   - Ticking. OnTick runs about every Config.TickInterval. It is the only
//     clock: a connection has no timer.
//   - Running out. If there is no descriptor left, or Config.MaxConns is
//     reached, a new connection is accepted and closed at once, so that the peer
//     does not wait, and counted. Open connections are not affected.
//   - Panics. A panic in OnOpen, OnData or OnWritable is recovered, counted,
//     given to Config.OnPanic, and aborts that one connection: its OnClose gets
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

// A Driver starts engines of one kind. The packages below this one each have a
// variable of that name. Drivers can be compared. Any goroutine may use one.
type Driver interface {
	// Name is the name of the package: "epoll", "easygo", "gnet".
	Name() string
	// Start runs an engine. It returns when every loop is ready and the
	// listeners take connections. An error names the field of cfg or the
	// address that is wrong.
	//
	// newHandler is called once for each loop, on that loop's goroutine, before
	// any event of any loop; all handlers exist when the first event comes. Like
	// every callback it must not block.
	Start(cfg Config, newHandler func(l Loop) Handler) (Engine, error)
}

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

// ID identifies one connection for as long as the process lives. The zero ID
// identifies none.
type ID uint64

// The layout of an ID: 8 bits of loop, 24 bits of slot, 32 bits of generation.
const (
	MaxLoops = 1 << 8
	MaxSlots = 1 << 24
)

// MakeID returns an ID. Only engines, and handlers that find a connection by its
// slot, need it.
func MakeID(loop int, slot, generation uint32) ID {
	return ID(uint64(loop)<<56 | uint64(slot&(MaxSlots-1))<<32 | uint64(generation))
}

// Loop returns the index of the loop that owns the connection.
func (id ID) Loop() int { return int(id >> 56) }

// Slot returns the connection's place in its loop's tables. It is less than the
// highest number of connections that the loop ever had at once.
func (id ID) Slot() uint32 { return uint32(id>>32) & (MaxSlots - 1) }

// Generation distinguishes one use of a slot from the next. It is never 0.
func (id ID) Generation() uint32 { return uint32(id) }

// String returns LOOP-SLOT-GENERATION, for logs.
func (id ID) String() string {
	return fmt.Sprintf("%d-%d-%d", id.Loop(), id.Slot(), id.Generation())
}

// ParseID returns the ID whose String is text. There may be no such connection.
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
	// Config.Listen, or the tag given to Attach.
	OnOpen(id ID, tag uint64)
	// OnData reports bytes. The handler may use and change p until it returns.
	OnData(id ID, p []byte)
	// OnWritable reports that a connection whose last write was cut short has
	// room again.
	OnWritable(id ID)
	// OnClose reports the end. id is stale when it returns.
	OnClose(id ID, err error)
	// OnWake follows Wake. If it returns true, it is called again after the next
	// look at the sockets.
	OnWake() (again bool)
	// OnTick runs about every Config.TickInterval.
	OnTick()
}

// A Loop is one event loop, as its handler sees it. All methods but Index and
// Wake belong to the loop's goroutine.
type Loop interface {
	// Index returns the loop's number, from 0. Any goroutine.
	Index() int
	// Wake makes OnWake run soon. Any goroutine, at any time.
	Wake()
	// Write hands p to the kernel and returns how much of it was taken. It does
	// not keep p. See the contract for a short count.
	Write(id ID, p []byte) (n int, err error)
	// Writev does the same for several slices, in order, with one system call
	// if there are not more than 1,024 (IOV_MAX). It neither keeps nor changes
	// bufs or what they point to.
	Writev(id ID, bufs [][]byte) (n int, err error)
	// WriteBatch does Write for each element, in order, and fills in its N and
	// Err. If the system has io_uring, one system call makes hundreds of writes.
	// No ID may occur twice.
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
	// Renew gives an open connection another ID, in the same slot, and returns it: the
	// socket goes on, but what belongs to its old ID is over. No OnClose follows for
	// that one, and no OnOpen for the new one. Renew is for OnWake and OnTick only. It
	// returns 0, and changes nothing, if the connection is not open, if OnWritable is
	// due, or if it is not yet attached for good.
	Renew(id ID) ID
	// RemoteAddr asks the system for the peer's address. It returns the zero
	// AddrPort if there is none (unix sockets, stale IDs).
	RemoteAddr(id ID) netip.AddrPort
	// FD returns the connection's descriptor, -1 for a stale ID. The engine
	// still owns it.
	FD(id ID) int
	// Attach makes fd, a non-blocking stream socket that is connected or
	// connecting, a connection of this loop. OnOpen(id, tag) follows, never
	// inside Attach, and does not wait for a connect under way: until that is
	// over Write takes 0 bytes, then OnWritable is called, or OnClose if it
	// failed. tag must be at least AttachTag. The loop owns fd from then on;
	// after an error the caller still does.
	Attach(fd int, tag uint64) error
}

// Outgoing is one write of a batch.
type Outgoing struct {
	// ID and P are the arguments of Write. WriteBatch does not keep P.
	ID ID
	P  []byte
	// N and Err are the results of Write.
	N   int
	Err error
}

// An Engine is a running set of loops. Any goroutine may call its methods.
type Engine interface {
	// Addrs are the listeners' addresses, in the order of Config.Listen, with
	// the port that the system chose where 0 was asked for.
	Addrs() []net.Addr
	// Loops are the loops, by index.
	Loops() []Loop
	// StopAccepting closes the listeners. Connections stay.
	StopAccepting()
	// Close stops everything: each open connection gets OnClose with
	// ErrEngineClosed, and lingering ones are freed (wait until Stats.Lingering
	// is 0 if their last messages must arrive). It returns when all loops have
	// ended, so a callback must not call it.
	Close() error
	// Done is closed when all loops have ended; Err then returns why.
	Done() <-chan struct{}
	// Err returns why the engine ended by itself. It is nil before the end and
	// after Close.
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
	// RefusedMaxConns counts new connections closed because of Config.MaxConns,
	// RefusedNoDescriptor those for which the process or the system had no
	// descriptor left (EMFILE, ENFILE), RefusedNoMemory those refused by
	// ENOBUFS or ENOMEM.
	RefusedMaxConns, RefusedNoDescriptor, RefusedNoMemory uint64
	// AcceptErrors counts other errors of accept(2), except ECONNABORTED.
	AcceptErrors uint64
	// Reads and Writes count system calls that moved bytes, ShortWrites those
	// writes that the kernel cut short or refused with EAGAIN.
	Reads, Writes, ShortWrites uint64
	// BytesRead and BytesWritten count the bytes that they moved.
	BytesRead, BytesWritten uint64
	// Lingering is the number of connections waiting for their peer to close.
	Lingering int64
	// LingerTimeouts counts connections whose peer did not close within
	// Config.LingerTimeout.
	LingerTimeouts uint64
	// Wakes counts OnWake calls.
	Wakes uint64
	// HandlerPanics counts panics recovered in callbacks.
	HandlerPanics uint64
}

// MaxKeepAlive is the longest Config.KeepAlive: Linux takes no longer
// TCP_KEEPIDLE.
const MaxKeepAlive = 32767 * time.Second

// Config configures an engine. Start copies it.
type Config struct {
	// Loops is the number of event loops. If zero, GOMAXPROCS (not NumCPU,
	// which is wrong in containers with a CPU limit), less what running engines
	// have added to it.
	Loops int
	// KeepGOMAXPROCS, with the epoll engine, leaves GOMAXPROCS as it is. By default
	// Start raises it by one for each loop, until the loop ends: a loop keeps its P
	// during short waits, because to give it up and get it back costs more than the
	// work on a message does. With KeepGOMAXPROCS a loop does that only while there
	// are more Ps than loops.
	KeepGOMAXPROCS bool
	// Listen are the addresses to accept on: "host:port" for TCP (an empty
	// host means all addresses, IPv4 and IPv6), "unix:PATH" for a unix socket,
	// "fd:N" for a listening socket that the process inherited, which the
	// engine then owns. Without any, the engine serves only Attach.
	Listen []string
	// ReusePort lets other processes of the same user listen on the same TCP
	// ports; the kernel spreads connections over them. Without it, an address in
	// use is an error even though each loop has a listener of its own.
	ReusePort bool
	// Backlog is the listen queue. If zero, 65,535, which the kernel cuts to
	// net.core.somaxconn.
	Backlog int
	// DeferAccept, on Linux, hands over a connection only when its first bytes
	// have arrived, or this long after (TCP_DEFER_ACCEPT, whole seconds): 30 %
	// less CPU per connection, and silent clients cost nothing.
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
	// UserTimeout sets TCP_USER_TIMEOUT, on Linux: how long sent data may stay
	// unacknowledged. If zero, the system's default.
	UserTimeout time.Duration
	// KeepAlive sets the idle time of TCP keep-alive, at most MaxKeepAlive. If
	// zero, off.
	KeepAlive time.Duration
	// NoIOURing turns batches through io_uring off (Linux, epoll and easygo
	// engines). They are off, too, if the system forbids io_uring.
	NoIOURing bool
	// TickInterval is the distance between OnTick calls. If zero, 250 ms.
	TickInterval time.Duration
	// LingerTimeout bounds how long Close waits for the peer. If zero, 2 s.
	LingerTimeout time.Duration
	// PausedReadMaxBytes bounds what the gnet engine holds for a paused
	// connection. If zero, 256 KiB.
	PausedReadMaxBytes int
	// OnPanic is called for each recovered panic, on the loop; id is 0 if it was
	// not in the callback of a connection. May be nil.
	OnPanic func(loop int, id ID, value any, stack []byte)
}
