package server

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol/native"
)

// hooks stand between one shard and the application. The events that callbacks
// are given are made once for each loop and used again: no allocation.
type hooks struct {
	server *Server

	// Owned by the loop.
	upgrade UpgradeRequest
	open    OpenEvent
	message Message
	close   CloseEvent

	// Of the native protocol, owned by the loop, too.
	sessions map[netpoll.ID]*session // those that need one
	nextDue  time.Time               // when one of them has to be looked at; zero: none
	lastLook time.Time
	task     task
	buffer   []byte
}

// Upgrade asks Handler.Upgrade, and has Handler.Authorize asked.
func (h *hooks) Upgrade(s *shard.Shard, u *shard.Upgrade) {
	app := &h.server.cfg.Handler
	u.Grant.Native = h.native(u.Grant.Agreed())
	if app.Upgrade == nil && app.Authorize == nil {
		return
	}
	r := &h.upgrade
	*r = UpgradeRequest{
		Subprotocol: u.Grant.Agreed(),
		conn:        Conn{h.server, u.ID}, request: u.Request, shard: s,
	}
	if app.Upgrade != nil {
		if err := app.Upgrade(r); err != nil {
			u.Grant.Err = handshakeError(err)
			return
		}
	}
	if app.Authorize == nil {
		h.grant(&u.Grant, r)
		return
	}
	if !h.server.work.TryAcquire(1) {
		u.Grant.Err = errTooBusy
		return
	}
	u.Later = true
	later, grant := *r, u.Grant
	later.request = u.Request.Clone()
	later.shard, later.remote, later.tls = nil, r.RemoteAddr(), r.TLS()
	go h.authorize(s, u.ID, &later, &grant)
}

// authorize runs on a goroutine of its own.
func (h *hooks) authorize(s *shard.Shard, id netpoll.ID, r *UpgradeRequest, g *shard.Grant) {
	defer h.server.work.Release(1)
	ctx, cancel := context.WithTimeout(h.server.ctx, h.server.cfg.Timeouts.HandshakeTimeout)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			h.server.panicked("Authorize", id, value)
			g.Err = errPanicked
		}
		// Who was too slow is left to the handshake's deadline: nobody is let in
		// by a look-up that was cut short.
		if ctx.Err() == nil {
			s.Authorized(id, g)
		}
	}()
	g.Err = errPanicked // what a goroutine that just ends (runtime.Goexit) leaves behind
	if err := h.server.cfg.Handler.Authorize(ctx, r); err != nil {
		g.Err = handshakeError(err)
		return
	}
	g.Err = nil
	h.grant(g, r)
}

// grant carries the application's answer over, if it can be kept.
func (h *hooks) grant(g *shard.Grant, r *UpgradeRequest) {
	if r.User != "" {
		g.Err = h.server.checkName("user", r.User)
	}
	for _, name := range r.Channels {
		if g.Err == nil {
			g.Err = h.server.checkName("channel", name)
		}
	}
	if g.Err != nil {
		h.server.cfg.Logger.Error("the application's answer to an upgrade is invalid", "err", g.Err)
	}
	g.User, g.Subprotocol, g.Header, g.Channels = r.User, r.Subprotocol, r.Header, r.Channels
	g.Native = h.native(r.Subprotocol)
}

// native tells whether a connection with this subprotocol speaks the native
// protocol.
func (h *hooks) native(subprotocol string) bool {
	return subprotocol == native.Subprotocol && h.server.cfg.Application != nil
}

// hooksOf are those of a shard.
func (s *Server) hooksOf(sh *shard.Shard) *hooks { return s.parts.Load().hooks[sh.Loop().Index()] }

// Open passes on.
func (h *hooks) Open(s *shard.Shard, id netpoll.ID, g *shard.Grant) {
	if g.Native {
		h.nativeOpen(id, g)
	} else {
		h.event(s, id, Event{Type: EventConnected})
		h.eachChannel(s, id, h.joined)
	}
	if f := h.server.cfg.Handler.Open; f != nil {
		h.open = OpenEvent{hooks: h, shard: s, id: id, grant: g}
		f(&h.open)
	}
}

// Message passes on.
func (h *hooks) Message(s *shard.Shard, id netpoll.ID, op frame.Opcode, payload []byte) {
	if s.Native(id) {
		h.nativeMessage(s, id, op, payload)
		return
	}
	if f := h.server.cfg.Handler.Message; f != nil {
		h.message = Message{Type: op, Payload: payload, hooks: h, shard: s, id: id}
		f(&h.message)
	}
}

// Closed logs and passes on.
func (h *hooks) Closed(s *shard.Shard, id netpoll.ID, c shard.Closed) {
	if log := h.server.cfg.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		log.LogAttrs(context.Background(), slog.LevelDebug, "connection closed",
			slog.String("conn_id", id.String()), slog.String("remote_addr", addrText(s.RemoteAddr(id))), slog.Int("close_code", int(c.Code)), slog.String("reason", c.Reason),
			slog.Bool("by_peer", c.ByPeer), slog.Duration("age", c.Age), slog.Any("err", c.Err))
	}
	if s.LetIn(id) {
		h.eachChannel(s, id, h.left)
		h.event(s, id, Event{Type: EventDisconnected, Code: c.Code, Reason: c.Reason, Age: c.Age})
	}
	h.drop(id)
	if f := h.server.cfg.Handler.Close; f != nil {
		h.close = CloseEvent{Code: c.Code, Reason: c.Reason, ByPeer: c.ByPeer, Err: c.Err, Age: c.Age, Missed: c.Missed,
			hooks: h, shard: s, id: id}
		f(&h.close)
	}
}

// addrText is an address for logs, empty where there is none.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Occupied passes on.
func (h *hooks) Occupied(_ *shard.Shard, channel string, occupied bool) {
	e := Event{Type: EventVacated, Channel: channel}
	if occupied {
		e.Type = EventOccupied
	}
	h.tell(0, &e)
}

// OpFailed logs what nobody else can be told.
func (h *hooks) OpFailed(_ *shard.Shard, id netpoll.ID, channel string, err error) {
	h.server.cfg.Logger.Warn("join refused", "conn_id", id.String(), "channel", channel, "err", err)
}

// ServesHTTP tells whether there is a handler for plain requests.
func (h *hooks) ServesHTTP() bool { return h.server.cfg.HTTP != nil }

// HTTP has a plain request answered.
func (h *hooks) HTTP(s *shard.Shard, id netpoll.ID, request []byte) error {
	if !h.server.work.TryAcquire(1) {
		return errTooBusy
	}
	go h.server.answerHTTP(s, id, s.RemoteAddr(id), request)
	return nil
}

var (
	errTooBusy = &handshake.Error{Status: 503, Reason: "too many requests are being worked on",
		RetryAfter: 5 * time.Second, Advice: "Come back after the seconds in Retry-After."}
	errPanicked = &handshake.Error{Status: 500, Reason: "something went wrong in the server"}
)
