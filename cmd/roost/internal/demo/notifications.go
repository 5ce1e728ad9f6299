package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

const (
	noteMaxChars = 500
	// notesPerSecond limits notifications of all senders together: anybody may send
	// one, to anybody.
	notesPerSecond = 50
)

// notifications gives each name an inbox, the history of the channel user:NAME. What
// is read is the last message of the channel read:NAME, a position in the inbox: all
// windows of that name follow it. A client reads by an ack.
func (d *Demo) notifications() part {
	limiter := rate.NewLimiter(notesPerSecond, notesPerSecond)
	marks := &marks{read: map[string]history.Position{}}
	moved := make(chan mark, marksWaiting)
	send := func(ctx context.Context, from, user, text string) (noteSent, error) {
		text = strings.TrimSpace(text)
		switch {
		case !validName(user):
			return noteSent{}, badRequest("a name has 1 to %d printable characters", nameMaxChars)
		case text == "" || !utf8.ValidString(text) || utf8.RuneCountInString(text) > noteMaxChars:
			return noteSent{}, badRequest("a notification has 1 to %d characters", noteMaxChars)
		case !limiter.Allow():
			return noteSent{}, &protocol.Error{Code: protocol.CodeLimit, Message: "too many notifications at the moment: try again in a second"}
		}
		receipt, err := d.srv.PublishMessage(ctx, server.Publication{
			User: user, From: from, Payload: encode(note{text, time.Now().UnixMilli()}),
		})
		return noteSent{receipt.Offset, receipt.Matched}, err
	}
	return part{
		namespaces: []server.Namespace{
			{Name: "user", HistoryMessages: 100, HistoryAge: 24 * time.Hour},
			{Name: "read", HistoryMessages: 1, HistoryAge: 24 * time.Hour, SlowConsumer: server.SlowLatest},
		},
		calls: map[string]func(context.Context, *protocol.CallRequest) error{
			"notify": func(ctx context.Context, r *protocol.CallRequest) error {
				var asked struct{ To, Text string }
				if err := json.Unmarshal(r.Data, &asked); err != nil {
					return badRequest(`want {"to":"Anna","text":"…"}`)
				}
				sent, err := send(ctx, r.User, asked.To, asked.Text)
				r.Reply = encode(sent)
				return err
			},
		},
		// curl -d 'your parcel is here' http://localhost:8080/notify/Anna
		routes: func(mux *http.ServeMux) {
			mux.HandleFunc("POST /notify/{user}", func(w http.ResponseWriter, r *http.Request) {
				text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4*noteMaxChars))
				var sent noteSent
				if err == nil {
					sent, err = send(r.Context(), "", r.PathValue("user"), string(text))
				}
				if err != nil {
					http.Error(w, err.Error(), statusOf(err))
					return
				}
				fmt.Fprintf(w, "number %d of the inbox, for %d windows that are open\n", sent.Offset, sent.Windows)
			})
		},
		event: func(e *protocol.Event) {
			if e.Type == protocol.EventAcknowledged && e.Channel == protocol.UserPrefix+e.User && marks.move(e.User, e.Position) {
				// An event loop must not publish: run does.
				select {
				case moved <- mark{e.User, e.Position}:
				default: // too much to do: the message stays unread in the other windows
				}
			}
		},
		run: func(ctx context.Context) {
			for {
				select {
				case <-ctx.Done():
					return
				case m := <-moved:
					_ = d.srv.Publish("read:"+m.user, server.Text, encode(m.at))
				}
			}
		},
	}
}

// note is a notification, noteSent is the reply to its sender.
type (
	note struct {
		Text string `json:"text"`
		At   int64  `json:"at"` // Unix milliseconds
	}
	noteSent struct {
		Offset  uint64 `json:"offset"`
		Windows int    `json:"windows"`
	}
)

// mark is how far a user has read.
type mark struct {
	user string
	at   history.Position
}

// marksWaiting limits the marks that are not published yet.
const marksWaiting = 1_000

// marks remembers up to where each inbox was read last, so that a window that was slower
// than another one makes nothing unread.
type marks struct {
	mu   sync.Mutex
	read map[string]history.Position // by user; guarded by mu
}

// marksMax limits the memory. Without its mark an inbox may be moved back, no more.
const marksMax = 10_000

// move reports whether at is ahead of what was read before.
func (m *marks) move(user string, at history.Position) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before := m.read[user]; before.Epoch == at.Epoch && before.Offset >= at.Offset {
		return false
	}
	if len(m.read) >= marksMax {
		clear(m.read)
	}
	m.read[user] = at
	return true
}

// statusOf returns the HTTP status for an error of send.
func statusOf(err error) int {
	var refused *protocol.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.As(err, &refused):
		return refused.Status()
	}
	return http.StatusServiceUnavailable
}
