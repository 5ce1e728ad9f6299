// Command gws is the peer written with github.com/lxzan/gws.
//
// Where the recommendations come from: its README ("Quick Start": NewServer, which
// needs no net/http server; "Best Practice": ReadLoop in a goroutine of its own;
// "Broadcast": NewBroadcaster, one frame for all, written by each connection's own
// queue) and examples/echo (WriteMessage from OnMessage, WritePong from OnPing).
// ParallelEnabled stays off as in that example: with it, echoes would leave in another
// order than their messages came.
//
// The read buffer is pooled per server but held by each connection while it lives;
// ReadBufferSize is the option for its size, 4 KiB by default.
package main

import (
	"bufio"
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/lxzan/gws"
	"github.com/roostws/roost/bench/peers/internal/peer"
)

var hub peer.Hub[*gws.Conn]

func main() {
	config := peer.Flags()
	var handler gws.Event = echo{}
	if config.Relay {
		handler = relay{}
	}
	server := gws.NewServer(handler, &gws.ServerOption{
		ReadBufferSize: 1024,
		Logger:         silent{},
	})
	server.OnRequest = func(conn net.Conn, br *bufio.Reader, r *http.Request) {
		if c, err := server.GetUpgrader().UpgradeFromConn(conn, br, r); err == nil {
			go c.ReadLoop()
		}
	}
	ln := config.Listen()
	go func() {
		slog.Error("the server ended", "err", server.RunListener(ln))
		os.Exit(1)
	}()
	peer.Announce(ln.Addr())
	peer.WaitForSignal()
}

// echo sends each message back.
type echo struct{ gws.BuiltinEventHandler }

func (echo) OnPing(c *gws.Conn, payload []byte) { _ = c.WritePong(payload) }

func (echo) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = c.WriteMessage(message.Opcode, message.Bytes())
}

// relay sends each message to everyone.
type relay struct{ gws.BuiltinEventHandler }

func (relay) OnOpen(c *gws.Conn)                 { hub.Add(c) }
func (relay) OnClose(c *gws.Conn, err error)     { hub.Remove(c) }
func (relay) OnPing(c *gws.Conn, payload []byte) { _ = c.WritePong(payload) }

func (relay) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	// The broadcaster keeps the payload until the last connection has written it,
	// and message's bytes are reused before that.
	broadcaster := gws.NewBroadcaster(message.Opcode, bytes.Clone(message.Bytes()))
	defer broadcaster.Close()
	hub.Broadcast(func(c *gws.Conn) { _ = broadcaster.Broadcast(c) })
}

// silent drops the line that gws logs for each connection that fails to upgrade.
type silent struct{}

func (silent) Error(v ...any) {}
