//go:build linux || darwin || freebsd

// Package gnet runs event loops on panjf2000/gnet. It is the default engine
// where there is no epoll.
//
// gnet waits for readiness, reads, and owns the descriptors. What it does not do
// as the contract demands, this package does beside it:
//
//   - Accepting. In gnet an accept(2) that fails for want of a descriptor or of
//     memory ends the whole engine and every connection with it, and there is
//     no way to stop accepting. No reserve makes that safe, for the rest of the
//     process takes descriptors too. So the listeners are ours (accept.go), and
//     gnet runs as a "client", which has none. The price, measured on loopback,
//     is written at acceptorsPerListener.
//   - Writing. gnet keeps what a socket does not take, without bound. We write
//     with raw system calls, and gnet never has output of ours. The waiter, a
//     small poller of its own for the few connections that are full, reports
//     when there is room.
//   - Waking. Execute runs tasks out of order, and a task that posts itself
//     starves the sockets. Each loop has a bell: a socket pair, one end of which
//     is a connection of gnet's like any other and waits for its turn.
//   - Ticking. gnet's OnTick runs off the loop; ours follows the bell.
//   - Closing. gnet's close drops what was not sent and may call back inside
//     our own call. We shut down, linger and close when no callback is running.
//   - Pausing. gnet cannot stop reading. What a paused connection receives is
//     held, up to a bound, also if its peer closes meanwhile.
package gnet

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/conns"
)

// Driver starts engines of this package.
var Driver netpoll.Driver = driver{}

type driver struct{}

func (driver) Name() string { return "gnet" }

func (driver) Start(cfg netpoll.Config, newHandler func(l netpoll.Loop) netpoll.Handler) (netpoll.Engine, error) {
	shared, err := conns.NewShared(cfg)
	if err != nil {
		return nil, err
	}
	e := &engine{Shared: shared, stopc: make(chan struct{})}
	e.spare.fds.Fill(sparesMax)
	if err := e.start(newHandler); err != nil {
		e.shutdown(nil)
		return nil, err
	}
	return e, nil
}

// An engine is gnet's client with what it lacks.
type engine struct {
	// Immutable after start.
	*conns.Shared
	client    *gnet.Client
	loops     []*loop
	listeners []*listener
	waiter    *waiter

	// Atomic: any goroutine.
	ready atomic.Bool // all handlers are made
	// What acceptors count; loops have their own counts.
	refusedMaxConns, refusedNoDescriptor, refusedNoMemory, acceptErrors atomic.Uint64

	// Guarded by joinMu: no join begins once Stopping is set.
	joinMu sync.Mutex
	joins  sync.WaitGroup // sockets on their way into gnet, and acceptors

	spare spares

	ending sync.WaitGroup // loops that have not closed their connections yet
	stopc  chan struct{}  // closed when stopping
	ticker sync.WaitGroup
}

// start makes everything, in the order in which it is needed.
func (e *engine) start(newHandler func(l netpoll.Loop) netpoll.Handler) (err error) {
	if e.waiter, err = newWaiter(); err != nil {
		return err
	}
	if err := e.listen(); err != nil {
		return err
	}
	e.client, err = gnet.NewClient(&events{engine: e},
		gnet.WithNumEventLoop(e.Config.Loops), // gnet's own default is NumCPU
		gnet.WithLockOSThread(true),
		gnet.WithReadBufferCap(e.Config.ReadBufferBytes), // rounded up to a power of two
		gnet.WithLogger(silence{}))
	if err != nil {
		return fmt.Errorf("netpoll: gnet: %w", err)
	}
	if err := e.client.Start(); err != nil {
		return fmt.Errorf("netpoll: gnet: %w", err)
	}
	for index := range e.Config.Loops {
		l, err := newLoop(e, index)
		if err != nil {
			return fmt.Errorf("netpoll: start loop %d: %w", index, err)
		}
		l.newHandler = newHandler
		e.loops = append(e.loops, l)
	}
	for _, l := range e.loops {
		if err := l.installBell(); err != nil {
			return fmt.Errorf("netpoll: start loop %d: %w", l.Index(), err)
		}
	}
	e.waiter.running = true
	go e.waiter.run(e.writable)
	e.ticker.Go(e.tick)
	e.ready.Store(true)
	e.ringAll() // for what was asked for before all were ready
	e.accept()
	return nil
}

// tick rings the loops for OnTick and for their linger deadlines.
func (e *engine) tick() {
	period := min(e.Config.TickInterval, max(time.Millisecond, e.Config.LingerTimeout/4))
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	nextTick := e.Now() + int64(e.Config.TickInterval)
	for {
		select {
		case <-e.stopc:
			return
		case <-ticker.C:
		}
		due := e.Now() >= nextTick
		if due {
			nextTick = max(nextTick+int64(e.Config.TickInterval), e.Now()+int64(period)/2)
		}
		for _, l := range e.loops {
			if due {
				l.tickDue.Store(true)
			}
			l.ring()
		}
	}
}

func (e *engine) ringAll() {
	for _, l := range e.loops {
		l.ring()
	}
}

// writable hands the waiter's event to the connection's loop.
func (e *engine) writable(id netpoll.ID, hangup bool) {
	e.loops[id.Loop()].post(post{id: id, hangup: hangup})
}

// Addrs is part of [netpoll.Engine].
func (e *engine) Addrs() []net.Addr {
	var addrs []net.Addr
	for _, ln := range e.listeners {
		addrs = append(addrs, ln.addr)
	}
	return addrs
}

// Loops is part of [netpoll.Engine].
func (e *engine) Loops() []netpoll.Loop {
	loops := make([]netpoll.Loop, len(e.loops))
	for i, l := range e.loops {
		loops[i] = l
	}
	return loops
}

// Stats is part of [netpoll.Engine].
func (e *engine) Stats() netpoll.Stats {
	s := netpoll.Stats{
		RefusedMaxConns:     e.refusedMaxConns.Load(),
		RefusedNoDescriptor: e.refusedNoDescriptor.Load(),
		RefusedNoMemory:     e.refusedNoMemory.Load(),
		AcceptErrors:        e.acceptErrors.Load(),
	}
	for _, l := range e.loops {
		l.AddTo(&s)
	}
	return s
}

// Close is part of [netpoll.Engine]. A callback must not call it: it would wait
// for itself.
func (e *engine) Close() error {
	e.shutdown(nil)
	return e.Wait()
}

// fail ends the engine because one of gnet's loops has ended. It does not wait.
func (e *engine) fail(err error) { go e.shutdown(err) }

// errLoopEnded: gnet gave up a loop, which it does when epoll_wait(2) or
// kevent(2) fails.
var errLoopEnded = errors.New("netpoll: gnet ended a loop")

// shutdown ends everything, in the reverse order of start, as far as start got.
// The first call decides on err.
func (e *engine) shutdown(err error) {
	e.End(err, func() {
		e.joinMu.Lock()
		e.SetStopping()
		e.joinMu.Unlock()
		close(e.stopc)
		e.StopAccepting()
		e.ticker.Wait()
		if err == nil {
			// gnet confirms a join from the loop. One that has died never will.
			e.joins.Wait()
		}
		e.ringAll()
		e.ending.Wait()
		if e.client != nil {
			_ = e.client.Stop() // waits for the loops
		}
		e.waiter.close()
		for _, l := range e.loops {
			l.free()
		}
		e.spare.close()
	})
}

// beginJoin announces a socket on its way into gnet. It returns false if it is
// too late.
func (e *engine) beginJoin() bool {
	e.joinMu.Lock()
	defer e.joinMu.Unlock()
	if e.Stopping() {
		return false
	}
	e.joins.Add(1)
	return true
}

// silence is gnet's logger: netpoll does not log.
type silence struct{}

func (silence) Debugf(string, ...any) {}
func (silence) Infof(string, ...any)  {}
func (silence) Warnf(string, ...any)  {}
func (silence) Errorf(string, ...any) {}
func (silence) Fatalf(string, ...any) {}
