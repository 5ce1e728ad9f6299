package server

import (
	"bytes"
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/internal/wire"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// The fallbacks of WebSocket: requests of plain HTTP that say the same commands of
// the native protocol (docs/fallbacks.md). How their messages travel is the business
// of package wire; here is what the requests mean.

// The fallbacks' paths.
const (
	ssePath  = "/v1/sse"
	pollPath = "/v1/poll"
)

// pollMaxWait is the longest time that a poll may wait: proxies cut a request that is
// not answered within a minute.
const pollMaxWait = 55 * time.Second

// newFallbacks returns the fallbacks by path.
func (s *Server) newFallbacks() map[string]*shard.Fallback {
	i := slices.IndexFunc(s.cfg.protocols(), func(c protocol.Codec) bool { return c.Subprotocol() == native.Subprotocol })
	fallbacks := map[string]*shard.Fallback{}
	for i, c := range s.cfg.protocols() {
		if k, ok := c.(protocol.Keeper); ok && k.Mailboxes().Max > 0 {
			fallbacks[k.Path()] = &shard.Fallback{Kind: wire.Mailbox, Protocol: i + 1, Methods: "GET, POST, OPTIONS", Credentials: true}
		}
	}
	if i < 0 || s.cfg.Handshake.NoFallback {
		return fallbacks
	}
	credentials := s.cfg.Handshake.TokenCookie != ""
	for path, f := range map[string]*shard.Fallback{
		ssePath:  {Kind: wire.EventStream, Protocol: i + 1, Subprotocol: native.Subprotocol, Methods: "GET, HEAD, POST, OPTIONS", Credentials: credentials},
		pollPath: {Kind: wire.Poll, Protocol: i + 1, Subprotocol: native.Subprotocol, Methods: "GET, POST, OPTIONS", Credentials: credentials},
	} {
		fallbacks[path] = f
	}
	return fallbacks
}

// Fallback returns the fallback that a request asks for.
func (h *hooks) Fallback(r *handshake.Request) *shard.Fallback {
	return h.server.fallbacks[string(r.Path)]
}

// Busy appends the error that the server has no room.
func (h *hooks) Busy(dst []byte, number int, retryAfter time.Duration) []byte {
	var out protocol.Packets
	h.server.cfg.protocols()[number-1].Error(&out, 0, &protocol.Error{Code: protocol.CodeBusy, Message: "the server is full or stopping", RetryAfter: retryAfter})
	return append(dst, out.Begin()...)
}

// Commands returns the commands of a request: its body, or what its query says.
func (h *hooks) Commands(r *handshake.Request, _ *shard.Fallback, body []byte) (said shard.Said, err error) {
	query, err := url.ParseQuery(string(r.RawQuery))
	if err != nil {
		return said, badRequest("the query is malformed", "Percent-encode names and values.")
	}
	if seconds := query.Get("wait"); seconds != "" {
		n, err := strconv.ParseFloat(seconds, 64)
		if err != nil || !(n >= 0) {
			return said, badRequest("the time to wait is no number of seconds", "Send wait=25, or leave it out.")
		}
		said.Wait = time.Duration(min(n, pollMaxWait.Seconds()) * float64(time.Second))
	}
	said.Cursor = cmp.Or(string(r.Get("Last-Event-ID")), query.Get("last_event_id"))
	positions, err := parseCursor(said.Cursor)
	if err != nil {
		return said, err
	}
	if string(r.Method) == http.MethodPost {
		said.Lines, said.Token = bytes.Clone(body), h.token(r, query)
		return said, nil
	}
	said.Lines = h.queryCommands(r, query, positions)
	return said, nil
}

// queryCommands returns the commands that a query stands for.
func (h *hooks) queryCommands(r *handshake.Request, query url.Values, positions []channelPosition) []byte {
	connect := []byte(`{"id":1,"connect":{`)
	member := func(name, value string) {
		if value != "" {
			connect = jsonx.AppendText(append(jsonx.AppendText(connect, name), ':'), value)
			connect = append(connect, ',')
		}
	}
	member("token", h.token(r, query))
	member("name", query.Get("name"))
	if len(positions) > 0 {
		connect = append(connect, `"resume":{`...)
		for _, p := range positions {
			connect = append(jsonx.AppendText(connect, p.channel), ':')
			connect = append(appendPosition(connect, p.at), ',')
		}
		connect = append(bytes.TrimSuffix(connect, comma), `},`...)
	}
	lines := append(bytes.TrimSuffix(connect, comma), "}}\n"...)
	for i, channel := range query["channel"] {
		lines = strconv.AppendInt(append(lines, `{"id":`...), int64(i)+2, 10)
		lines = jsonx.AppendText(append(lines, `,"subscribe":{"channel":`...), channel)
		if k := slices.IndexFunc(positions, func(p channelPosition) bool { return p.channel == channel }); k >= 0 {
			lines = appendPosition(append(lines, `,"resume":`...), positions[k].at)
		}
		lines = append(lines, "}}\n"...)
	}
	return lines
}

// Settled reports whether no command of a connection is under way.
func (h *hooks) Settled(id netpoll.ID) bool { return h.sessions.Settled(id) }

var comma = []byte(",")

func appendPosition(dst []byte, at history.Position) []byte {
	dst = jsonx.AppendText(append(dst, `{"epoch":`...), at.Epoch)
	return append(strconv.AppendUint(append(dst, `,"offset":`...), at.Offset, 10), '}')
}

// token returns the client's token, from where it can put one: an EventSource sets no
// header. It is not logged. A cookie counts only if the request comes from an allowed
// page: see handshake.CheckOrigin, and fromElsewhere.
func (h *hooks) token(r *handshake.Request, query url.Values) string {
	if scheme, token, ok := strings.Cut(string(r.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	if token := query.Get("token"); token != "" || h.server.cfg.Handshake.TokenCookie == "" {
		return token
	}
	if fromElsewhere(r) {
		return ""
	}
	for i := range r.Fields() {
		if f := &r.Fields()[i]; f.Is("Cookie") {
			cookies, _ := http.ParseCookie(string(f.Value))
			for _, c := range cookies {
				if c.Name == h.server.cfg.Handshake.TokenCookie {
					return c.Value
				}
			}
		}
	}
	return ""
}

// fromElsewhere reports whether a page of another origin has caused a request of which
// it can't read the response: an image, a script, a link. Such a request has the user's
// cookies and no Origin.
func fromElsewhere(r *handshake.Request) bool {
	site := string(r.Get("Sec-Fetch-Site"))
	return r.Get("Origin") == nil && (site == "cross-site" || site == "same-site")
}

// A channelPosition is a part of a cursor.
type channelPosition struct {
	channel string
	at      history.Position
}

// parseCursor reads what wire.AppendCursor has written: the ID of the last event that
// the client has seen.
func parseCursor(text string) (positions []channelPosition, err error) {
	if text == "" {
		return nil, nil
	}
	// Parts of it may go into the IDs of events: a line break would end the ID.
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errCursor
	}
	for part := range strings.SplitSeq(text, ",") {
		name, at, found := strings.Cut(part, "@")
		dot := strings.LastIndexByte(at, '.')
		channel, err := url.QueryUnescape(name)
		if !found || dot < 0 || err != nil {
			return nil, errCursor
		}
		offset, err := strconv.ParseUint(at[dot+1:], 10, 64)
		if err != nil {
			return nil, errCursor
		}
		positions = append(positions, channelPosition{channel, history.Position{Epoch: at[:dot], Offset: offset}})
	}
	return positions, nil
}

var errCursor = badRequest("the Last-Event-ID is none of ours", "Send the id of an event of this server, or none.")

func badRequest(reason, advice string) *handshake.Error {
	return &handshake.Error{Status: http.StatusBadRequest, Reason: reason, Advice: advice}
}
