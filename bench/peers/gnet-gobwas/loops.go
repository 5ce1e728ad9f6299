//go:build linux

package main

import (
	"context"
	"sync"

	"github.com/panjf2000/gnet/v2"
)

// loops are the event loops that have connections, each with its own.
type loops struct {
	mu     sync.Mutex // held for a whole broadcast: every loop sees one order
	byLoop map[gnet.EventLoop]*loop
}

// loop is one event loop.
type loop struct {
	conns map[gnet.Conn]struct{} // touched on the loop only

	mu      sync.Mutex
	pending [][]byte // frames to send; Execute keeps no order, so this does
}

func (l *loops) of(c gnet.Conn) *loop {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := c.EventLoop()
	if l.byLoop == nil {
		l.byLoop = make(map[gnet.EventLoop]*loop)
	}
	if l.byLoop[key] == nil {
		l.byLoop[key] = &loop{conns: make(map[gnet.Conn]struct{})}
	}
	return l.byLoop[key]
}

// add and remove are called on the loop of c.
func (l *loops) add(c gnet.Conn)    { l.of(c).conns[c] = struct{}{} }
func (l *loops) remove(c gnet.Conn) { delete(l.of(c).conns, c) }

// broadcast has every loop send frame, which is not modified afterwards.
func (l *loops) broadcast(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for eventLoop, loop := range l.byLoop {
		loop.mu.Lock()
		loop.pending = append(loop.pending, frame)
		first := len(loop.pending) == 1
		loop.mu.Unlock()
		if first {
			_ = eventLoop.Execute(context.Background(), loop)
		}
	}
}

// Run implements gnet.Runnable: it sends on the loop what is pending.
func (l *loop) Run(context.Context) error {
	l.mu.Lock()
	frames := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, frame := range frames {
		for c := range l.conns {
			_, _ = c.Write(frame) // a failure closes c
		}
	}
	return nil
}
