// Command gorilla is the peer written with github.com/gorilla/websocket.
//
// Where the recommendations come from:
//   - Small read buffer, pooled write buffers: the package documentation,
//     section "Buffers" ("a buffer size of 256 bytes ...", "a write buffer pool is
//     useful when the application has a modest number of writes over a large
//     number of connections").
//   - Reading in a new goroutine, so that the HTTP request can be collected:
//     examples/chat/client.go, serveWs.
//   - PreparedMessage for a broadcast: its documentation.
//
// The chat example also starts a goroutine with a queue of 256 messages for each
// connection, to write. The documentation allows one writer from any goroutine,
// and that costs a connection nothing while it is idle, so it is what is done here.
//
// With -tls-cert and -tls-key, PEM files, it speaks wss://, by net/http and
// crypto/tls as http.ServeTLS puts them together.
package main

import (
	"bytes"
	"flag"
	"log"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/roostws/roost/bench/peers/internal/peer"
)

var (
	upgrader = websocket.Upgrader{
		ReadBufferSize:  256,
		WriteBufferSize: 1024,
		WriteBufferPool: &sync.Pool{},
		CheckOrigin:     func(*http.Request) bool { return true },
	}
	messages = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	hub      peer.Hub[*websocket.Conn]
)

func main() {
	cert := flag.String("tls-cert", "", "certificate, PEM: speak TLS")
	key := flag.String("tls-key", "", "its private key, PEM")
	config := peer.Flags()
	handle := echo
	if config.Relay {
		handle = relay
	}
	ln := config.Listen()
	upgrade := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered.
		}
		go handle(c)
	})
	go func() {
		if *cert != "" {
			log.Fatal(http.ServeTLS(ln, upgrade, *cert, *key))
		}
		log.Fatal(http.Serve(ln, upgrade))
	}()
	peer.Announce(ln.Addr())
	peer.WaitForSignal()
}

func echo(c *websocket.Conn) {
	defer c.Close()
	read(c, func(messageType int, message []byte) error {
		return c.WriteMessage(messageType, message)
	})
}

func relay(c *websocket.Conn) {
	defer c.Close()
	hub.Add(c)
	defer hub.Remove(c)
	read(c, func(messageType int, message []byte) error {
		prepared, err := websocket.NewPreparedMessage(messageType, message)
		if err != nil {
			return err
		}
		// The hub is the only writer of messages. Pongs and close frames go by
		// WriteControl, which may run at any time.
		hub.Broadcast(func(c *websocket.Conn) {
			if c.WritePreparedMessage(prepared) != nil {
				c.Close() // its reader ends
			}
		})
		return nil
	})
}

// read calls do with each message, which is valid until do returns. ReadMessage
// would start with 512 new bytes for each; a pooled buffer does not.
func read(c *websocket.Conn, do func(messageType int, message []byte) error) {
	for {
		messageType, r, err := c.NextReader()
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
