package server

import (
	"context"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Upgrade calls Handler.Upgrade, and has Handler.Authorize called on another
// goroutine.
func (h *hooks) Upgrade(s *shard.Shard, u *shard.Upgrade) {
	app := &h.server.cfg.Handler
	u.Grant.Protocol = h.protocol(u.Grant.Agreed())
	if k, number := h.server.rules.Keeper(u.Request.Path); k != nil {
		if u.Grant.Protocol = number; !h.admit(k, u) {
			return
		}
	} else if a := h.server.cfg.Application; a != nil {
		get := func(name string) string { return string(u.Request.Get(name)) }
		if parts := a.Parts.Of(get, string(u.Request.RawQuery)); parts != nil {
			u.Grant.Kept = parts
		}
	}
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
	later, grant, id := *r, u.Grant, u.ID
	later.request = u.Request.Clone()
	later.shard, later.remote, later.tls = nil, r.RemoteAddr(), r.TLS()
	if u.Later = h.server.work.Do(func() { h.authorize(s, id, &later, &grant) }); !u.Later {
		s.NoteRefusal(u.ID, intake.RefusedWork)
		u.Grant.Err = errTooBusy
	}
}

// authorize calls Handler.Authorize. It runs on one of the goroutines for work.
func (h *hooks) authorize(s *shard.Shard, id netpoll.ID, r *UpgradeRequest, g *shard.Grant) {
	ctx, cancel := context.WithTimeout(h.server.ctx, h.server.cfg.Timeouts.HandshakeTimeout)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			h.server.panicked("Authorize", id, value)
			g.Err = errPanicked
		}
		// If ctx has ended, the result may stem from a look-up that was cut short: the
		// handshake's deadline refuses the connection.
		if ctx.Err() == nil {
			s.Authorized(id, g)
		}
	}()
	g.Err = errPanicked // what a goroutine leaves behind that just ends (runtime.Goexit)
	if err := h.server.cfg.Handler.Authorize(ctx, r); err != nil {
		g.Err = handshakeError(err)
		return
	}
	g.Err = nil
	h.grant(g, r)
}

// grant takes the application's answer over, if it is valid.
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
	g.User, g.Subprotocol, g.Header, g.Channels = r.User, r.Subprotocol, headerLines(r.Header), r.Channels
	if h.server.rules.KeeperOf(g.Protocol) == nil {
		g.Protocol = h.protocol(r.Subprotocol)
	}
}

// admit lets a protocol check a request that came to its path.
func (h *hooks) admit(k protocol.Keeper, u *shard.Upgrade) bool {
	u.Grant.Kept, u.Grant.Err = k.Admit(u.Request)
	return u.Grant.Err == nil
}
