//go:build linux || darwin || freebsd

package netpoll

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
)

// acceptorsPerListener goroutines accept and wait until gnet's loop has taken
// the newcomer: so many are under way at once, all of which a loop takes in one
// turn. gnet wants a net.Conn, duplicates its descriptor, and the original is
// closed: that takes some eight system calls and two changes of goroutine more
// for each newcomer than the epoll engine needs. Measured on loopback (2 busy
// cores, one loop, 8,000 connections with one echo each): 57-97 us of CPU a
// connection against 28-33 us, and 870 B resident against 20 B.
const acceptorsPerListener = 16

// acceptPause is how long an acceptor rests where nothing can be done.
const acceptPause = 10 * time.Millisecond

// A gnetListener is one listener of the engine.
type gnetListener struct {
	listener net.Listener
	addr     net.Addr
	unlink   func() // removes a unix socket's file; may be nil
}

// listen opens what Config.Listen names.
func (e *gnetEngine) listen() error {
	for _, address := range e.cfg.Listen {
		ln, err := gnetListen(address, &e.cfg)
		if err != nil {
			return fmt.Errorf("netpoll: listen on %q: %w", address, err)
		}
		e.listeners = append(e.listeners, ln)
	}
	return nil
}

func gnetListen(address string, cfg *Config) (*gnetListener, error) {
	if name, ok := strings.CutPrefix(address, "fd:"); ok {
		return gnetListenInherited(name, cfg)
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return gnetListenUnix(path, cfg)
	}
	config := net.ListenConfig{
		KeepAlive: -1, // inherited from the listener, like the other options
		Control: func(_, _ string, conn syscall.RawConn) error {
			return onDescriptor(conn, func(fd int) error {
				if cfg.ReusePort {
					if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
						return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
					}
				}
				if err := setStreamOptions(fd, cfg); err != nil {
					return err
				}
				return deferAccept(cfg)(fd)
			})
		},
	}
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	// package net chose the longest queue; a second listen(2) sets ours.
	err = onListener(ln, func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, cfg.Backlog)) })
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return &gnetListener{listener: ln, addr: ln.Addr()}, nil
}

func gnetListenUnix(path string, cfg *Config) (*gnetListener, error) {
	own, err := listenUnix(path, cfg)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(own.fd), path)
	defer file.Close() // FileListener has a duplicate
	ln, err := net.FileListener(file)
	if err != nil {
		if own.unlink != nil {
			own.unlink()
		}
		return nil, err
	}
	return &gnetListener{listener: ln, addr: &net.UnixAddr{Net: "unix", Name: path}, unlink: own.unlink}, nil
}

func gnetListenInherited(name string, cfg *Config) (*gnetListener, error) {
	own, addr, err := listenInherited(name, cfg)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(own.fd), addr.String())
	defer file.Close() // FileListener has a duplicate
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return &gnetListener{listener: ln, addr: addr}, nil
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

// StopAccepting is part of [Engine].
func (e *gnetEngine) StopAccepting() {
	for _, ln := range e.listeners {
		if err := ln.listener.Close(); err == nil && ln.unlink != nil {
			ln.unlink()
		}
	}
}

// accept starts the acceptors.
func (e *gnetEngine) accept() {
	for i, ln := range e.listeners {
		for range acceptorsPerListener {
			if e.beginJoin() {
				go e.acceptor(uint64(i), ln.listener)
			}
		}
	}
}

// acceptor takes newcomers until its listener is closed.
func (e *gnetEngine) acceptor(tag uint64, ln net.Listener) {
	defer e.joins.Done()
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			e.admit(conn, tag)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			e.refuse(ln)
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			e.refusedNoMemory.Add(1)
			e.pause()
		default:
			e.acceptErrors.Add(1)
			if errno := unix.Errno(0); !errors.As(err, &errno) || !passingAcceptError(errno) {
				e.pause()
			}
		}
	}
}

// pause rests, but not longer than the engine lives.
func (e *gnetEngine) pause() {
	select {
	case <-e.stopc:
	case <-time.After(acceptPause):
	}
}

// A newcomer is a connection on its way into gnet; it travels as its context.
type newcomer struct {
	tag    uint64
	opened atomic.Bool // gnet has called OnOpen
}

// admit hands a newcomer to the loop with the fewest connections, and waits until
// it is there.
func (e *gnetEngine) admit(conn net.Conn, tag uint64) {
	if !e.reserve() {
		_ = conn.Close()
		return
	}
	n := &newcomer{tag: tag}
	_, err := e.client.EnrollContext(conn, n) // closes conn; gnet has a duplicate
	if n.opened.Load() {
		return
	}
	e.slots.Add(-1)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		e.refusedNoDescriptor.Add(1)
	} else {
		e.refusedNoMemory.Add(1) // epoll_ctl(2) has no other reason
	}
}

// sparesMax is how many descriptors are kept to give up. Another acceptor may
// snatch the newcomer, and with it the descriptor, in the moment in which one is
// given up; some more of them make that harmless.
const sparesMax = 4

// spareDescriptors are some to give up when there are no others.
type spareDescriptors struct {
	mu  sync.Mutex
	fds []int
}

// keep adds a descriptor, -1 for none. The caller holds mu.
func (s *spareDescriptors) keep(fd int) {
	if fd >= 0 {
		s.fds = append(s.fds, fd)
	}
}

// fill opens as many as there should be, and tells whether it could open one.
// The caller holds mu.
func (s *spareDescriptors) fill() bool {
	fd := openSpare()
	if fd < 0 {
		return false
	}
	for s.keep(fd); len(s.fds) < sparesMax; {
		if fd = openSpare(); fd < 0 {
			return true
		}
		s.keep(fd)
	}
	if len(s.fds) > sparesMax {
		_ = unix.Close(s.fds[sparesMax])
		s.fds = s.fds[:sparesMax]
	}
	return true
}

func (s *spareDescriptors) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = nil
}

// refuse sends those away who are in the queue, for want of a descriptor: with
// the spare one they can be accepted and closed, so that they do not wait for
// ever. It rests afterwards, and holds the other acceptors meanwhile: Linux says
// EMFILE before it looks if anyone is there, so they would spin.
func (e *gnetEngine) refuse(ln net.Listener) {
	e.spare.mu.Lock()
	defer e.spare.mu.Unlock()
	if e.stopping.Load() {
		return
	}
	if e.spare.fill() {
		return // there are some again
	}
	if len(e.spare.fds) == 0 {
		e.refusedNoDescriptor.Add(1)
	} else {
		_ = onListener(ln, e.refuseAll)
	}
	e.pause()
}

// refuseAll accepts and closes until the queue of the listening socket is empty.
// The caller holds spare.mu.
func (e *gnetEngine) refuseAll(listening int) error {
	for len(e.spare.fds) > 0 && someoneWaits(listening) {
		last := len(e.spare.fds) - 1
		_ = unix.Close(e.spare.fds[last])
		e.spare.fds = e.spare.fds[:last]
		fd, errno := acceptSocket(listening)
		if errno != 0 {
			e.spare.keep(openSpare())
			return errno
		}
		e.refusedNoDescriptor.Add(1)
		e.spare.keep(turnIntoSpare(fd))
	}
	return nil
}
