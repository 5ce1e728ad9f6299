// Command nbio is the peer written with github.com/lesismal/nbio, non-blocking mode:
// every connection is on a poller and none has a goroutine.
//
// Where the recommendations come from: the author's own benchmark,
// lesismal/go-websocket-benchmark, frameworks/nbio_nonblocking (IOModNonBlocking,
// ReleaseWebsocketPayload, a memory pool with small buffers, no keep-alive timer and
// no read deadline), and nbio-examples, websocket_1m/server_nbio (MaxLoad, a read
// buffer of 4 KiB for each poller). A broadcast is WriteMessage on each connection:
// it does not block, and nbio has no prepared messages.
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/mempool"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"
	"github.com/roostws/roost/bench/peers/internal/peer"
)

var hub peer.Hub[*websocket.Conn]

func main() {
	config := peer.Flags()
	logging.SetLevel(logging.LevelError)
	mempool.DefaultMemPool = mempool.New(2048, 1<<30)

	upgrader := websocket.NewUpgrader()
	upgrader.KeepaliveTime = 0
	upgrader.CheckOrigin = func(*http.Request) bool { return true }
	if config.Relay {
		upgrader.OnOpen(hub.Add)
		upgrader.OnClose(func(c *websocket.Conn, err error) { hub.Remove(c) })
		upgrader.OnMessage(func(_ *websocket.Conn, messageType websocket.MessageType, message []byte) {
			hub.Broadcast(func(c *websocket.Conn) { _ = c.WriteMessage(messageType, message) })
		})
	} else {
		upgrader.OnMessage(func(c *websocket.Conn, messageType websocket.MessageType, message []byte) {
			_ = c.WriteMessage(messageType, message)
		})
	}

	ln := config.Listen()
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network:                 "tcp",
		Addrs:                   []string{ln.Addr().String()},
		Listen:                  func(network, addr string) (net.Listener, error) { return ln, nil },
		IOMod:                   nbhttp.IOModNonBlocking,
		MaxLoad:                 1_000_000,
		ReadBufferSize:          4096,
		ReleaseWebsocketPayload: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return // Upgrade has answered.
			}
			_ = c.SetReadDeadline(time.Time{})
		}),
	})
	if err := engine.Start(); err != nil {
		log.Fatal(err)
	}
	peer.Announce(ln.Addr())
	peer.WaitForSignal()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = engine.Shutdown(ctx)
}
