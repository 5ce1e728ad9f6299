//go:build linux

// Command gobwas-easygo is the peer written with github.com/gobwas/ws on the low-level
// pollers of github.com/mailru/easygo/netpoll: the "million WebSockets" way.
//
// Where the recommendations come from: the author's article "A Million WebSockets and
// Go" and its program, gobwas/ws-examples, src/chat: a zero-copy upgrade, no goroutine
// and no buffer for an idle connection, a pool of 128 goroutines that read one message
// when the poller says so, a deadline around every read and write, and a frame
// compiled once for a broadcast.
//
// What differs, in the peer's favour: the connection's own descriptor is registered
// with netpoll.Epoll (the high level would dup it, and halve what fits under the
// descriptor limit); events are one-shot (edge-triggered events that go to a pool
// lose the second of two messages that came together); the read buffer is pooled; and
// a broadcast writes in its own goroutine, since one task per write loses the order.
package main

import (
	"bufio"
	"log"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/mailru/easygo/netpoll"
	"github.com/roostws/roost/bench/peers/internal/peer"
)

const (
	poolGoroutines = 128
	// The example has 100 ms. On a busy machine that would end healthy connections.
	ioTimeout = 10 * time.Second
	readable  = netpoll.EPOLLIN | netpoll.EPOLLRDHUP | netpoll.EPOLLONESHOT
)

var (
	relay   bool
	hub     peer.Hub[*user]
	tasks   = make(chan func(), 1)
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}
)

// user is one connection.
type user struct {
	conn   net.Conn
	fd     int
	poller *netpoll.Epoll
	mu     sync.Mutex // one writer at a time
}

func main() {
	config := peer.Flags()
	relay = config.Relay
	for range poolGoroutines {
		go func() {
			for task := range tasks {
				task()
			}
		}()
	}
	pollers := make([]*netpoll.Epoll, runtime.GOMAXPROCS(0))
	for i := range pollers {
		poller, err := netpoll.EpollCreate(nil)
		if err != nil {
			log.Fatal(err)
		}
		pollers[i] = poller
	}
	ln := config.Listen()
	go accept(ln, pollers)
	peer.Announce(ln.Addr())
	peer.WaitForSignal()
}

func accept(ln net.Listener, pollers []*netpoll.Epoll) {
	for i := 0; ; i++ {
		conn, err := ln.Accept()
		if err != nil {
			log.Print(err)
			time.Sleep(5 * time.Millisecond) // out of descriptors, say
			continue
		}
		poller := pollers[i%len(pollers)]
		tasks <- func() { open(conn, poller) }
	}
}

// open upgrades conn and hands it to the poller.
func open(conn net.Conn, poller *netpoll.Epoll) {
	_ = conn.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := ws.Upgrade(conn); err != nil {
		conn.Close()
		return
	}
	u := &user{conn: conn, poller: poller}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { u.fd = int(fd) })
	}
	if err != nil {
		conn.Close()
		return
	}
	if relay {
		hub.Add(u)
	}
	// The poller's goroutine runs this; reading there would block it.
	receive := u.receive
	if err := poller.Add(u.fd, readable, func(netpoll.EpollEvent) { tasks <- receive }); err != nil {
		u.close()
	}
}

// receive reads what has come, on a goroutine of the pool, and waits for more.
func (u *user) receive() {
	_ = u.conn.SetReadDeadline(time.Now().Add(ioTimeout))
	r := readers.Get().(*bufio.Reader)
	r.Reset(u.conn)
	err := u.receiveFrom(r)
	for err == nil && r.Buffered() > 0 {
		err = u.receiveFrom(r)
	}
	r.Reset(nil)
	readers.Put(r)
	if err == nil {
		err = u.poller.Mod(u.fd, readable)
	}
	if err != nil {
		u.close()
	}
}

// receiveFrom reads one message, or one control frame that comes before it.
func (u *user) receiveFrom(r *bufio.Reader) error {
	control := wsutil.ControlFrameHandler(u, ws.StateServerSide)
	messages := wsutil.Reader{
		Source: r, State: ws.StateServerSide, CheckUTF8: true, OnIntermediate: control,
	}
	header, err := messages.NextFrame()
	if err != nil {
		return err
	}
	if header.OpCode.IsControl() {
		return control(header, &messages)
	}
	payload, err := readAll(&messages, header.Length)
	if err != nil {
		return err
	}
	frame, err := ws.CompileFrame(ws.NewFrame(header.OpCode, true, payload))
	if err != nil {
		return err
	}
	if !relay {
		_, err = u.Write(frame)
		return err
	}
	hub.Broadcast(func(to *user) {
		if _, err := to.Write(frame); err != nil {
			_ = to.conn.(*net.TCPConn).CloseRead() // its poller says so, and receive closes it
		}
	})
	return nil
}

// Write writes whole frames; any goroutine may call it.
func (u *user) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = u.conn.SetWriteDeadline(time.Now().Add(ioTimeout))
	return u.conn.Write(p)
}

func (u *user) close() {
	if relay {
		hub.Remove(u)
	}
	_ = u.poller.Del(u.fd) // before the number can be another connection's
	u.conn.Close()
}
