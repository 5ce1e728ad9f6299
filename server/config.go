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
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
	"github.com/roostws/roost/server/settings"
)

// Config is what a Server runs with. New copies it; later changes have no effect.
// The zero value of each field means its default. Costs are per connection
// unless a field says otherwise.
type Config struct {
	// Listen are the addresses that clients connect to: "host:port" (an empty
	// host is every address, IPv4 and IPv6), "unix:PATH", or "fd:N" for an
	// inherited listening socket, which the server takes over. If empty, the
	// server has no listener of its own.
	Listen []string
	// ListenTLS are more addresses, where TLS is spoken (wss://). They need TLS.
	ListenTLS []string
	// TLS configures ListenTLS: certificates (GetCertificate for those that
	// change), client certificates, versions. If MinVersion is zero, TLS 1.2. An
	// idle TLS connection costs some 6 KiB, and no goroutine.
	TLS *tls.Config
	// Engine is what runs the event loops, and how many there are.
	Engine Engine
	// Sockets are options of listeners and connections.
	Sockets Sockets
	// Limits bound what clients and publishers can make the server hold.
	Limits Limits
	// Timeouts are the deadlines of connections.
	Timeouts Timeouts
	// Proxies are the balancers and proxies in front of the server.
	Proxies Proxies
	// Handshake is what the server agrees to when a client asks for a WebSocket.
	Handshake Handshake
	// Namespaces are the settings of channels by the part of their names before the
	// colon. A connection whose socket is full when a message of a channel with
	// history comes reads on from the history when it has room; what happens if the
	// history has moved on is Namespace.SlowConsumer. Limits.LagMaxBytes, once for
	// all channels, is what may be kept beyond their settings while a client lags.
	Namespaces []Namespace
	// Application lets clients speak a protocol: it decides who they are and what
	// they may do, and carries out their calls. If nil, all clients send and get raw
	// messages.
	Application *protocol.Application
	// Broker connects this server with others: it orders what is published on any of them
	// and keeps the histories (package server/broker). The server starts and closes it. If
	// nil, the server is alone. What reaches over all servers: publications to channels,
	// users and all, with history, resume and receipts; presence, joins and leaves;
	// Connections, Channels, Disconnect, Subscribe and Unsubscribe. Events are about this
	// server's connections.
	Broker broker.Broker
	// NodeName is this server's name in lists of those on one broker, for people; it need
	// not be unique. If empty, its ID is shown. NodeVersion is the program's there.
	NodeName, NodeVersion string
	// Events is called with what happens, for presence, audit, or web hooks, on
	// event loops: it must not block, publish, subscribe, or keep the Event. If nil,
	// events cost nothing.
	Events func(*protocol.Event)

	// Stats return the counters of further parts of the program, such as those of
	// packages token and webhook, for Server.Stats and what is made of it. They may be
	// called on any goroutine, and return the same counters each time, under names that
	// no other has.
	Stats []func() Stats

	// Handler is the application. Its zero value accepts every upgrade and
	// ignores every message.
	Handler Handler
	// HTTP serves plain HTTP requests (no upgrade) that reach the public port,
	// each on a goroutine of its own, with the whole body read; its response is
	// gathered before it is sent. The connection stays for the client's next
	// request, a minute long, unless the client or the response says
	// "Connection: close". If nil, plain requests are refused with 426.
	HTTP http.Handler
	// Logger gets one line per connection at most, at its end (Debug), what
	// concerns the process (Info and above), and refusals that a wrong setting may
	// have caused: a line a minute and kind (Warn), with their number and the flag
	// to change. If nil, silent.
	Logger *slog.Logger
}

// Engine is what runs the event loops.
type Engine struct {
	// Driver is the kind of event loop. If nil, epoll.Driver on Linux and gnet.Driver
	// elsewhere; a program links only the engines whose packages it imports.
	Driver netpoll.Driver
	// Loops is the number of event loops. If zero, GOMAXPROCS.
	Loops int
	// KeepGOMAXPROCS leaves GOMAXPROCS as it is. By default Start raises it by
	// Loops until the server ends, so that a loop can keep its P during short waits
	// while other goroutines have as many as before; with as many loops as Ps and
	// this set, a message costs up to half as much CPU again.
	KeepGOMAXPROCS bool
}

// Sockets are options of listeners and connections.
type Sockets struct {
	// ReusePort lets several server processes listen on the same TCP address.
	// If false, an address in use is an error.
	ReusePort bool
	// DeferAccept, on Linux, lets the kernel keep a new connection until its
	// first bytes arrive, at most for this long (whole seconds): less CPU per
	// connection, and silent connections cost the server nothing. If zero, 1 s; if
	// negative, off.
	DeferAccept time.Duration
	// SendBufferBytes is SO_SNDBUF. If zero, the kernel tunes it. A fixed 32 to
	// 64 KiB bounds what a client that does not read can occupy in the kernel.
	SendBufferBytes int
	// NoIOURing disables io_uring (Linux): every write of a fan-out is then a
	// system call of its own. By default one io_uring call makes up to 512 of them.
	NoIOURing bool
}

// Proxies are the balancers and proxies in front of the server.
type Proxies struct {
	// ProxyProtocol are the balancers that begin each connection with a PROXY
	// header, version 1 or 2, before TLS and HTTP: addresses, prefixes
	// ("10.0.0.0/8"), and "unix" for connections over a unix socket. A connection
	// from one of them without the header is closed; no other peer may send one.
	// Costs 20 bytes.
	ProxyProtocol []string
	// TrustedProxies are the HTTP proxies, written likewise, whose word on the
	// client's address is taken. Costs 20 bytes.
	TrustedProxies []string
	// ForwardedHeader is the header in which they pass it on: "x-forwarded-for" or
	// "forwarded" (RFC 7239). Only this one is read, because proxies leave the
	// other as a client wrote it. If empty, x-forwarded-for.
	ForwardedHeader string
}

// Handshake is what the server agrees to when a client asks for a WebSocket.
type Handshake struct {
	// Origins are the web pages that may connect. If empty, pages of the same
	// host; "*" allows all; otherwise exact origins ("https://example.com") or
	// "https://*.example.com"; "file://" and "null" are pages from files. Requests
	// without an Origin header, or with one that is no origin, do not come from a
	// browser and are allowed.
	Origins []string
	// Subprotocols are those that the server speaks, besides the protocols of
	// Config.Application. The client's first choice among them is taken; a client
	// that offers none of them is accepted without one.
	Subprotocols []string
	// Compression is the response to offers of permessage-deflate (RFC 7692). If
	// empty, CompressionOn, which costs an idle connection nothing.
	Compression Compression
	// NoFallback turns event streams and long polls off, over which clients whose network lets no
	// WebSocket through get the native protocol (docs/fallbacks.md).
	NoFallback bool
	// TokenCookie is the name of a cookie that holds a client's token, for requests
	// of the fallbacks without another one. If empty, cookies are not looked at. With
	// it, pages of all Origins may act as a user who is logged in: "*" and "null" are
	// refused there.
	TokenCookie string
}

// Compression names a response to offers of permessage-deflate.
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

// withDefaults returns c with every zero field replaced.
func (c Config) withDefaults() Config {
	configSettings.Fill(&c)
	if c.Engine.Driver == nil {
		c.Engine.Driver = defaultEngine
	}
	c.Proxies.ForwardedHeader = strings.ToLower(c.Proxies.ForwardedHeader) // header names have no case
	c.Namespaces = slices.Clone(c.Namespaces)
	for i := range c.Namespaces {
		c.Namespaces[i] = c.Namespaces[i].withDefaults()
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS12)
		if len(c.TLS.NextProtos) == 0 {
			// RFC 7301: a client that offers only others, such as h2, is refused.
			c.TLS.NextProtos = []string{"http/1.1"}
		}
	}
	if c.Application != nil {
		a := *c.Application
		if len(a.Protocols) == 0 {
			a.Protocols = []protocol.Codec{native.Codec{}}
		}
		c.Application = &a
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// protocols are what clients may speak besides raw messages.
func (c *Config) protocols() []protocol.Codec {
	if c.Application == nil {
		return nil
	}
	return c.Application.Protocols
}

// configName is Config in errors, namespaceName is Namespace.
const (
	configName    = "server: Config"
	namespaceName = "server: Config.Namespaces"
)

// validate returns a *settings.FieldError for each contradiction of a Config
// with defaults.
func (c Config) validate() error {
	errs := configSettings.Check(configName, &c)
	bad := func(field string, value any, want string) {
		errs = append(errs, &settings.FieldError{Config: configName, Field: field, Value: value, Want: want})
	}
	names := map[string]bool{}
	for _, ns := range c.Namespaces {
		errs = append(errs, ns.validate()...)
		if names[ns.Name] {
			errs = append(errs, ns.fieldError("Name", ns.Name, "each name once"))
		}
		names[ns.Name] = true
	}
	kept := 0
	for _, codec := range c.protocols() {
		if k, ok := codec.(protocol.Keeper); ok {
			if k.Mailboxes().Max > 0 {
				kept++
			}
			if c.Timeouts.PingInterval < 0 {
				bad("Timeouts.PingInterval", c.Timeouts.PingInterval, fmt.Sprintf("a time, because the clients on %s hang up if no pings come", k.Path()))
			}
			if n := c.Limits.MaxConnections + shard.SpareSlots + k.Mailboxes().Max; n > netpoll.MaxSlots {
				bad("Limits.MaxConnections", c.Limits.MaxConnections, fmt.Sprintf("at most %d beside so many clients that poll", c.Limits.MaxConnections-n+netpoll.MaxSlots))
			}
		}
	}
	if kept > 1 {
		bad("Application.Protocols", fmt.Sprintf("%d for clients that poll", kept), "at most one")
	}
	if n := len(c.protocols()); n > hub.ProtocolsMax {
		bad("Application.Protocols", n, fmt.Sprintf("at most %d", hub.ProtocolsMax))
	}
	if len(c.ListenTLS) > 0 && (c.TLS == nil || len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil) {
		bad("TLS", "without a certificate", "Certificates or GetCertificate, because ListenTLS is set")
	}
	for _, origin := range c.Handshake.Origins {
		if c.Handshake.TokenCookie != "" && (origin == "*" || origin == "null") {
			bad("Handshake.Origins", origin, "the origin of each page that may act as a user who is logged in, because a cookie may hold the token: any page can have this one")
		}
	}
	for _, p := range c.Handshake.Subprotocols {
		if p == "" || strings.ContainsAny(p, " \t\r\n,;\"") {
			bad("Handshake.Subprotocols", p, "HTTP tokens (RFC 6455, section 4.1)")
		}
	}
	return errors.Join(errs...)
}
