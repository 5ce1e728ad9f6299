package api

import (
	"bytes"
	"net/http"
	"unicode/utf8"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/jsonx"
)

// DisconnectCode is the close code where a request does not say: 4403,
// disconnected by the application, do not come back unless told otherwise.
const DisconnectCode server.CloseCode = 4403

// reasonMaxBytes is what a Close frame has room for behind the code (RFC 6455,
// section 5.5).
const reasonMaxBytes = 123

// closeOf reads code and reason of a disconnection.
func closeOf(r *http.Request) (server.CloseCode, string, error) {
	q := params(r, "code", "reason")
	code := server.CloseCode(q.number("code", 1000, 4999, uint64(DisconnectCode)))
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

// noContent answers that it was done.
func noContent(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStoreHeader
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// disconnectChannel answers DELETE /v1/channels/{channel}/connections.
func (h *Handler) disconnectChannel(c *client, w http.ResponseWriter, r *http.Request) error {
	code, reason, err := closeOf(r)
	if err != nil {
		return err
	}
	channel, err := h.channel(c, r)
	if err != nil {
		return err
	}
	return noContent(w, h.backend.DisconnectChannel(channel, code, reason))
}

// disconnectUser answers DELETE /v1/users/{user}/connections.
func (h *Handler) disconnectUser(c *client, w http.ResponseWriter, r *http.Request) error {
	code, reason, err := closeOf(r)
	if err != nil {
		return err
	}
	user := r.PathValue("user")
	if err := c.mayNameUser(user); err != nil {
		return err
	}
	return noContent(w, h.backend.DisconnectUser(user, code, reason))
}

// disconnect answers DELETE /v1/connections/{client}.
func (h *Handler) disconnect(c *client, w http.ResponseWriter, r *http.Request) error {
	code, reason, err := closeOf(r)
	if err != nil {
		return err
	}
	if err := c.mayAll("a connection, in whatever channels it is"); err != nil {
		return err
	}
	return noContent(w, h.backend.Disconnect(r.PathValue("client"), code, reason))
}

// subscribe answers POST /v1/users/{user}/subscriptions/{channel}.
func (h *Handler) subscribe(c *client, w http.ResponseWriter, r *http.Request) error {
	user, channel, err := h.subscriptionOf(c, r)
	if err != nil {
		return err
	}
	if err := h.wantEmpty(w, r); err != nil {
		return err
	}
	return noContent(w, h.backend.SubscribeUser(user, channel))
}

// wantEmpty refuses a body with anything in it: it would be ignored.
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

// unsubscribe answers DELETE /v1/users/{user}/subscriptions/{channel}.
func (h *Handler) unsubscribe(c *client, w http.ResponseWriter, r *http.Request) error {
	user, channel, err := h.subscriptionOf(c, r)
	if err != nil {
		return err
	}
	return noContent(w, h.backend.UnsubscribeUser(user, channel))
}

// subscriptionOf reads user and channel. A key with patterns needs one for each:
// else it could reach any user through a channel of its own.
func (h *Handler) subscriptionOf(c *client, r *http.Request) (user, channel string, err error) {
	if q := params(r); q.err != nil {
		return "", "", q.err
	}
	user = r.PathValue("user")
	if err := c.mayNameUser(user); err != nil {
		return "", "", err
	}
	channel, err = h.channel(c, r)
	return user, channel, err
}
