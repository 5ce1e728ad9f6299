package shard

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/intake"
)

// Config is what the shards of one server share. Nothing changes it.
type Config struct {
	MaxConnections    int // of the whole server, for the size of the tables
	HandshakeMaxBytes int
	HandshakeTimeout  time.Duration
	Policy            handshake.Policy
	Addresses         intake.Addresses
	// TLS is what listeners from the index FirstTLS on speak, with at most
	// TLSHandshakes handshakes of one shard under way.
	TLS           *tls.Config
	FirstTLS      int
	TLSHandshakes int
	// HandshakesMax is how many connections of one shard may be in the middle of
	// their request.
	HandshakesMax int
	// AdmitQueueMax is how many newcomers of one shard may wait until it can take them,
	// 0: none ever waits. AdmitRate is the most that it takes in a second, 0: as many as
	// it can.
	AdmitQueueMax int
	AdmitRate     float64
	// Deflate is what we want of permessage-deflate; nil turns it off.
	Deflate         *frame.DeflateConfig
	DeflateDecoder  *frame.DecoderConfig
	Decoder         *frame.DecoderConfig
	MessageMaxBytes int
	MessageRate     int
	PendingMaxBytes int
	SlowDrop        bool
	LagMaxBytes     int
	// Hub is what the hub of these shards needs to know.
	Hub hub.Config
	// Protocols are what connections may speak beside raw messages, at most
	// hub.ProtocolsMax.
	Protocols        []Protocol
	SubscriptionsMax int
	Mailboxes        Mailboxes
	// Named returns the connection of a shard that a protocol knows by a name, 0 for none. It
	// is called on the loop. Nil: there are no names.
	Named             func(s *Shard, name string) netpoll.ID
	InboxMaxEntries   int
	InboxMaxBytes     int
	PublishPauseBytes int
	FanoutSlice       int           // FanoutSlice, but in tests
	FrameSlice        int           // FrameSlice, but in tests
	SliceInterval     time.Duration // SliceInterval, but in tests
	MessageTimeout    time.Duration
	PingInterval      time.Duration
	PongTimeout       time.Duration
	IdleTimeout       time.Duration
	WriteStallTimeout time.Duration
	CloseTimeout      time.Duration
	TickInterval      time.Duration
	Logger            *slog.Logger
	Clock             func() time.Duration // monotonic, since any moment
	// After calls f once, after a time, on another goroutine.
	After func(d time.Duration, f func())
	Seed  uint64
}
