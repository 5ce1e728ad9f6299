//go:build linux || darwin || freebsd

package netpoll

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// The gnet engine. gnet waits for readiness, reads, and owns the descriptors;
// what it does not do as the contract wants it is done beside it:
//
//   - Accepting. In gnet an accept(2) that fails for want of a descriptor or of
//     memory ends the whole engine and every connection with it, and there is
//     no way to stop accepting. No reserve makes that safe, for the rest of the
//     process takes descriptors too. So the listeners are ours
//     (gnet_accept.go), and gnet runs as a "client", which has none. The price,
//     measured on loopback, stands at acceptors.
//   - Writing. gnet keeps what a socket does not take, without bound. We write
//     with raw system calls, and gnet never has output of ours. The waiter, a
//     small poller of its own for the few connections that are full, tells when
//     there is room.
//   - Waking. Execute runs tasks out of order, and a task that posts itself
//     starves the sockets. Each loop has a bell: a socket pair, one end of which
//     is a connection of gnet's like any other and waits for its turn.
//   - Ticking. gnet's OnTick runs off the loop; ours is rung in with the bell.
//   - Closing. gnet's close drops what was not sent and may call back inside
//     our own call. We shut down, linger and close when no callback is running.
//   - Pausing. gnet cannot stop reading. What a paused connection receives is
//     held, up to a bound; if its peer closes meanwhile, OnClose comes at once
//     and what was held is dropped.
type gnetEngine struct {
	// Immutable after startGnet.
	cfg       Config
	begun     time.Time
	client    *gnet.Client
	loops     []*gnetLoop
	listeners []*gnetListener
	waiter    *gnetWaiter

	// Atomic: any goroutine.
	ready    atomic.Bool  // all handlers are made
	stopping atomic.Bool  // Close was called, or a loop has ended
	slots    atomic.Int64 // taken in all tables, against Config.MaxConns
	// What acceptors count; loops have their own counts.
	refusedMaxConns, refusedNoDescriptor, refusedNoMemory, acceptErrors atomic.Uint64

	// Guarded by joinMu: no join begins once stopping is set.
	joinMu sync.Mutex
	joins  sync.WaitGroup // sockets on their way into gnet, and acceptors

	spare spareDescriptors

	ending sync.WaitGroup // loops that have not closed their connections yet
	stop   sync.Once
	stopc  chan struct{} // closed when stopping
	ticker sync.WaitGroup
	donec  chan struct{}
	err    error // written before donec is closed, read after
}

// startGnet starts the gnet engine. cfg has its defaults filled in.
func startGnet(cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	e := &gnetEngine{
		cfg: cfg, begun: time.Now(),
		stopc: make(chan struct{}), donec: make(chan struct{}),
	}
	e.spare.fill()
	if err := e.start(newHandler); err != nil {
		e.shutdown(nil)
		return nil, err
	}
	return e, nil
}

// start makes everything, in the order in which it is needed.
func (e *gnetEngine) start(newHandler func(l Loop) Handler) (err error) {
	if e.waiter, err = newGnetWaiter(); err != nil {
		return err
	}
	if err := e.listen(); err != nil {
		return err
	}
	e.client, err = gnet.NewClient(&gnetEvents{engine: e},
		gnet.WithNumEventLoop(e.cfg.Loops), // gnet's own default is NumCPU
		gnet.WithLockOSThread(true),
		gnet.WithReadBufferCap(e.cfg.ReadBufferBytes), // rounded up to a power of two
		gnet.WithLogger(gnetSilence{}))
	if err != nil {
		return fmt.Errorf("netpoll: gnet: %w", err)
	}
	if err := e.client.Start(); err != nil {
		return fmt.Errorf("netpoll: gnet: %w", err)
	}
	for index := range e.cfg.Loops {
		l, err := newGnetLoop(e, index)
		if err != nil {
			return fmt.Errorf("netpoll: start loop %d: %w", index, err)
		}
		l.newHandler = newHandler
		e.loops = append(e.loops, l)
	}
	for _, l := range e.loops {
		if err := l.installBell(); err != nil {
			return fmt.Errorf("netpoll: start loop %d: %w", l.index, err)
		}
	}
	e.waiter.running = true
	go e.waiter.run(e.writable)
	e.ticker.Go(e.tick)
	e.ready.Store(true)
	for _, l := range e.loops {
		l.ring() // for what was asked for before all were ready
	}
	e.accept()
	return nil
}

// tick rings the loops for OnTick and for their linger deadlines.
func (e *gnetEngine) tick() {
	period := min(e.cfg.TickInterval, max(time.Millisecond, e.cfg.LingerTimeout/4))
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	nextTick := e.now() + int64(e.cfg.TickInterval)
	for {
		select {
		case <-e.stopc:
			return
		case <-ticker.C:
		}
		due := e.now() >= nextTick
		if due {
			nextTick = max(nextTick+int64(e.cfg.TickInterval), e.now()+int64(period)/2)
		}
		for _, l := range e.loops {
			if due {
				l.tickDue.Store(true)
			}
			l.ring()
		}
	}
}

// writable hands the waiter's event to the connection's loop.
func (e *gnetEngine) writable(id ID, hangup bool) { e.loops[id.Loop()].postWritable(id, hangup) }

// Kind is part of [Engine].
func (e *gnetEngine) Kind() Kind { return Gnet }

// Addrs is part of [Engine].
func (e *gnetEngine) Addrs() []net.Addr {
	var addrs []net.Addr
	for _, ln := range e.listeners {
		addrs = append(addrs, ln.addr)
	}
	return addrs
}

// Loops is part of [Engine].
func (e *gnetEngine) Loops() []Loop {
	loops := make([]Loop, len(e.loops))
	for i, l := range e.loops {
		loops[i] = l
	}
	return loops
}

// Close is part of [Engine]. A callback must not call it: it would wait for
// itself.
func (e *gnetEngine) Close() error {
	e.shutdown(nil)
	<-e.donec
	return e.err
}

// fail ends the engine because one of gnet's loops has ended. It does not wait.
func (e *gnetEngine) fail(err error) { go e.shutdown(err) }

// errGnetLoopEnded: gnet gave up a loop, which it does when epoll_wait(2) or
// kevent(2) fails.
var errGnetLoopEnded = errors.New("netpoll: gnet ended a loop")

// shutdown ends everything, in the reverse order of start, as far as start got.
// The first call decides on err.
func (e *gnetEngine) shutdown(err error) {
	e.stop.Do(func() {
		e.joinMu.Lock()
		e.stopping.Store(true)
		e.joinMu.Unlock()
		close(e.stopc)
		e.StopAccepting()
		e.ticker.Wait()
		if err == nil {
			// gnet answers a join from the loop. One that has died never will.
			e.joins.Wait()
		}
		for _, l := range e.loops {
			l.ring()
		}
		e.ending.Wait()
		if e.client != nil {
			_ = e.client.Stop() // waits for the loops
		}
		e.waiter.close()
		for _, l := range e.loops {
			l.free()
		}
		e.spare.close()
		e.err = err
		close(e.donec)
	})
}

// beginJoin announces a socket on its way into gnet, false if it is too late.
func (e *gnetEngine) beginJoin() bool {
	e.joinMu.Lock()
	defer e.joinMu.Unlock()
	if e.stopping.Load() {
		return false
	}
	e.joins.Add(1)
	return true
}

// Done is part of [Engine].
func (e *gnetEngine) Done() <-chan struct{} { return e.donec }

// Err is part of [Engine].
func (e *gnetEngine) Err() error {
	select {
	case <-e.donec:
		return e.err
	default:
		return nil
	}
}

// Stats is part of [Engine].
func (e *gnetEngine) Stats() Stats {
	s := Stats{
		RefusedMaxConns:     e.refusedMaxConns.Load(),
		RefusedNoDescriptor: e.refusedNoDescriptor.Load(),
		RefusedNoMemory:     e.refusedNoMemory.Load(),
		AcceptErrors:        e.acceptErrors.Load(),
	}
	for _, l := range e.loops {
		l.published.addTo(&s)
	}
	return s
}

// now is the engine's clock, in nanoseconds.
func (e *gnetEngine) now() int64 { return int64(time.Since(e.begun)) }

// reserve takes one of Config.MaxConns places.
func (e *gnetEngine) reserve() bool {
	if e.slots.Add(1) > int64(e.cfg.MaxConns) {
		e.slots.Add(-1)
		e.refusedMaxConns.Add(1)
		return false
	}
	return true
}

// gnetSilence is gnet's logger: netpoll does not log.
type gnetSilence struct{}

func (gnetSilence) Debugf(string, ...any) {}
func (gnetSilence) Infof(string, ...any)  {}
func (gnetSilence) Warnf(string, ...any)  {}
func (gnetSilence) Errorf(string, ...any) {}
func (gnetSilence) Fatalf(string, ...any) {}
