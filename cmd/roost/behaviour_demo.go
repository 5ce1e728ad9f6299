package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/native"
	"github.com/roostws/roost/web"
)

// demo is the textbook chat: a greeting, and every text to all. A page that
// knows nothing of Roost understands it. Pages that ask for it (?stats=1) also
// get a message a second, which shows a broadcast without a sender.
type demo struct {
	// Immutable after begin, which is before the first message.
	srv      *server.Server
	greeting []byte

	// Atomic: any loop.
	messages atomic.Uint64
}

// The messages of the textbook chat. The order of the fields is the order on
// the wire.
type (
	systemMessage struct {
		Type    string `json:"type"` // "system"
		Message string `json:"message"`
	}
	chatMessage struct {
		Type      string `json:"type"` // "chat"
		Message   string `json:"message"`
		Timestamp string `json:"timestamp"`
	}
	statsMessage struct {
		Type        string `json:"type"` // "stats"
		Number      uint64 `json:"number"`
		Connections int64  `json:"connections"`
		Messages    uint64 `json:"messages"`
		Delivered   uint64 `json:"delivered"`
		Timestamp   string `json:"timestamp"`
	}
)

const (
	statsChannel  = "demo:stats"
	statsInterval = time.Second
	// The same as JavaScript's Date.toISOString.
	isoFormat = "2006-01-02T15:04:05.000Z"
)

func (*demo) name() string { return "demo" }

func (d *demo) configure(c *server.Config) {
	d.greeting = encode(systemMessage{"system", "Welcome to the chat!"})
	if len(c.Handshake.Origins) == 0 {
		// A textbook page is opened from a file or from another port.
		c.Handshake.Origins = []string{"*"}
	}
	mux := http.NewServeMux()
	mux.Handle("/", web.Demo())
	mux.Handle("/roost/", web.Client())
	// A server that stops or is full responds with 503 by itself.
	for _, path := range []string{"/healthz", "/readyz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	}
	c.HTTP = mux
	c.Handler = server.Handler{
		Upgrade: d.upgrade,
		Open:    d.open,
		Message: d.message,
	}
}

// upgrade takes textbook clients on / and /ws, and those of the native protocol on
// any path: event streams and long polls have their own. To ask for statistics is to be
// in their channel.
func (d *demo) upgrade(r *server.UpgradeRequest) error {
	if path := r.Path(); path != "/" && path != "/ws" && r.Subprotocol != native.Subprotocol {
		return &server.Rejection{Status: 404, Reason: "the demo's WebSocket is at / and /ws"}
	}
	if query, err := url.ParseQuery(r.RawQuery()); err == nil && query.Get("stats") == "1" {
		r.Channels = []string{statsChannel}
	}
	return nil
}

func (d *demo) open(e *server.OpenEvent) {
	if e.Subprotocol() != native.Subprotocol { // such a client has not identified itself yet
		e.Send(server.Text, d.greeting)
	}
}

func (d *demo) message(m *server.Message) {
	if m.Type != server.Text {
		_ = m.Conn().Close(frame.CloseUnsupportedData, "the demo takes text messages only")
		return
	}
	d.messages.Add(1)
	broadcast(m, server.Text, encode(chatMessage{"chat", string(m.Payload), now()}))
}

func (d *demo) begin(srv *server.Server) { d.srv = srv }

func (d *demo) run(ctx context.Context) {
	ticker := time.NewTicker(statsInterval)
	defer ticker.Stop()
	for number := uint64(1); ; number++ {
		select {
		case <-ticker.C:
			d.publishStats(number)
		case <-ctx.Done():
			return
		}
	}
}

// publishStats sends the figures to the subscribers. A second that finds the server too busy
// is left out: the next one tells more.
func (d *demo) publishStats(number uint64) {
	stats := d.srv.Stats()
	_ = d.srv.Publish(statsChannel, server.Text, encode(statsMessage{
		Type:        "stats",
		Number:      number,
		Connections: stats.Get("connections"),
		Messages:    d.messages.Load(),
		Delivered:   uint64(stats.Get("delivered")),
		Timestamp:   now(),
	}))
}

func now() string { return time.Now().UTC().Format(isoFormat) }

// encode returns v as JSON, with <, > and & as they are: they go into a
// message, not into a page.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic("demo: a struct of strings and numbers is not JSON: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
