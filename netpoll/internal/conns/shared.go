//go:build linux || darwin || freebsd

// Package conns is what the loops of every engine share: a table of sockets,
// how a connection opens, is written to and ends, the callbacks with their
// recovery from panics, and the counters. What differs between engines it asks
// of an [Owner].
package conns

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/netpoll"
)

// ErrGoexit is why an engine ends when a callback has ended its goroutine, as
// t.FailNow does in tests.
var ErrGoexit = errors.New("netpoll: a callback ended the goroutine of its loop")

// Shared is what the loops of one engine share. Its methods may be called
// from any goroutine.
type Shared struct {
	// Immutable after NewShared. Config has its defaults filled in.
	Config netpoll.Config
	begun  time.Time

	stop  sync.Once
	donec chan struct{}
	err   error // written before donec is closed, read after

	// Atomic: any goroutine.
	stopping atomic.Bool
	slots    atomic.Int64 // taken in all tables, against Config.MaxConns
}

// NewShared checks cfg and fills in its defaults.
func NewShared(cfg netpoll.Config) (*Shared, error) {
	if err := complete(&cfg); err != nil {
		return nil, err
	}
	return &Shared{Config: cfg, begun: time.Now(), donec: make(chan struct{})}, nil
}

// Now is the engine's clock, in nanoseconds: monotonic, and cheaper than
// time.Now, which asks for the wall clock too.
func (s *Shared) Now() int64 { return int64(time.Since(s.begun)) }

// Reserve takes one of Config.MaxConns places, and reports whether there was
// one.
func (s *Shared) Reserve() bool {
	if s.slots.Add(1) > int64(s.Config.MaxConns) {
		s.slots.Add(-1)
		return false
	}
	return true
}

// Unreserve gives a place back that no connection has taken.
func (s *Shared) Unreserve() { s.slots.Add(-1) }

// Reserved returns how many places are taken.
func (s *Shared) Reserved() int64 { return s.slots.Load() }

// Stopping reports whether the engine is being closed.
func (s *Shared) Stopping() bool { return s.stopping.Load() }

// SetStopping makes Stopping true.
func (s *Shared) SetStopping() { s.stopping.Store(true) }

// End runs end, which must stop the loops and wait for them, and then lets Done
// and Err report the end. Only the first call does anything.
func (s *Shared) End(err error, end func()) {
	s.stop.Do(func() {
		end()
		s.err = err
		close(s.donec)
	})
}

// Wait blocks until the engine has ended and returns why, as Err does.
func (s *Shared) Wait() error {
	<-s.donec
	return s.err
}

// Done is part of [netpoll.Engine].
func (s *Shared) Done() <-chan struct{} { return s.donec }

// Err is part of [netpoll.Engine].
func (s *Shared) Err() error {
	select {
	case <-s.donec:
		return s.err
	default:
		return nil
	}
}
