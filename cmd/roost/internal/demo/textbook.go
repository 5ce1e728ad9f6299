package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/native"
)

// textbook is the chat of every introduction: a greeting, and every text to all. A page that
// knows nothing of Roost understands it. Clients that ask for it (?stats=1) also
// get a message a second, which shows a broadcast without a sender; the start page
// subscribes to it over the native protocol.
type textbook struct {
	demo     *Demo
	greeting []byte // immutable

	// Atomic: any loop.
	messages atomic.Uint64
}

func (d *Demo) textbook() part {
	t := &textbook{demo: d, greeting: encode(systemMessage{"system", "Welcome to the chat!"})}
	d.handler = server.Handler{Upgrade: t.upgrade, Open: t.open, Message: t.message}
	return part{namespaces: []server.Namespace{{Name: "demo"}}, run: t.run}
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

// upgrade takes textbook clients on / and /ws, and those of the native protocol on
// any path: event streams and long polls have their own. To ask for statistics is to be
// in their channel.
func (t *textbook) upgrade(r *server.UpgradeRequest) error {
	if path := r.Path(); path != "/" && path != "/ws" && r.Subprotocol != native.Subprotocol {
		return &server.Rejection{Status: 404, Reason: "the demo's WebSocket is at / and /ws"}
	}
	if query, err := url.ParseQuery(r.RawQuery()); err == nil && query.Get("stats") == "1" {
		r.Channels = []string{statsChannel}
	}
	return nil
}

func (t *textbook) open(e *server.OpenEvent) {
	if e.Subprotocol() != native.Subprotocol { // such a client has not identified itself yet
		e.Send(server.Text, t.greeting)
	}
}

func (t *textbook) message(m *server.Message) {
	if m.Type != server.Text {
		_ = m.Conn().Close(frame.CloseUnsupportedData, "the demo takes text messages only")
		return
	}
	t.messages.Add(1)
	if err := m.Broadcast(server.Text, encode(chatMessage{"chat", string(m.Payload), now()})); err != nil {
		// Nothing is lost in silence: a loop's inbox is full.
		_ = m.Conn().Close(frame.CloseTryAgainLater, "the server is busy: the last message was not sent on")
	}
}

func (t *textbook) run(ctx context.Context) {
	ticker := time.NewTicker(statsInterval)
	defer ticker.Stop()
	for number := uint64(1); ; number++ {
		select {
		case <-ticker.C:
			t.publishStats(number)
		case <-ctx.Done():
			return
		}
	}
}

// publishStats sends the figures to the subscribers. A second that finds the server too busy
// is left out: the next one tells more.
func (t *textbook) publishStats(number uint64) {
	stats := t.demo.srv.Stats()
	_ = t.demo.srv.Publish(statsChannel, server.Text, encode(statsMessage{
		Type:        "stats",
		Number:      number,
		Connections: stats.Get("connections"),
		Messages:    t.messages.Load(),
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
