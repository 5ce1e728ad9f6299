//go:build linux || darwin || freebsd

package netpoll

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// An engine runs loops over one kind of poller. It is what the epoll and the
// easygo engine have in common, which is all but the poller.
type engine struct {
	// Immutable after startEngine.
	kind  Kind
	cfg   Config
	loops []*loop
	addrs []net.Addr
	// listeners are those of each loop, by index in Config.Listen; a listener
	// that loops share stands in all of them.
	listeners [][]*listener
	begun     time.Time
	onPanic   func(loop int, id ID, value any, stack []byte)

	// Atomic: any goroutine.
	slots atomic.Int64 // taken in all tables, against Config.MaxConns

	// handlers counts the loops that have no handler yet, running those whose
	// goroutine has not ended.
	handlers, running sync.WaitGroup
	stop              sync.Once
	donec             chan struct{}
	err               error // written before donec is closed, read after
}

// startEngine starts loops on pollers of newPoller's making.
func startEngine(kind Kind, cfg Config, newPoller func(e *engine) (poller, error), newHandler func(l Loop) Handler) (Engine, error) {
	e := &engine{
		kind: kind, cfg: cfg, begun: time.Now(), onPanic: cfg.OnPanic,
		donec: make(chan struct{}),
	}
	if err := e.listen(); err != nil {
		return nil, err
	}
	for range cfg.Loops {
		l, err := newLoop(e, len(e.loops), newPoller)
		if err != nil {
			e.discard()
			return nil, fmt.Errorf("netpoll: start loop %d: %w", len(e.loops), err)
		}
		e.loops = append(e.loops, l)
	}

	e.handlers.Add(len(e.loops))
	e.running.Add(len(e.loops))
	for _, l := range e.loops {
		l.newHandler = newHandler
		go l.run()
	}
	e.handlers.Wait()
	for _, l := range e.loops {
		if err := l.watchListeners(); err != nil {
			e.shutdown(nil)
			return nil, fmt.Errorf("netpoll: watch listener: %w", err)
		}
	}
	return e, nil
}

// discard undoes what startEngine did before the loops ran.
func (e *engine) discard() {
	e.StopAccepting()
	for _, l := range e.loops {
		l.free()
	}
}

// Kind is part of [Engine].
func (e *engine) Kind() Kind { return e.kind }

// Addrs is part of [Engine].
func (e *engine) Addrs() []net.Addr { return append([]net.Addr(nil), e.addrs...) }

// Loops is part of [Engine].
func (e *engine) Loops() []Loop {
	loops := make([]Loop, len(e.loops))
	for i, l := range e.loops {
		loops[i] = l
	}
	return loops
}

// StopAccepting is part of [Engine].
func (e *engine) StopAccepting() {
	for i := range e.addrs {
		for _, own := range e.listeners {
			own[i].close(e, i)
		}
	}
}

// Close is part of [Engine]. A callback must not call it: it would wait for
// itself.
func (e *engine) Close() error {
	e.shutdown(nil)
	<-e.donec
	return e.err
}

// fail ends the engine because a loop cannot go on. It does not wait.
func (e *engine) fail(err error) { go e.shutdown(err) }

// shutdown ends all loops and waits for them. The first call decides on err.
func (e *engine) shutdown(err error) {
	e.stop.Do(func() {
		e.StopAccepting()
		for _, l := range e.loops {
			l.stopping.Store(true)
			l.ring()
		}
		e.running.Wait()
		for _, l := range e.loops {
			l.free()
		}
		e.err = err
		close(e.donec)
	})
}

// Done is part of [Engine].
func (e *engine) Done() <-chan struct{} { return e.donec }

// Err is part of [Engine].
func (e *engine) Err() error {
	select {
	case <-e.donec:
		return e.err
	default:
		return nil
	}
}

// now is the engine's clock, in nanoseconds: monotonic, and cheaper than
// time.Now, which asks for the wall clock too.
func (e *engine) now() int64 { return int64(time.Since(e.begun)) }

// reserve takes one of Config.MaxConns places.
func (e *engine) reserve() bool {
	if e.slots.Add(1) > int64(e.cfg.MaxConns) {
		e.slots.Add(-1)
		return false
	}
	return true
}

// errLoopEnded: a callback ended its goroutine, as t.FailNow does in tests.
var errLoopEnded = errors.New("netpoll: a callback ended the goroutine of its loop")
