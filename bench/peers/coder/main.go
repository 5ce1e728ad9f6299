// Command coder is the peer written with github.com/coder/websocket.
//
// Where the recommendations come from: internal/examples/echo (Accept, then read and
// write, no compression, which is also the default) and internal/examples/chat (a
// broadcast ends in one Write per connection; the package has no prepared messages,
// see its issue 546).
//
// What differs, in the peer's favour: the examples stay in the HTTP handler, whose
// goroutine holds the request and a larger stack (23.6 KB for each idle connection
// against 17.3 in a new one); and the chat example gives each connection a queue of 16
// messages and a second goroutine, but Write may be called by any goroutine, and that
// costs nothing while idle.
package main

import (
	"bytes"
	"context"
	"log"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"github.com/roostws/roost/bench/peers/internal/peer"
)

const messageMaxBytes = 16 << 20 // the default of 32 KiB is less than what the other peers take

var (
	messages = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	hub      peer.Hub[*websocket.Conn]
)

func main() {
	config := peer.Flags()
	handle := echo
	if config.Relay {
		handle = relay
	}
	ln := config.Listen()
	go func() {
		log.Fatal(http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
				InsecureSkipVerify: true, // any Origin, as at the other peers
				CompressionMode:    websocket.CompressionDisabled,
			})
			if err != nil {
				return // Accept has answered.
			}
			c.SetReadLimit(messageMaxBytes)
			go handle(c)
		})))
	}()
	peer.Announce(ln.Addr())
	peer.WaitForSignal()
}

func echo(c *websocket.Conn) {
	defer c.CloseNow()
	read(c, func(messageType websocket.MessageType, message []byte) error {
		return c.Write(context.Background(), messageType, message)
	})
}

func relay(c *websocket.Conn) {
	defer c.CloseNow()
	hub.Add(c)
	defer hub.Remove(c)
	read(c, func(messageType websocket.MessageType, message []byte) error {
		hub.Broadcast(func(c *websocket.Conn) {
			// A failing Write closes c, and its reader ends.
			_ = c.Write(context.Background(), messageType, message)
		})
		return nil
	})
}

// read calls do with each message, which is valid until do returns.
func read(c *websocket.Conn, do func(messageType websocket.MessageType, message []byte) error) {
	for {
		messageType, r, err := c.Reader(context.Background())
		if err != nil {
			return
		}
		b := messages.Get().(*bytes.Buffer)
		b.Reset()
		if _, err = b.ReadFrom(r); err == nil {
			err = do(messageType, b.Bytes())
		}
		messages.Put(b)
		if err != nil {
			return
		}
	}
}
