package shard

import (
	"sync/atomic"

	"github.com/roostws/roost/frame"
)

// Counters are what one shard has seen. The loop writes them, anybody reads
// them. Those named in the present tense of a state (Open, Stalled, …) go up
// and down; the others only grow.
type Counters struct {
	Accepted, Opened, Closed                                          atomic.Uint64
	Open, Stalled, Paused, PendingBytes                               atomic.Int64
	Lagging, Reading, JournalBytes                                    atomic.Int64
	Channels, Subscriptions                                           atomic.Int64
	RefusedFull, HandshakesRefused, HandshakeTimeouts                 atomic.Uint64
	PlainRequests                                                     atomic.Uint64
	BytesReceived, MessagesReceived, MessageBytesReceived             atomic.Uint64
	Delivered                                                         atomic.Uint64
	PingsSent, PingsReceived, PongsReceived                           atomic.Uint64
	PongTimeouts, IdleTimeouts, WriteStalls, CloseTimeouts            atomic.Uint64
	ProtocolErrors, InvalidUTF8, MessagesTooBig                       atomic.Uint64
	SlowDisconnects, SlowDrops                                        atomic.Uint64
	RateLimited, PublishersHeld                                       atomic.Uint64
	InboxRefused, JoinsRefused, SendsToClosed                         atomic.Uint64
	ClosedByPeer, ClosedByServer, ClosedAbnormally                    atomic.Uint64
	TLSHandshakes, TLSHandshakeErrors, TLSHandshakesQueued, TLSErrors atomic.Uint64
	MessageTimeouts, TurnsYielded                                     atomic.Uint64
	RefusedAddress, RefusedAddressRate, ProxyErrors                   atomic.Uint64
	HandshakesQueued, HandshakesEvicted                               atomic.Uint64
	Adopted, Bridged                                                  atomic.Uint64
	Deflated                                                          atomic.Uint64
	CommandErrors, ConnectsRefused, TokensExpired                     atomic.Uint64
	Panics                                                            atomic.Uint64
}

func (c *Counters) countClose(why Closed) {
	switch {
	case why.Code == frame.CloseAbnormal:
		c.ClosedAbnormally.Add(1)
	case why.ByPeer:
		c.ClosedByPeer.Add(1)
	default:
		c.ClosedByServer.Add(1)
	}
}

// Counters are s's own. Any goroutine.
func (s *Shard) Counters() *Counters { return &s.count }

// Waiting is the number of entries that wait in the inbox, or in jobs that are
// not done. Any goroutine.
func (s *Shard) Waiting() int { return int(max(s.inbox.entries.Load()+s.jobFrames.Load(), 0)) }
