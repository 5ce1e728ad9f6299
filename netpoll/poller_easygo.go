//go:build linux || darwin || freebsd

package netpoll

import (
	"runtime"
	"sync"
	"time"
)

// An easygoPoller runs a loop on one of mailru/easygo's low-level pollers. Such
// a poller is a goroutine of its own making which waits for events and calls a
// function for each: that goroutine becomes the loop's. It reports neither the
// end of a batch nor the passing of time, and cannot be asked to do anything
// else; so what a turn does besides the sockets happens when the doorbell
// rings, and a ticker rings it.
//
// A connection costs a closure of 24 bytes and an entry in easygo's map.
type easygoPoller struct {
	backend easygoBackend // per system: Epoll or Kqueue

	loop *loop // written before the first add

	// Owned by the loop's goroutine.
	started bool

	finish sync.Once
	donec  chan struct{}
	err    error // written before donec is closed
}

func startEasygo(cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	started, err := startEngine(Easygo, cfg, newEasygoPoller, newHandler)
	if err != nil {
		return nil, err
	}
	// Started after the loops, so that each ring comes a little after the tick
	// was due, never before.
	go started.(*engine).ringDeadlines()
	return started, nil
}

// ringDeadlines rings all doorbells as often as deadlines may be due.
func (e *engine) ringDeadlines() {
	ticker := time.NewTicker(min(e.cfg.TickInterval, e.cfg.LingerTimeout))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, l := range e.loops {
				l.ring()
			}
		case <-e.donec:
			return
		}
	}
}

func newEasygoPoller(*engine) (poller, error) {
	p := &easygoPoller{donec: make(chan struct{})}
	var err error
	p.backend, err = newEasygoBackend(p.waitFailed)
	return p, err
}

func (p *easygoPoller) alwaysRing() bool { return true }

// run is part of poller. The loop's goroutine is not its caller's but easygo's.
func (p *easygoPoller) run(l *loop) error {
	p.loop = l
	err := p.add(l.doorbellReader, doorbellToken(), interestRead)
	l.ring()
	if err != nil {
		p.waitFailed(err)
	}
	<-p.donec
	return p.err
}

// event is called by easygo, for each event.
func (p *easygoPoller) event(token ID, what readiness) {
	l := p.loop
	if l.ended {
		return // easygo's Close calls everybody once more
	}
	returned := false
	defer func() {
		if !returned {
			p.end(errLoopEnded)
		}
	}()
	if !p.started {
		p.start()
	}
	l.ready(token, what)
	if token == doorbellToken() {
		l.endTurn()
	} else {
		l.settle()
	}
	switch {
	case l.ended:
		p.end(nil)
	case l.hasLeftover():
		l.ring() // with the sockets in between
	}
	returned = true
}

func (p *easygoPoller) start() {
	p.started = true
	runtime.LockOSThread() // for ever: the thread ends with the goroutine
	p.loop.start()
}

// waitFailed is called by easygo when it cannot wait.
func (p *easygoPoller) waitFailed(err error) {
	if p.loop == nil || p.loop.ended {
		return
	}
	if !p.started {
		p.start()
	}
	p.end(err)
}

// end lets run return.
func (p *easygoPoller) end(err error) {
	p.finish.Do(func() {
		p.loop.end()
		p.err = err
		close(p.donec)
	})
}

func (p *easygoPoller) close() { p.backend.close() }
