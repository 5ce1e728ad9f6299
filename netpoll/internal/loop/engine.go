//go:build linux || darwin || freebsd

package loop

import (
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/conns"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// An Engine runs loops over one kind of poller.
type Engine struct {
	// Immutable after Start.
	*conns.Shared
	loops []*Loop
	addrs []net.Addr
	// listeners are those of each loop, by index in Config.Listen. A listener
	// that loops share is in all of them.
	listeners  [][]*sock.Listener
	newHandler func(l netpoll.Loop) netpoll.Handler

	// handlers counts the loops that have no handler yet, running those whose
	// goroutine has not ended.
	handlers, running sync.WaitGroup
}

// Start runs loops on pollers that newPoller makes.
func Start(cfg netpoll.Config, newPoller func() (Poller, error), newHandler func(l netpoll.Loop) netpoll.Handler) (*Engine, error) {
	shared, err := conns.NewShared(cfg)
	if err != nil {
		return nil, err
	}
	e := &Engine{Shared: shared, newHandler: newHandler}
	if err := e.listen(); err != nil {
		e.discard()
		return nil, err
	}
	for index := range e.Config.Loops {
		l, err := newLoop(e, index, newPoller)
		if err != nil {
			e.discard()
			return nil, fmt.Errorf("netpoll: start loop %d: %w", index, err)
		}
		e.loops = append(e.loops, l)
	}

	e.handlers.Add(len(e.loops))
	e.running.Add(len(e.loops))
	for _, l := range e.loops {
		go l.run()
	}
	e.handlers.Wait()
	for _, l := range e.loops {
		if err := l.watchListeners(); err != nil {
			_ = e.Close()
			return nil, fmt.Errorf("netpoll: watch listener: %w", err)
		}
	}
	return e, nil
}

// listen opens what Config.Listen names.
func (e *Engine) listen() error {
	e.listeners = make([][]*sock.Listener, e.Config.Loops)
	for _, address := range e.Config.Listen {
		sockets, addr, err := sock.Listen(address, &e.Config)
		if err != nil {
			return fmt.Errorf("netpoll: listen on %q: %w", address, err)
		}
		for i := range e.listeners {
			e.listeners[i] = append(e.listeners[i], sockets[i%len(sockets)])
		}
		e.addrs = append(e.addrs, addr)
	}
	return nil
}

// discard undoes what Start did before the loops ran.
func (e *Engine) discard() {
	e.StopAccepting()
	for _, l := range e.loops {
		l.free()
	}
}

// Addrs is part of [netpoll.Engine].
func (e *Engine) Addrs() []net.Addr { return slices.Clone(e.addrs) }

// Loops is part of [netpoll.Engine].
func (e *Engine) Loops() []netpoll.Loop {
	loops := make([]netpoll.Loop, len(e.loops))
	for i, l := range e.loops {
		loops[i] = l
	}
	return loops
}

// Stats is part of [netpoll.Engine].
func (e *Engine) Stats() netpoll.Stats {
	var s netpoll.Stats
	for _, l := range e.loops {
		l.AddTo(&s)
	}
	return s
}

// StopAccepting is part of [netpoll.Engine].
func (e *Engine) StopAccepting() {
	for index := range e.addrs {
		for _, own := range e.listeners {
			ln := own[index]
			ln.Close(func(fd int) {
				for _, l := range e.loops {
					if e.listeners[l.Index()][index] == ln {
						l.poll.Remove(fd)
					}
				}
			})
		}
	}
}

// RingAll rings the doorbells of all loops. Any goroutine.
func (e *Engine) RingAll() {
	for _, l := range e.loops {
		l.Doorbell.Ring()
	}
}

// Close is part of [netpoll.Engine]. A callback must not call it: it would wait
// for itself.
func (e *Engine) Close() error {
	e.shutdown(nil)
	return e.Wait()
}

// fail ends the engine because a loop cannot go on. It does not wait.
func (e *Engine) fail(err error) { go e.shutdown(err) }

// shutdown ends all loops and waits for them. The first call decides on err.
func (e *Engine) shutdown(err error) {
	e.End(err, func() {
		e.StopAccepting()
		e.SetStopping()
		e.RingAll()
		e.running.Wait()
		for _, l := range e.loops {
			l.free()
		}
	})
}
