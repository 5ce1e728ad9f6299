package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// A Protocol is what the shards know of a protocol over the wire: they encode a
// message once for all its connections, and exchange heartbeats by themselves.
type Protocol struct {
	// Encode makes the form of a message in which the protocol's connections get it.
	// It may be called on several loops at once.
	Encode func(*hub.Message) *frame.Prepared
	// Ask is a text message that the other side answers with Answer. They may be the
	// same. If Ask is empty, the wire's own pings serve.
	Ask, Answer string
	// Paced: Ask is due after each PingInterval, whatever the client says meanwhile: it
	// ends the connection without.
	Paced bool
	// Stopping is the close code for connections of a server that stops, and Silent the one
	// for those that have not answered Ask; 0: as for all others.
	Stopping, Silent frame.CloseCode

	ask, answer []byte // framed
}

// framed returns p with its heartbeats ready to be sent.
func (p Protocol) framed() Protocol {
	if p.Ask != "" {
		p.ask = frame.AppendFrame(nil, frame.OpText, []byte(p.Ask))
		p.answer = frame.AppendFrame(nil, frame.OpText, []byte(p.Answer))
	}
	return p
}

// protocolOf returns a connection's protocol, nil for raw messages.
func (s *Shard) protocolOf(sl *slot) *Protocol {
	if n := sl.protocol(); n != 0 {
		return &s.protocols[n-1]
	}
	return nil
}

// paced reports whether the connection's heartbeats do not wait for its silence.
func (c conn) paced() bool {
	n := c.protocol()
	return n != 0 && c.s.protocols[n-1].Paced
}

// What a protocol asks of a shard. All of it on the loop only.

// Protocol returns the number of a connection's protocol: its place in
// Application.Protocols, from 1, or 0 for raw messages.
func (s *Shard) Protocol(id netpoll.ID) int {
	if c, ok := s.find(id); ok {
		return c.protocol()
	}
	return 0
}

// Heartbeat acts on a heartbeat that the protocol has recognised, as the shard does
// on those that are exactly Ask.
func (s *Shard) Heartbeat(id netpoll.ID) {
	c, ok := s.findOpen(id)
	if !ok || c.protocol() == 0 {
		return
	}
	switch p := s.protocolOf(c.slot); {
	case c.flags&flagHeartbeat != 0:
		c.flags &^= flagHeartbeat
		s.count.Inc(counters.PongsReceived)
	default:
		s.count.Inc(counters.PingsReceived)
		s.Reply(id, frame.OpText, []byte(p.Answer))
	}
}

// Ready admits a connection that has connected in its protocol: what is published
// to all and to its user reaches it from now on.
func (s *Shard) Ready(id netpoll.ID) {
	if c, ok := s.find(id); ok {
		c.flags &^= flagUnready
	}
}

// IsReady reports whether a connection is open, and has connected where it speaks a
// protocol.
func (s *Shard) IsReady(id netpoll.ID) bool {
	c, ok := s.findOpen(id)
	return ok && c.flags&flagUnready == 0
}

// unready reports whether a connection is open and has not connected in its
// protocol.
func (s *Shard) unready(id netpoll.ID) bool {
	c, ok := s.findOpen(id)
	return ok && c.flags&flagUnready != 0
}

// WasReady reports whether a connection was ever ready, also while it ends.
func (s *Shard) WasReady(id netpoll.ID) bool {
	c, ok := s.find(id)
	return ok && c.flags&flagOpened != 0 && c.flags&flagUnready == 0
}

// IsOpen reports whether a connection is open, ready or not.
func (s *Shard) IsOpen(id netpoll.ID) bool {
	_, ok := s.findOpen(id)
	return ok
}

// Shut closes a connection with a Close frame, ahead of what waits for it in
// jobs. (Close goes after that.)
func (s *Shard) Shut(id netpoll.ID, code frame.CloseCode, reason string) {
	if c, ok := s.find(id); ok {
		c.startClose(code, reason)
	}
}

// SetExpiry arranges that Hooks.Expired is called for a connection in d, or a
// moment later; never, if d is 0.
func (s *Shard) SetExpiry(id netpoll.ID, d time.Duration) {
	c, ok := s.find(id)
	if !ok {
		return
	}
	s.deadlines.expiry.Rows[id.Slot()] = 0
	if d > 0 {
		at := s.deadlines.tick + s.deadlines.ticks(min(d, maxExpiry))
		s.deadlines.expiry.Rows[id.Slot()] = at
		c.dueBy(at)
	}
}

// maxExpiry is longer than any process lives, and fits into ticks.
const maxExpiry = 365 * 24 * time.Hour

// Pause stops reading a connection while work for it goes on elsewhere. What it
// has sent already waits.
func (s *Shard) Pause(id netpoll.ID) {
	if c, ok := s.findOpen(id); ok {
		c.pause(flagPausedWork)
	}
}

// Unpause undoes Pause.
func (s *Shard) Unpause(id netpoll.ID) {
	if c, ok := s.find(id); ok {
		c.resume(flagPausedWork)
	}
}
