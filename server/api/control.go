package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/jsonx"
)

// CloseDisconnected is the close code where a request does not say: 4403,
// disconnected by the application, do not come back unless told otherwise.
const CloseDisconnected frame.CloseCode = 4403

// reasonMaxBytes is what a Close frame has room for behind the code (RFC 6455,
// section 5.5).
const reasonMaxBytes = 123

// closeOf reads code and reason of a disconnection.
func closeOf(r *http.Request) (frame.CloseCode, string, error) {
	q := params(r, "code", "reason")
	code := frame.CloseCode(q.number("code", 1000, 4999, uint64(CloseDisconnected)))
	if q.err != nil {
		return 0, "", q.err
	}
	if !code.Valid() {
		return 0, "", badValue("code", "a close code that may be sent: 1000 to 1003, 1007 to 1014, or 3000 to 4999")
	}
	reason := q.text("reason")
	if len(reason) > reasonMaxBytes || !utf8.ValidString(reason) {
		return 0, "", badValue("reason", "UTF-8 of at most 123 bytes (RFC 6455, section 5.5)")
	}
	return code, reason, nil
}

// counted writes the number of connections that the request has changed.
func (h *Handler) counted(w http.ResponseWriter, n int, err error) error {
	others, err := shareOf(err)
	if err != nil {
		return err
	}
	return h.answerJSON(w, struct {
		Connections int `json:"connections"`
		share
	}{n, others})
}

// waitForLoops bounds the wait for the loops.
func (h *Handler) waitForLoops(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), max(h.cfg.Wait, time.Second))
}

// end disconnects an audience.
func (h *Handler) end(w http.ResponseWriter, r *http.Request, a server.Audience, allowed error) error {
	code, reason, err := closeOf(r)
	if err == nil {
		err = allowed
	}
	if err != nil {
		return err
	}
	ctx, cancel := h.waitForLoops(r)
	defer cancel()
	n, err := h.backend.Disconnect(ctx, a, code, reason)
	return h.counted(w, n, err)
}

// disconnectChannel serves DELETE /v1/channels/{channel}/connections.
func (h *Handler) disconnectChannel(c *client, w http.ResponseWriter, r *http.Request) error {
	channel, err := h.channel(c, r)
	return h.end(w, r, server.Audience{Channel: channel}, err)
}

// disconnectUser serves DELETE /v1/users/{user}/connections.
func (h *Handler) disconnectUser(c *client, w http.ResponseWriter, r *http.Request) error {
	user := r.PathValue("user")
	return h.end(w, r, server.Audience{User: user}, c.mayNameUser(user))
}

// disconnect serves DELETE /v1/connections/{client}.
func (h *Handler) disconnect(c *client, w http.ResponseWriter, r *http.Request) error {
	return h.end(w, r, server.Audience{Client: r.PathValue("client")}, c.mayAll(aConnection))
}

// aConnection describes what a key with patterns cannot name, for errors.
const aConnection = "a connection, in whatever channels it is"

// subscribe serves POST /v1/users/{user}/subscriptions/{channel}, and the same for a
// connection.
func (h *Handler) subscribe(c *client, w http.ResponseWriter, r *http.Request) error {
	audience, channel, err := h.subscriptionOf(c, r)
	if err != nil {
		return err
	}
	if err := h.wantEmpty(w, r); err != nil {
		return err
	}
	ctx, cancel := h.waitForLoops(r)
	defer cancel()
	n, err := h.backend.Subscribe(ctx, audience, channel)
	return h.counted(w, n, err)
}

// clearHistory serves DELETE /v1/channels/{channel}/history.
func (h *Handler) clearHistory(c *client, w http.ResponseWriter, r *http.Request) error {
	if q := params(r); q.err != nil {
		return q.err
	}
	channel, err := h.channel(c, r)
	if err != nil {
		return err
	}
	n, err := h.backend.ClearHistory(channel)
	if err != nil {
		return err
	}
	answer(w, fmt.Appendf(nil, "{\"messages\":%d}\n", n))
	return nil
}

// wantEmpty refuses a body that is not empty, since it would be ignored.
func (h *Handler) wantEmpty(w http.ResponseWriter, r *http.Request) error {
	buf := h.buffer()
	defer h.release(buf)
	if err := h.read(w, r, buf); err != nil {
		return err
	}
	if len(bytes.TrimSpace(buf.Bytes())) == 0 {
		return nil
	}
	if err := object(buf.Bytes()); err != nil {
		return err
	}
	if members := jsonx.Walk(buf.Bytes()); members.More() {
		quoted, _ := members.Member()
		name, _ := unquote(quoted)
		return unknownMembers([]string{string(name)}, "user and channel stand in the address, and the body is empty")
	}
	return nil
}

// unsubscribe serves DELETE /v1/users/{user}/subscriptions/{channel}, and the same for
// a connection.
func (h *Handler) unsubscribe(c *client, w http.ResponseWriter, r *http.Request) error {
	audience, channel, err := h.subscriptionOf(c, r)
	if err != nil {
		return err
	}
	ctx, cancel := h.waitForLoops(r)
	defer cancel()
	n, err := h.backend.Unsubscribe(ctx, audience, channel)
	return h.counted(w, n, err)
}

// subscriptionOf reads user or connection, and channel. A key with patterns needs one
// for the user as well as for the channel: otherwise it could reach any user through a
// channel of its own.
func (h *Handler) subscriptionOf(c *client, r *http.Request) (a server.Audience, channel string, err error) {
	if q := params(r); q.err != nil {
		return a, "", q.err
	}
	a = server.Audience{User: r.PathValue("user"), Client: r.PathValue("client")}
	if a.Client != "" {
		err = c.mayAll(aConnection)
	} else {
		err = c.mayNameUser(a.User)
	}
	if err != nil {
		return a, "", err
	}
	channel, err = h.channel(c, r)
	return a, channel, err
}
