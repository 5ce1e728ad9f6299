package shard

import (
	"log/slog"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
)

// refusalOf returns the kind of a refusal that a wrong setting may have caused.
func refusalOf(err error) (kind intake.Refusal, known bool) {
	switch err {
	case handshake.ErrOrigin:
		return intake.RefusedOrigin, true
	case handshake.ErrTLS:
		return intake.RefusedTLS, true
	case handshake.ErrPlainHTTP:
		return intake.RefusedPlain, true
	case handshake.ErrProxyHeader:
		return intake.RefusedProxyHeader, true
	case handshake.ErrHeadTooLarge:
		return intake.RefusedHead, true
	}
	return 0, false
}

// noteRefusal counts a refusal for the log.
func (c conn) noteRefusal(kind intake.Refusal) {
	if !c.s.group.refusals.Count(kind) {
		return
	}
	attrs := []slog.Attr{slog.String("remote_addr", c.s.RemoteAddr(c.id).Addr().String())}
	switch r := &c.s.intake.request; kind {
	case intake.RefusedOrigin:
		attrs = append(attrs, slog.String("origin", clip(r.Get("Origin"))), slog.String("host", clip(r.Host)))
	case intake.IgnoredForwarded:
		name := c.s.cfg.Addresses.Forwarding.Header.String()
		attrs = append(attrs, slog.String("header", name), slog.String("value", clip(r.Get(name))))
	}
	c.s.group.refusals.Example(kind, c.s.clock(), attrs...)
}

// clip keeps what a client wrote short in the log.
func clip(p []byte) string { return string(p[:min(len(p), 200)]) }

// NoteRefusal counts a refusal of the application's side for the log. Loop only.
func (s *Shard) NoteRefusal(id netpoll.ID, kind intake.Refusal) {
	if c, ok := s.find(id); ok {
		c.noteRefusal(kind)
	}
}
