//go:build linux || darwin || freebsd

// Package easygo runs event loops on mailru/easygo's low-level pollers.
package easygo

import (
	"runtime"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/conns"
	"github.com/roostws/roost/netpoll/internal/loop"
)

// A poller runs a loop on one of easygo's pollers, which starts a goroutine that
// waits for events and calls a function for each: that goroutine becomes the
// loop's. easygo reports neither the end of a batch nor the passing of time, and
// cannot be asked to do anything else; so what a turn does besides the sockets
// happens when the doorbell rings, and a ticker rings it.
//
// A connection costs a closure of 24 bytes and an entry in easygo's map.
type poller struct {
	backend backend // per system: Epoll or Kqueue

	loop *loop.Loop // written before the first Add

	// Owned by the loop's goroutine.
	started bool

	finish sync.Once
	donec  chan struct{}
	err    error // written before donec is closed
}

// Driver starts engines of this package.
var Driver netpoll.Driver = driver{}

type driver struct{}

func (driver) Name() string { return "easygo" }

func (driver) Start(cfg netpoll.Config, newHandler func(l netpoll.Loop) netpoll.Handler) (netpoll.Engine, error) {
	e, err := loop.Start(cfg, newPoller, newHandler)
	if err != nil {
		return nil, err
	}
	// Started after the loops, so that each ring comes a little after the tick
	// was due, never before.
	go ringDeadlines(e)
	return e, nil
}

// ringDeadlines rings all doorbells as often as deadlines may be due.
func ringDeadlines(e *loop.Engine) {
	ticker := time.NewTicker(min(e.Config.TickInterval, e.Config.LingerTimeout))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			e.RingAll()
		case <-e.Done():
			return
		}
	}
}

func newPoller() (loop.Poller, error) {
	p := &poller{donec: make(chan struct{})}
	var err error
	if p.backend, err = newBackend(p.waitFailed); err != nil {
		return nil, err
	}
	return p, nil
}

// AlwaysRing is part of [loop.Poller].
func (p *poller) AlwaysRing() bool { return true }

// Run is part of [loop.Poller]. The loop's goroutine is not the one that calls
// Run, but easygo's.
func (p *poller) Run(l *loop.Loop) error {
	p.loop = l
	err := p.Add(l.Doorbell.FD(), loop.DoorbellToken, loop.InterestRead)
	l.Doorbell.Ring()
	if err != nil {
		p.waitFailed(err)
	}
	<-p.donec
	return p.err
}

// event is called by easygo, for each event.
func (p *poller) event(token netpoll.ID, what loop.Readiness) {
	l := p.loop
	if l.Ended {
		return // easygo's Close calls every function once more
	}
	returned := false
	defer func() {
		if !returned {
			p.end(conns.ErrGoexit)
		}
	}()
	if !p.started {
		p.start()
	}
	l.Ready(token, what)
	if token == loop.DoorbellToken {
		l.EndTurn()
	} else {
		l.Settle()
	}
	switch {
	case l.Ended:
		p.end(nil)
	case l.HasLeftover():
		l.Doorbell.Ring() // with the sockets in between
	}
	returned = true
}

func (p *poller) start() {
	p.started = true
	runtime.LockOSThread() // for ever: the thread ends with the goroutine
	p.loop.Start()
}

// waitFailed is called by easygo when it cannot wait.
func (p *poller) waitFailed(err error) {
	if p.loop == nil || p.loop.Ended {
		return
	}
	if !p.started {
		p.start()
	}
	p.end(err)
}

// end lets Run return.
func (p *poller) end(err error) {
	p.finish.Do(func() {
		p.loop.End()
		p.err = err
		close(p.donec)
	})
}

// Close is part of [loop.Poller].
func (p *poller) Close() { p.backend.close() }
