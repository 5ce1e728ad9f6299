//go:build linux || darwin || freebsd

package gnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/internal/sock"
)

// acceptorsPerListener is how many goroutines accept from a listener. Each waits
// until gnet's loop has taken the connection; a loop takes in one turn all that
// wait for it. gnet demands a net.Conn, duplicates its descriptor, and the
// original is closed: that takes some eight system calls and two changes of
// goroutine more per connection than the epoll engine needs. Measured on
// loopback (2 busy cores, one loop, 8,000 connections with one echo each): 57-97
// us of CPU a connection against 28-33 us, and 870 B resident against 20 B.
const acceptorsPerListener = 16

// acceptPause is how long an acceptor rests where nothing can be done.
const acceptPause = 10 * time.Millisecond

// A listener is one listener of the engine.
type listener struct {
	net.Listener
	addr      net.Addr
	unlink    func() // removes a unix socket's file; may be nil
	inherited bool
}

// listen opens what Config.Listen names.
func (e *engine) listen() error {
	for _, address := range e.Config.Listen {
		open := listenTCP
		if strings.HasPrefix(address, "fd:") || strings.HasPrefix(address, "unix:") {
			open = listenOther
		}
		ln, err := open(address, &e.Config)
		if err != nil {
			return fmt.Errorf("netpoll: listen on %q: %w", address, err)
		}
		e.listeners = append(e.listeners, ln)
	}
	return nil
}

// listenTCP is not package sock's, because only a [net.ListenConfig] can keep
// package net from turning on keep-alive for every accepted connection.
func listenTCP(address string, cfg *netpoll.Config) (*listener, error) {
	config := net.ListenConfig{
		KeepAlive: -1, // inherited from the listener, like the other options
		Control: func(_, _ string, conn syscall.RawConn) error {
			return onDescriptor(conn, func(fd int) error {
				if cfg.ReusePort {
					if err := sock.ReusePort(fd); err != nil {
						return err
					}
				}
				return sock.PrepareListener(fd, cfg)
			})
		},
	}
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	// Package net chose the longest queue; a second listen(2) sets ours.
	err = onListener(ln, func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, cfg.Backlog)) })
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return &listener{Listener: ln, addr: ln.Addr()}, nil
}

// listenOther opens a unix socket or takes an inherited one.
func listenOther(address string, cfg *netpoll.Config) (*listener, error) {
	sockets, addr, err := sock.Listen(address, cfg)
	if err != nil {
		return nil, err
	}
	fd, unlink := sockets[0].Release()
	file := os.NewFile(uintptr(fd), address)
	defer file.Close() // FileListener has a duplicate
	ln, err := net.FileListener(file)
	if err != nil {
		if unlink != nil {
			unlink()
		}
		return nil, err
	}
	return &listener{Listener: ln, addr: addr, unlink: unlink, inherited: true}, nil
}

// onListener runs f on a listener's descriptor.
func onListener(ln net.Listener, f func(fd int) error) error {
	conn, err := ln.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return onDescriptor(conn, f)
}

func onDescriptor(conn syscall.RawConn, f func(fd int) error) (err error) {
	if errControl := conn.Control(func(fd uintptr) { err = f(int(fd)) }); errControl != nil {
		return errControl
	}
	return err
}

// StopAccepting is part of [netpoll.Engine].
func (e *engine) StopAccepting() {
	for _, ln := range e.listeners {
		if err := ln.Close(); err == nil && ln.unlink != nil {
			ln.unlink()
		}
	}
}

// accept starts the acceptors.
func (e *engine) accept() {
	for i, ln := range e.listeners {
		for range acceptorsPerListener {
			if e.beginJoin() {
				go e.acceptor(uint64(i), ln)
			}
		}
	}
}

// acceptor takes connections until its listener is closed.
func (e *engine) acceptor(tag uint64, ln *listener) {
	defer e.joins.Done()
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			if c, ok := conn.(*net.TCPConn); ok && ln.inherited {
				// Package net has turned it on.
				_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: e.Config.KeepAlive > 0, Idle: e.Config.KeepAlive})
			}
			e.admit(conn, tag)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			e.refuse(ln.Listener)
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			e.refusedNoMemory.Add(1)
			e.pause()
		default:
			e.acceptErrors.Add(1)
			if errno := unix.Errno(0); !errors.As(err, &errno) || !sock.IsPassingAcceptError(errno) {
				e.pause()
			}
		}
	}
}

// pause rests, but not longer than the engine lives.
func (e *engine) pause() {
	select {
	case <-e.stopc:
	case <-time.After(acceptPause):
	}
}

// A newcomer is an accepted connection on its way into gnet, which carries it as
// its context.
type newcomer struct {
	tag    uint64
	opened atomic.Bool // gnet has called OnOpen
}

// admit hands a connection to the loop that has the fewest, and waits until it is
// there.
func (e *engine) admit(conn net.Conn, tag uint64) {
	if !e.Reserve() {
		e.refusedMaxConns.Add(1)
		_ = conn.Close()
		return
	}
	n := &newcomer{tag: tag}
	_, err := e.client.EnrollContext(conn, n) // closes conn; gnet has a duplicate
	if n.opened.Load() {
		return
	}
	e.Unreserve()
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		e.refusedNoDescriptor.Add(1)
	} else {
		e.refusedNoMemory.Add(1) // epoll_ctl(2) has no other reason
	}
}

// sparesMax is how many descriptors are kept to give up. Another acceptor may
// take the client, and with it the descriptor, in the moment in which one is
// given up; some more of them make that harmless.
const sparesMax = 4

// spares are descriptors to give up when there are no others.
type spares struct {
	mu  sync.Mutex
	fds sock.Spares // guarded by mu once acceptors run
}

func (s *spares) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fds.Close()
}

// refuse accepts and closes the clients in the queue, for want of a descriptor,
// so that they do not wait for ever. It rests afterwards, and holds the other
// acceptors meanwhile: Linux returns EMFILE before it looks for a client, so
// they would spin.
func (e *engine) refuse(ln net.Listener) {
	e.spare.mu.Lock()
	defer e.spare.mu.Unlock()
	if e.Stopping() || e.spare.fds.Fill(sparesMax) {
		return // there are descriptors again
	}
	if e.spare.fds.Len() == 0 {
		e.refusedNoDescriptor.Add(1)
	} else {
		_ = onListener(ln, e.refuseAll)
	}
	e.pause()
}

// refuseAll accepts and closes until the queue of the listening socket is empty.
// The caller holds spare.mu.
func (e *engine) refuseAll(listening int) error {
	for e.spare.fds.Refuse(listening) == 0 {
		e.refusedNoDescriptor.Add(1)
	}
	return nil
}
