package server

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// hooks stand between one shard and those that it reports to: the callbacks of
// Config.Handler (application.go) and the sessions of the protocols. Owned by the
// loop. The events that callbacks get are made once for each loop and used again:
// no allocation.
type hooks struct {
	server   *Server
	sessions *protocol.Sessions

	upgrade UpgradeRequest
	open    OpenEvent
	message Message
	close   CloseEvent
}

// hooksOf returns those of a shard.
func (s *Server) hooksOf(sh *shard.Shard) *hooks { return s.parts.Load().hooks[sh.Loop().Index()] }

// protocol returns the number of the protocol that a connection with this
// subprotocol speaks: its place in Application.Protocols, from 1, or 0 for none. Those with
// a path have no subprotocol.
func (h *hooks) protocol(subprotocol string) int {
	if subprotocol == "" {
		return 0
	}
	return 1 + slices.IndexFunc(h.server.cfg.protocols(), func(c protocol.Codec) bool { return c.Subprotocol() == subprotocol })
}

// Open reports a connection that is ready, or, where it speaks a protocol, that
// has to connect first.
func (h *hooks) Open(s *shard.Shard, id netpoll.ID, g *shard.Grant) {
	if k := h.server.rules.KeeperOf(g.Protocol); k != nil {
		if !k.Open(h.sessions, s, id, g.Kept) {
			return
		}
	} else if g.Protocol != 0 {
		upgrade, _ := g.Kept.(*protocol.UpgradeParts)
		h.sessions.Open(id, g.Channels, upgrade, g.Token())
	} else {
		h.sessions.Connected(s, id)
	}
	if f := h.server.cfg.Handler.Open; f != nil {
		h.open = OpenEvent{hooks: h, shard: s, id: id, grant: g}
		f(&h.open)
	}
}

// Message hands a message to its protocol, or to Handler.Message.
func (h *hooks) Message(s *shard.Shard, id netpoll.ID, op frame.Opcode, payload []byte) {
	if s.Protocol(id) != 0 {
		h.sessions.Message(s, id, payload, op == frame.OpBinary)
		return
	}
	if f := h.server.cfg.Handler.Message; f != nil {
		h.message = Message{Type: op, Payload: payload, hooks: h, shard: s, id: id}
		f(&h.message)
	}
}

// Closed logs and reports the end of a connection.
func (h *hooks) Closed(s *shard.Shard, id netpoll.ID, c shard.Closed) {
	if log := h.server.cfg.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		log.LogAttrs(context.Background(), slog.LevelDebug, "connection closed",
			slog.String("conn_id", s.Origin(id).String()), slog.String("remote_addr", addrText(s.RemoteAddr(id))), slog.Int("close_code", int(c.Code)), slog.String("reason", c.Reason),
			slog.Bool("by_peer", c.ByPeer), slog.Duration("age", c.Age), slog.Any("err", c.Err))
	}
	h.sessions.Closed(s, id, c)
	if k := h.server.rules.KeeperOf(s.Protocol(id)); k != nil && !k.Closed(s, id, c) {
		return
	}
	if f := h.server.cfg.Handler.Close; f != nil {
		h.close = CloseEvent{Code: c.Code, Reason: c.Reason, ByPeer: c.ByPeer, Err: c.Err, Age: c.Age, Missed: c.Missed,
			hooks: h, shard: s, id: id}
		f(&h.close)
	}
}

// addrText returns an address for logs, empty where there is none.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Joined reports what Conn.Join has done.
func (h *hooks) Joined(s *shard.Shard, id netpoll.ID, channel string, at history.Position) {
	h.sessions.Joined(s, id, channel, at)
}

// Left reports what Conn.Leave has done.
func (h *hooks) Left(s *shard.Shard, id netpoll.ID, channel string) { h.sessions.Left(s, id, channel) }

// Gap reports messages that a connection will not get.
func (h *hooks) Gap(s *shard.Shard, id netpoll.ID, channel, epoch string, from, to uint64) {
	h.sessions.Gap(s, id, channel, epoch, from, to)
}

// Reset reports that a connection's channel has a new epoch.
func (h *hooks) Reset(s *shard.Shard, id netpoll.ID, channel string, at history.Position) {
	h.sessions.Reset(s, id, channel, at)
}

// Occupied reports that a channel has its first subscriber, or has lost its last.
func (h *hooks) Occupied(_ *shard.Shard, channel string, occupied bool) {
	h.sessions.Occupied(channel, occupied)
}

// Expired reports that a connection's time is over.
func (h *hooks) Expired(s *shard.Shard, id netpoll.ID) {
	if k := h.server.rules.KeeperOf(s.Protocol(id)); k != nil {
		k.Expired(s, id)
		return
	}
	h.sessions.Expired(s, id)
}

// Closing reports that the application closes a connection.
func (h *hooks) Closing(s *shard.Shard, id netpoll.ID, code frame.CloseCode, reason string) {
	if k := h.server.rules.KeeperOf(s.Protocol(id)); k != nil && s.IsOpen(id) {
		k.Dismissed(s, id, code, reason)
	}
}

// Tick comes with each tick of the loop.
func (h *hooks) Tick(s *shard.Shard) { h.sessions.Tick(s) }

// OpFailed logs a join that was refused: its caller is gone.
func (h *hooks) OpFailed(_ *shard.Shard, id netpoll.ID, channel string, err error) {
	h.sessions.JoinRefused(id, channel, err)
}

// ServesHTTP reports whether there is a handler for plain requests.
func (h *hooks) ServesHTTP() bool { return h.server.cfg.HTTP != nil }

// HTTP has a plain request answered.
func (h *hooks) HTTP(s *shard.Shard, id netpoll.ID, request []byte) error {
	remote := s.RemoteAddr(id)
	if !h.server.work.Do(func() { h.server.answerHTTP(s, id, remote, request) }) {
		s.NoteRefusal(id, intake.RefusedWork)
		return errTooBusy
	}
	return nil
}

var (
	errTooBusy = &handshake.Error{Status: 503, Reason: "too many requests are being worked on",
		RetryAfter: 5 * time.Second, Advice: "Come back after the seconds in Retry-After."}
	errPanicked = &handshake.Error{Status: 500, Reason: "something went wrong in the server"}
)
