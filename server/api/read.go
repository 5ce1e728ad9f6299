package api

import (
	_ "embed" // openapi.json
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
)

// answerJSON sends v.
func (h *Handler) answerJSON(w http.ResponseWriter, v any) error {
	buf := h.buffer()
	defer h.release(buf)
	encoder := json.NewEncoder(buf)
	encoder.SetEscapeHTML(false) // what was published is answered as it is
	if err := encoder.Encode(v); err != nil {
		return err
	}
	answer(w, buf.Bytes())
	return nil
}

// list returns l, or an empty list for nil, so that JSON has [] and not null.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// channels serves GET /v1/channels.
func (h *Handler) channels(c *client, w http.ResponseWriter, r *http.Request) error {
	q := params(r, "prefix", "cursor", "limit", "order")
	limit := q.limit(1)
	order := q.text("order")
	if q.has("order") && order != "name" && order != "clients" {
		q.fail(badValue("order", `"name" or "clients"`))
	}
	if order == "clients" && q.has("cursor") {
		q.fail(problem(http.StatusBadRequest, CodeBadValue, "order=clients has no cursor: the largest channels change between two pages. Ask for up to %d at once.", ListMax).about("cursor", "order"))
	}
	if q.err != nil {
		return q.err
	}
	if err := c.mayList(q.text("prefix")); err != nil {
		return err
	}
	var infos []server.ChannelInfo
	var more bool
	var err error
	if order == "clients" {
		infos, more, err = h.backend.LargestChannels(r.Context(), q.text("prefix"), limit)
	} else {
		infos, more, err = h.backend.Channels(r.Context(), q.text("prefix"), q.text("cursor"), limit)
	}
	others, err := shareOf(err)
	if err != nil {
		return err
	}
	type info struct {
		Name    string `json:"name"`
		Clients int    `json:"clients"`
	}
	result := struct {
		Channels []info `json:"channels"`
		More     bool   `json:"more"`
		Next     string `json:"next,omitempty"`
		share
	}{make([]info, 0, len(infos)), more, "", others}
	for _, i := range infos {
		result.Channels = append(result.Channels, info{i.Name, i.Clients})
		if more && order != "clients" {
			result.Next = i.Name
		}
	}
	return h.answerJSON(w, result)
}

// history serves GET /v1/channels/{channel}/history.
func (h *Handler) history(c *client, w http.ResponseWriter, r *http.Request) error {
	q := params(r, "since_epoch", "since_offset", "limit", "reverse")
	ask := history.Query{Limit: q.limit(0), Reverse: q.flag("reverse")}
	if q.has("since_epoch") != q.has("since_offset") {
		q.fail(problem(http.StatusBadRequest, CodeMissingMember, "since_epoch and since_offset need each other: together they are a position.").about("since_epoch", "since_offset"))
	}
	if q.has("since_epoch") {
		ask.Since = &history.Position{Epoch: q.text("since_epoch"), Offset: q.number("since_offset", 0, math.MaxUint64, 0)}
	}
	if q.err != nil {
		return q.err
	}
	channel, err := h.channel(c, r)
	if err != nil {
		return err
	}
	page, err := h.backend.History(channel, ask)
	if err != nil {
		return err
	}
	type message struct {
		Offset   uint64          `json:"offset"`
		Time     int64           `json:"time"`
		Data     json.RawMessage `json:"data"`
		Encoding string          `json:"encoding,omitempty"`
		Key      string          `json:"key,omitempty"`
		From     string          `json:"from,omitempty"`
	}
	result := struct {
		Epoch    string    `json:"epoch"`
		Offset   uint64    `json:"offset"`
		Messages []message `json:"messages"`
		More     bool      `json:"more"`
		Gap      bool      `json:"gap"`
	}{page.Epoch, page.Offset, make([]message, 0, len(page.Messages)), page.More, page.Gap}
	for _, m := range page.Messages {
		out := message{Offset: m.Offset, Time: m.Time.UnixMilli(), Key: m.Key, From: m.From}
		out.Data, out.Encoding = jsonx.AppendData(nil, m.Payload, m.Type == server.Binary)
		result.Messages = append(result.Messages, out)
	}
	return h.answerJSON(w, result)
}

// presence serves GET /v1/channels/{channel}/presence.
func (h *Handler) presence(c *client, w http.ResponseWriter, r *http.Request) error {
	q := params(r, "cursor", "limit")
	limit := q.limit(0)
	if q.err != nil {
		return q.err
	}
	channel, err := h.channel(c, r)
	if err != nil {
		return err
	}
	p, err := h.backend.Presence(r.Context(), channel, q.text("cursor"), limit)
	if err != nil {
		return err
	}
	type member struct {
		Client string          `json:"client"`
		User   string          `json:"user,omitempty"`
		Info   json.RawMessage `json:"info,omitempty"`
	}
	result := struct {
		Clients    int      `json:"clients"`
		Members    []member `json:"members"`
		Truncated  bool     `json:"truncated"`
		Next       string   `json:"next,omitempty"`
		Incomplete bool     `json:"incomplete,omitempty"`
	}{p.Clients, make([]member, 0, len(p.Members)), p.Truncated, "", p.Incomplete}
	for _, m := range p.Members {
		result.Members = append(result.Members, member(m))
		if p.Truncated {
			result.Next = m.Client
		}
	}
	return h.answerJSON(w, result)
}

// connections serves GET /v1/users/{user}/connections.
func (h *Handler) connections(c *client, w http.ResponseWriter, r *http.Request) error {
	user := r.PathValue("user")
	return h.listConnections(w, r, user, c.mayNameUser(user))
}

// allConnections serves GET /v1/connections.
func (h *Handler) allConnections(c *client, w http.ResponseWriter, r *http.Request) error {
	return h.listConnections(w, r, "", c.mayAll("a list of all connections"))
}

// listConnections lists the connections of a user, or all.
func (h *Handler) listConnections(w http.ResponseWriter, r *http.Request, user string, allowed error) error {
	q := params(r, "cursor", "limit")
	limit := q.limit(1)
	if q.err != nil {
		return q.err
	}
	if allowed != nil {
		return allowed
	}
	infos, more, err := h.backend.Connections(r.Context(), user, q.text("cursor"), limit)
	others, err := shareOf(err)
	if err != nil {
		return err
	}
	type info struct {
		Client       string   `json:"client"`
		Node         string   `json:"node,omitempty"`
		User         string   `json:"user,omitempty"`
		RemoteAddr   string   `json:"remote_addr,omitempty"`
		Subprotocol  string   `json:"subprotocol,omitempty"`
		Protocol     string   `json:"protocol,omitempty"`
		AgeMS        int64    `json:"age_ms"`
		Channels     []string `json:"channels"`
		LagMessages  uint64   `json:"lag_messages"`
		PendingBytes int      `json:"pending_bytes"`
	}
	result := struct {
		Connections []info `json:"connections"`
		More        bool   `json:"more"`
		Next        string `json:"next,omitempty"`
		share
	}{make([]info, 0, len(infos)), more, "", others}
	for _, i := range infos {
		out := info{Client: i.Client, Node: i.Node, User: i.User, Subprotocol: i.Subprotocol, Protocol: i.Protocol, AgeMS: i.Age.Milliseconds(),
			Channels: list(i.Channels), LagMessages: i.LagMessages, PendingBytes: i.PendingBytes}
		if i.RemoteAddr.IsValid() {
			out.RemoteAddr = i.RemoteAddr.String()
		}
		result.Connections = append(result.Connections, out)
		if more {
			result.Next = i.Client
		}
	}
	return h.answerJSON(w, result)
}

// openAPI describes the API to programs.
//
//go:embed openapi.json
var openAPI []byte

// openapi serves GET /v1/openapi.json.
func (h *Handler) openapi(_ *client, w http.ResponseWriter, _ *http.Request) error {
	answer(w, openAPI)
	return nil
}

// healthz serves GET /healthz.
func (h *Handler) healthz(_ *client, w http.ResponseWriter, _ *http.Request) error {
	return answerHealth(w, h.cfg.Healthy)
}

// readyz serves GET /readyz.
func (h *Handler) readyz(c *client, w http.ResponseWriter, r *http.Request) error {
	if h.cfg.Ready == nil {
		return h.healthz(c, w, r)
	}
	return answerHealth(w, h.cfg.Ready)
}

// answerHealth answers with what check returns.
func answerHealth(w http.ResponseWriter, check func() error) error {
	if check != nil {
		if err := check(); err != nil {
			return problem(http.StatusServiceUnavailable, CodeUnhealthy, "%s.", strings.TrimSuffix(sentence(err), ".")).retry(5 * time.Second)
		}
	}
	answer(w, []byte(`{"status":"ok"}`+"\n"))
	return nil
}
