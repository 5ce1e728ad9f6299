package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Config is everything that a Server can be told. It is copied by New and does
// not change afterwards. The zero value of each field means its default; what
// is said of cost is per connection unless it says otherwise.
type Config struct {
	// Listen are the addresses that clients connect to: "host:port" (an empty
	// host is every address, IPv4 and IPv6), "unix:PATH", or "fd:N" for a
	// listening socket that the process inherited and gives away. If empty, the
	// server has no listener of its own.
	Listen []string
	// ListenTLS are more addresses, where TLS is spoken (wss://). They need TLS.
	ListenTLS []string
	// TLS configures ListenTLS: certificates (GetCertificate for those that
	// change), client certificates, versions. If MinVersion is zero, TLS 1.2. An
	// idle TLS connection costs some 6 KiB, and no goroutine.
	TLS *tls.Config
	// TLSHandshakesMax bounds the TLS handshakes under way, a goroutine each;
	// newcomers beyond it wait for their turn, unread, within HandshakeTimeout.
	// If zero, 256.
	TLSHandshakesMax int
	// ProxyProtocol are the balancers that begin each connection with a PROXY
	// header, version 1 or 2, before TLS and HTTP: addresses, prefixes
	// ("10.0.0.0/8"), and "unix" for whoever connects over a unix socket. A
	// connection of theirs without the header is closed; nobody else may send
	// one. Costs 20 bytes.
	ProxyProtocol []string
	// TrustedProxies are the HTTP proxies, written likewise, that are believed
	// about the address of the client whose request they pass on. Costs 20
	// bytes.
	TrustedProxies []string
	// ForwardedHeader is where they tell it: "x-forwarded-for" or "forwarded"
	// (RFC 7239). Only this one is read, for they pass the other on as a client
	// wrote it. If empty, x-forwarded-for.
	ForwardedHeader string
	// Engine is the kind of event loop. If empty, netpoll.DefaultKind.
	Engine netpoll.Kind
	// Loops is the number of event loops, each a goroutine locked to its
	// thread. If zero, GOMAXPROCS.
	Loops int
	// ReusePort lets several server processes listen on the same TCP address.
	// If false, an address in use is an error.
	ReusePort bool
	// DeferAccept, on Linux, lets the kernel keep a new connection until its
	// first bytes arrive, at most for this long (whole seconds): less CPU per
	// connection, and silent connects never cost us anything. If zero, 1 s;
	// negative turns it off.
	DeferAccept time.Duration
	// SendBufferBytes is SO_SNDBUF. If zero, the kernel tunes it. A fixed 32 to
	// 64 KiB bounds what a client that does not read can occupy in the kernel.
	SendBufferBytes int

	// NoIOURing, on Linux, makes fan-outs one system call a write even where
	// io_uring would make hundreds at once.
	NoIOURing bool

	// MaxConnections bounds the open connections. A newcomer beyond it is
	// answered 503 with Retry-After. If zero, 1,000,000. Tables are reserved
	// for this many (address space only: memory is taken as connections come).
	MaxConnections int
	// ConnectionsPerAddress bounds the open connections of one IPv4 address or
	// one IPv6 /64, the client's own behind trusted proxies. One more is answered
	// 429 with Retry-After, or just closed where TLS is spoken and in a flood.
	// If zero, only MaxConnections bounds them. A limit costs 20 bytes, and some
	// 100 for each address.
	ConnectionsPerAddress int
	// ConnectRatePerAddress bounds the connections a second of one IPv4 address or
	// one IPv6 /64 (token bucket, burst of one second), counted like those of
	// ConnectionsPerAddress. One more is answered 429 with a Retry-After that
	// spreads those who were refused over the time that they need, or just closed
	// where TLS is spoken and in a flood. If zero, there is no bound. A bound costs
	// 20 bytes, and some 100 for each address of the last second.
	ConnectRatePerAddress int
	// HandshakesMax bounds the connections in the middle of their request: it came
	// in pieces and is not whole yet. Further ones wait for their turn, unread,
	// within HandshakeTimeout, and are then answered 503 with Retry-After; a request
	// in one piece never waits. While somebody waits, here or for a TLS handshake,
	// or MaxConnections is reached, a connection that owes its next bytes for an
	// eighth of HandshakeTimeout is ended to make room. If zero, 16,384. Each may
	// hold HandshakeMaxBytes.
	HandshakesMax int
	// HandshakeMaxBytes bounds the HTTP request head. If zero, 8 KiB. A slow
	// sender can make us hold that much for HandshakeTimeout.
	HandshakeMaxBytes int
	// HandshakeTimeout bounds the time from accept to the upgrade's answer,
	// Authorize included. If zero, 10 s.
	HandshakeTimeout time.Duration
	// AuthorizeMaxPending bounds how many Authorize calls and plain HTTP
	// requests, one goroutine each, may be under way. Beyond it newcomers are
	// answered 503. If zero, 1,024.
	AuthorizeMaxPending int
	// Subprotocols are those that the server speaks. The client's first choice
	// among them is taken; a client that offers none of them is accepted
	// without one.
	Subprotocols []string
	// Origins tells which web pages may connect. If empty, pages of the same
	// host; "*" allows all; otherwise exact origins ("https://example.com")
	// or "https://*.example.com". Requests without an Origin header do not come
	// from a browser and are allowed.
	Origins []string

	// Compression tells how permessage-deflate (RFC 7692) is answered. If empty,
	// CompressionOn, which costs an idle connection nothing.
	Compression Compression
	// MessageMaxBytes bounds a message, all its fragments together; a larger one
	// is refused with 1009 when its header is seen. If zero, 64 KiB. An
	// incomplete message is held in memory up to this size.
	MessageMaxBytes int
	// MessageMaxFragments bounds the frames of a message. If zero, 1,024.
	MessageMaxFragments int
	// MessageTimeout bounds the time that a message takes from its first byte to
	// its last: a slower sender is closed with 1008. If zero, 60 s; negative turns
	// it off.
	MessageTimeout time.Duration
	// MessageRate bounds the messages a second that are taken from a client
	// (token bucket, burst of one second). A faster client is not read until
	// its tokens are back, so that it feels TCP's back-pressure. If zero, only
	// the loop's own fairness bounds it: one read buffer a turn.
	MessageRate int
	// PendingMaxBytes bounds what waits for one client alone, replies and
	// Conn.Send, while its socket is full. A client with half of it waiting is
	// not read; one with all of it waiting is a slow consumer. If zero, 64 KiB.
	// One message may exceed it. For what is published see LagMaxBytes.
	PendingMaxBytes int
	// LagMaxBytes bounds what each loop keeps of what was published, once for
	// all clients that lag behind, and only while one does: a client whose
	// socket is full reads on from there when it has room, and costs some 250
	// bytes meanwhile. One that lags by more is a slow consumer. If zero, 4 MiB.
	LagMaxBytes int
	// SlowConsumer tells what happens to a client that lags by more than
	// LagMaxBytes, or has PendingMaxBytes of its own waiting when another message
	// comes. If empty, SlowDisconnect.
	SlowConsumer SlowPolicy
	// Namespaces are the settings of channels by the part of their names before the
	// colon. A connection whose socket is full when a message of a channel with
	// history comes reads on from there when it has room; what happens if that
	// has moved on is Namespace.SlowConsumer. LagMaxBytes, once for all channels,
	// is what may be kept beyond their settings for as long as somebody lags.
	Namespaces []Namespace
	// HistoryMaxBytes bounds the histories of all channels together; beyond it a channel
	// keeps fewer messages than its settings say, which is counted. If zero, 256
	// MiB. A message is counted with its frame and 256 bytes.
	HistoryMaxBytes int
	// IdempotencyAge is how long a Publication.IdempotencyKey is remembered, the last
	// 100,000 of them. If zero, 5 minutes.
	IdempotencyAge time.Duration
	// Application lets clients speak one of Protocols: it decides who they are and
	// what they may do, and answers their calls. If nil, all clients speak raw
	// messages.
	Application *protocol.Application
	// Events is told what happens, for presence, audit, or web hooks. It is called on
	// event loops, must not block, and must not publish or subscribe; the Event may
	// not be kept. If nil, nothing is told, and nothing is spent on it.
	Events func(*Event)
	// SubscriptionsMax bounds the channels that a connection may be in.
	// If zero, 128. A subscription costs 20 bytes.
	SubscriptionsMax int
	// ChannelNameMaxBytes bounds channel names and user IDs. If zero, 255.
	ChannelNameMaxBytes int
	// InboxMaxEntries and InboxMaxBytes bound what may wait for one loop:
	// publishes, sends, joins. Beyond either, calls answer ErrBusy.
	// If zero, 65,536 entries and 64 MiB.
	InboxMaxEntries int
	InboxMaxBytes   int

	// PingInterval is how long a connection may be silent before it is pinged.
	// If zero, 45 s, below the 60 s after which common balancers drop a
	// connection. Negative turns pings off.
	PingInterval time.Duration
	// PongTimeout is how long after a ping something must have arrived. If
	// zero, 20 s.
	PongTimeout time.Duration
	// IdleTimeout closes a connection (1001) that has sent no message for
	// that long; pongs do not count. If zero, off.
	IdleTimeout time.Duration
	// WriteStallTimeout aborts a connection that has taken no byte of waiting
	// output for that long. If zero, 30 s.
	WriteStallTimeout time.Duration
	// CloseTimeout bounds the wait for the peer's part of the closing
	// handshake. If zero, 5 s.
	CloseTimeout time.Duration

	// Handler is the application. Its zero value accepts every upgrade and
	// ignores every message.
	Handler Handler
	// HTTP answers plain HTTP requests (no upgrade) that reach the public port,
	// each on a goroutine of its own, one request per connection. If nil, they
	// are answered 426.
	HTTP http.Handler
	// Logger gets one line per connection at most, at its end (Debug), and what
	// concerns the process (Info and above). If nil, silent.
	Logger *slog.Logger
}

// Compression names a way of answering offers of permessage-deflate.
type Compression string

const (
	// CompressionOn compresses each message on its own, in both directions:
	// messages of 256 bytes and more, a published one once for all.
	CompressionOn Compression = "on"
	// CompressionContext lets both sides refer to earlier messages, if the
	// client agrees: better ratios for up to 64 KiB of memory per connection.
	CompressionContext Compression = "context"
	// CompressionOff declines all offers.
	CompressionOff Compression = "off"
)

// SlowPolicy names what happens to a slow consumer.
type SlowPolicy string

const (
	// SlowDisconnect closes it with 1013 ("try again later") behind the frame
	// that is on its way. Counted in Stats.SlowDisconnects.
	SlowDisconnect SlowPolicy = "disconnect"
	// SlowDrop leaves out messages until there is room, for streams where only
	// what is current matters. Counted in Stats.SlowDrops; the connection's
	// CloseEvent tells how many it missed.
	SlowDrop SlowPolicy = "drop"
)

// Defaults of Config.
const (
	DefaultMaxConnections      = 1_000_000
	DefaultDeferAccept         = time.Second
	DefaultHandshakeMaxBytes   = 8 << 10
	DefaultHandshakeTimeout    = 10 * time.Second
	DefaultTLSHandshakesMax    = 256
	DefaultHandshakesMax       = 16_384
	DefaultAuthorizeMaxPending = 1024
	DefaultMessageMaxBytes     = 64 << 10
	DefaultMessageMaxFragments = 1024
	DefaultMessageTimeout      = time.Minute
	DefaultPendingMaxBytes     = 64 << 10
	DefaultLagMaxBytes         = 4 << 20
	DefaultHistoryMaxBytes     = 256 << 20
	DefaultIdempotencyAge      = 5 * time.Minute
	DefaultSubscriptionsMax    = 128
	DefaultChannelNameMaxBytes = 255
	DefaultInboxMaxEntries     = 64 << 10
	DefaultInboxMaxBytes       = 64 << 20
	DefaultPingInterval        = 45 * time.Second
	DefaultPongTimeout         = 20 * time.Second
	DefaultWriteStallTimeout   = 30 * time.Second
	DefaultCloseTimeout        = 5 * time.Second
)

// withDefaults answers c with every zero field replaced.
func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Engine == "" {
		c.Engine = netpoll.DefaultKind
	}
	orInt(&c.MaxConnections, DefaultMaxConnections)
	orInt(&c.HandshakeMaxBytes, DefaultHandshakeMaxBytes)
	orInt(&c.AuthorizeMaxPending, DefaultAuthorizeMaxPending)
	orInt(&c.MessageMaxBytes, DefaultMessageMaxBytes)
	orInt(&c.MessageMaxFragments, DefaultMessageMaxFragments)
	orInt(&c.PendingMaxBytes, DefaultPendingMaxBytes)
	orInt(&c.LagMaxBytes, DefaultLagMaxBytes)
	orInt(&c.HistoryMaxBytes, DefaultHistoryMaxBytes)
	orDuration(&c.IdempotencyAge, DefaultIdempotencyAge)
	c.Namespaces = slices.Clone(c.Namespaces)
	for i := range c.Namespaces {
		c.Namespaces[i] = c.Namespaces[i].withDefaults()
	}
	orInt(&c.SubscriptionsMax, DefaultSubscriptionsMax)
	orInt(&c.ChannelNameMaxBytes, DefaultChannelNameMaxBytes)
	orInt(&c.InboxMaxEntries, DefaultInboxMaxEntries)
	orInt(&c.InboxMaxBytes, DefaultInboxMaxBytes)
	orDuration(&c.DeferAccept, DefaultDeferAccept)
	orDuration(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	orDuration(&c.MessageTimeout, DefaultMessageTimeout)
	orDuration(&c.PingInterval, DefaultPingInterval)
	orDuration(&c.PongTimeout, DefaultPongTimeout)
	orDuration(&c.WriteStallTimeout, DefaultWriteStallTimeout)
	orDuration(&c.CloseTimeout, DefaultCloseTimeout)
	orInt(&c.TLSHandshakesMax, DefaultTLSHandshakesMax)
	orInt(&c.HandshakesMax, DefaultHandshakesMax)
	if c.Compression == "" {
		c.Compression = CompressionOn
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS12)
		if len(c.TLS.NextProtos) == 0 {
			// RFC 7301: a client that offers only others, such as h2, is refused.
			c.TLS.NextProtos = []string{"http/1.1"}
		}
	}
	if c.ForwardedHeader == "" {
		c.ForwardedHeader = "x-forwarded-for"
	}
	if c.SlowConsumer == "" {
		c.SlowConsumer = SlowDisconnect
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports every contradiction of a Config with defaults, each with
// the name of its field.
func (c Config) validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("server: Config.%s is %v: want %s", field, value, want))
	}
	inRange := func(field string, v, low, high int) {
		if v < low || v > high {
			bad(field, v, fmt.Sprintf("%d to %d", low, high))
		}
	}
	atLeast := func(field string, v, low time.Duration) {
		if v < low {
			bad(field, v, fmt.Sprintf("at least %v", low))
		}
	}
	known := false
	for _, k := range netpoll.Kinds() {
		known = known || k == c.Engine
	}
	if !known {
		bad("Engine", fmt.Sprintf("%q", c.Engine), fmt.Sprintf("one of %v", netpoll.Kinds()))
	}
	inRange("Loops", c.Loops, 0, netpoll.MaxLoops)
	inRange("MaxConnections", c.MaxConnections, 1, netpoll.MaxSlots-shard.SpareSlots)
	inRange("ConnectionsPerAddress", c.ConnectionsPerAddress, 0, 1<<30)
	inRange("ConnectRatePerAddress", c.ConnectRatePerAddress, 0, 1_000_000)
	inRange("HandshakesMax", c.HandshakesMax, 1, 1<<30)
	inRange("SendBufferBytes", c.SendBufferBytes, 0, 1<<30)
	inRange("HandshakeMaxBytes", c.HandshakeMaxBytes, 256, 1<<20)
	inRange("AuthorizeMaxPending", c.AuthorizeMaxPending, 1, 1<<20)
	inRange("MessageMaxBytes", c.MessageMaxBytes, 1, 1<<30)
	inRange("MessageMaxFragments", c.MessageMaxFragments, 1, 1<<30)
	inRange("MessageRate", c.MessageRate, 0, 1<<16-1) // Shard.spent counts in 16 bits
	inRange("PendingMaxBytes", c.PendingMaxBytes, 1<<10, 1<<30)
	inRange("LagMaxBytes", c.LagMaxBytes, 1<<10, 1<<40)
	inRange("HistoryMaxBytes", c.HistoryMaxBytes, 1<<16, 1<<40)
	atLeast("IdempotencyAge", c.IdempotencyAge, time.Second)
	names := map[string]bool{}
	for _, ns := range c.Namespaces {
		errs = append(errs, ns.validate())
		if names[ns.Name] {
			bad("Namespaces", fmt.Sprintf("%q twice", ns.Name), "each name once")
		}
		names[ns.Name] = true
	}
	inRange("SubscriptionsMax", c.SubscriptionsMax, 1, 1<<20)
	inRange("ChannelNameMaxBytes", c.ChannelNameMaxBytes, 1, 1<<12)
	inRange("InboxMaxEntries", c.InboxMaxEntries, 16, 1<<28)
	inRange("InboxMaxBytes", c.InboxMaxBytes, 1<<16, 1<<40)
	atLeast("HandshakeTimeout", c.HandshakeTimeout, 10*time.Millisecond)
	if c.MessageTimeout > 0 {
		atLeast("MessageTimeout", c.MessageTimeout, 10*time.Millisecond)
	}
	if c.PingInterval > 0 {
		atLeast("PingInterval", c.PingInterval, 10*time.Millisecond)
	}
	atLeast("PongTimeout", c.PongTimeout, 10*time.Millisecond)
	atLeast("IdleTimeout", c.IdleTimeout, 0)
	atLeast("WriteStallTimeout", c.WriteStallTimeout, 10*time.Millisecond)
	atLeast("CloseTimeout", c.CloseTimeout, 10*time.Millisecond)
	if c.SlowConsumer != SlowDisconnect && c.SlowConsumer != SlowDrop {
		bad("SlowConsumer", fmt.Sprintf("%q", c.SlowConsumer), `"disconnect" or "drop"`)
	}
	inRange("TLSHandshakesMax", c.TLSHandshakesMax, 1, 1<<20)
	if len(c.ListenTLS) > 0 && (c.TLS == nil || len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil) {
		bad("TLS", "without a certificate", "Certificates or GetCertificate, because ListenTLS is set")
	}
	switch c.Compression {
	case CompressionOn, CompressionContext, CompressionOff:
	default:
		bad("Compression", fmt.Sprintf("%q", c.Compression), `"on", "context" or "off"`)
	}
	for _, p := range c.Subprotocols {
		if p == "" || strings.ContainsAny(p, " \t\r\n,;\"") {
			bad("Subprotocols", fmt.Sprintf("%q", p), "HTTP tokens (RFC 6455, section 4.1)")
		}
	}
	return errors.Join(errs...)
}
