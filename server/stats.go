package server

import (
	"github.com/roostws/roost/netpoll"
)

// Stats are a server's counters, summed over its loops. Fields in the first
// group go up and down; all others only grow.
type Stats struct {
	// Connections is the number of open WebSocket connections, Handshaking that
	// of sockets that are not upgraded (yet).
	Connections, Handshaking int64
	// Stalled connections have output waiting for a full socket, PendingBytes
	// of it in all. Paused connections are not read.
	Stalled, PendingBytes, Paused int64
	// Lagging clients have not read all that was published for them; JournalBytes
	// are kept for them, in all loops.
	Lagging, JournalBytes int64
	// Reading clients go on with channels' histories, resuming or lagging.
	// HistoryChannels, HistoryMessages and HistoryBytes are kept.
	Reading, HistoryChannels, HistoryMessages, HistoryBytes int64
	// Channels are counted once on each loop that has subscribers;
	// Subscriptions are exact.
	Channels, Subscriptions int64
	// InboxEntries wait for the loops, or are being fanned out.
	InboxEntries int64

	// Accepted sockets, Opened and Closed WebSocket connections; the latter by
	// the peer's Close frame, by ours, or without one.
	Accepted, Opened, Closed                       uint64
	ClosedByPeer, ClosedByServer, ClosedAbnormally uint64
	// RefusedFull counts clients told 503 because of MaxConnections or a
	// shutdown, HandshakesRefused those whose request was invalid or not
	// allowed, HandshakeTimeouts those that took too long.
	RefusedFull, HandshakesRefused, HandshakeTimeouts uint64
	// HandshakesQueued counts connections that had to wait because of HandshakesMax, HandshakesEvicted those that had to make room for others.
	HandshakesQueued, HandshakesEvicted uint64
	// RefusedAddress counts connections beyond ConnectionsPerAddress,
	// RefusedAddressRate those beyond ConnectRatePerAddress, ProxyErrors those of a trusted balancer without a valid PROXY header.
	RefusedAddress, RefusedAddressRate, ProxyErrors uint64
	// PlainRequests counts plain HTTP requests given to Config.HTTP.
	PlainRequests uint64

	// BytesReceived counts all bytes, MessagesReceived and
	// MessageBytesReceived whole messages.
	BytesReceived, MessagesReceived, MessageBytesReceived uint64
	// Delivered counts messages handed to the kernel or waiting for it.
	Delivered uint64
	// PingsSent, PingsReceived and PongsReceived count control frames.
	PingsSent, PingsReceived, PongsReceived uint64

	// PongTimeouts, IdleTimeouts, WriteStalls and CloseTimeouts count
	// connections ended by a deadline.
	PongTimeouts, IdleTimeouts, WriteStalls, CloseTimeouts uint64
	// ProtocolErrors (1002, 1008), InvalidUTF8 (1007) and MessagesTooBig (1009)
	// count connections ended for what they sent.
	ProtocolErrors, InvalidUTF8, MessagesTooBig uint64
	// MessageTimeouts counts connections closed because a message took longer
	// than MessageTimeout, TurnsYielded how often one that sends many small
	// frames had to let the others go first.
	MessageTimeouts, TurnsYielded uint64
	// SlowDisconnects counts slow consumers closed, SlowDrops messages left
	// out for them.
	SlowDisconnects, SlowDrops uint64
	// HistoryEvicted counts messages that histories dropped early because of
	// HistoryMaxBytes.
	HistoryEvicted uint64
	// RateLimited counts pauses because of MessageRate, PublishersHeld those
	// because the fan-out was behind.
	RateLimited, PublishersHeld uint64
	// InboxRefused counts calls answered ErrBusy, JoinsRefused joins beyond
	// SubscriptionsMax, SendsToClosed messages to connections that had ended.
	InboxRefused, JoinsRefused, SendsToClosed uint64
	// TLSHandshakes succeeded, TLSHandshakeErrors failed, TLSHandshakesQueued
	// had to wait for their turn. TLSErrors counts connections ended by a bad
	// record. Deflated counts connections that negotiated compression.
	TLSHandshakes, TLSHandshakeErrors, TLSHandshakesQueued, TLSErrors, Deflated uint64
	// Adopted counts connections taken from net/http (ServeHTTP), Bridged those
	// of them that need goroutines.
	Adopted, Bridged uint64
	// CommandErrors counts errors that native clients were told, ConnectsRefused
	// among them those of connect. TokensExpired counts connections and
	// subscriptions that ended because no new token came.
	CommandErrors, ConnectsRefused, TokensExpired uint64
	// Panics counts panics in callbacks.
	Panics uint64

	// Engine are the sockets' own counters.
	Engine netpoll.Stats
}

// Stats answers the counters of this moment. Loops go on meanwhile, so sums may
// be off by what happens during the call.
func (s *Server) Stats() Stats {
	var t Stats
	engine := s.engine()
	if engine == nil {
		return t
	}
	t.Engine = engine.Stats()
	if p := s.parts.Load(); p != nil {
		h := p.hub.Stats()
		t.HistoryChannels, t.HistoryMessages, t.HistoryBytes, t.HistoryEvicted = h.Channels, h.Messages, h.Bytes, h.Evicted
		t.InboxRefused += h.Refused
	}
	for _, sh := range s.members() {
		c := sh.Counters()
		t.Connections += c.Open.Load()
		t.Stalled += c.Stalled.Load()
		t.PendingBytes += c.PendingBytes.Load()
		t.Paused += c.Paused.Load()
		t.Lagging += c.Lagging.Load()
		t.JournalBytes += c.JournalBytes.Load()
		t.Reading += c.Reading.Load()
		t.Channels += c.Channels.Load()
		t.Subscriptions += c.Subscriptions.Load()
		t.InboxEntries += int64(sh.Waiting())
		t.Accepted += c.Accepted.Load()
		t.Opened += c.Opened.Load()
		t.Closed += c.Closed.Load()
		t.ClosedByPeer += c.ClosedByPeer.Load()
		t.ClosedByServer += c.ClosedByServer.Load()
		t.ClosedAbnormally += c.ClosedAbnormally.Load()
		t.RefusedFull += c.RefusedFull.Load()
		t.HandshakesRefused += c.HandshakesRefused.Load()
		t.HandshakeTimeouts += c.HandshakeTimeouts.Load()
		t.HandshakesQueued += c.HandshakesQueued.Load()
		t.HandshakesEvicted += c.HandshakesEvicted.Load()
		t.RefusedAddress += c.RefusedAddress.Load()
		t.RefusedAddressRate += c.RefusedAddressRate.Load()
		t.ProxyErrors += c.ProxyErrors.Load()
		t.PlainRequests += c.PlainRequests.Load()
		t.BytesReceived += c.BytesReceived.Load()
		t.MessagesReceived += c.MessagesReceived.Load()
		t.MessageBytesReceived += c.MessageBytesReceived.Load()
		t.Delivered += c.Delivered.Load()
		t.PingsSent += c.PingsSent.Load()
		t.PingsReceived += c.PingsReceived.Load()
		t.PongsReceived += c.PongsReceived.Load()
		t.PongTimeouts += c.PongTimeouts.Load()
		t.IdleTimeouts += c.IdleTimeouts.Load()
		t.WriteStalls += c.WriteStalls.Load()
		t.CloseTimeouts += c.CloseTimeouts.Load()
		t.ProtocolErrors += c.ProtocolErrors.Load()
		t.InvalidUTF8 += c.InvalidUTF8.Load()
		t.MessagesTooBig += c.MessagesTooBig.Load()
		t.MessageTimeouts += c.MessageTimeouts.Load()
		t.TurnsYielded += c.TurnsYielded.Load()
		t.SlowDisconnects += c.SlowDisconnects.Load()
		t.SlowDrops += c.SlowDrops.Load()
		t.RateLimited += c.RateLimited.Load()
		t.PublishersHeld += c.PublishersHeld.Load()
		t.InboxRefused += c.InboxRefused.Load()
		t.JoinsRefused += c.JoinsRefused.Load()
		t.SendsToClosed += c.SendsToClosed.Load()
		t.TLSHandshakes += c.TLSHandshakes.Load()
		t.TLSHandshakeErrors += c.TLSHandshakeErrors.Load()
		t.TLSHandshakesQueued += c.TLSHandshakesQueued.Load()
		t.TLSErrors += c.TLSErrors.Load()
		t.Deflated += c.Deflated.Load()
		t.CommandErrors += c.CommandErrors.Load()
		t.ConnectsRefused += c.ConnectsRefused.Load()
		t.TokensExpired += c.TokensExpired.Load()
		t.Adopted += c.Adopted.Load()
		t.Bridged += c.Bridged.Load()
		t.Panics += c.Panics.Load()
	}
	t.Handshaking = max(t.Engine.Conns-t.Connections, 0)
	return t
}
