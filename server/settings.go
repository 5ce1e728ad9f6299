package server

import (
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/settings"
)

// Settings describes the fields of Config that are numbers, durations or words.
func Settings() settings.Table { return configSettings }

// NamespaceSettings describes the fields of Namespace in the same way.
func NamespaceSettings() settings.Table { return namespaceSettings }

// shortest is the shortest timeout that the ticks of an event loop can keep.
const shortest = 10 * time.Millisecond

var configSettings = settings.Table{
	{Field: "Engine.Loops", Min: 0, Max: netpoll.MaxLoops, Zero: "one for each processor that Go may use", Unit: "loops",
		Help: "Number of event loops, which share the connections"},
	{Field: "Handshake.Compression", Default: string(CompressionOn), Choices: []string{string(CompressionOn), string(CompressionContext), string(CompressionOff)},
		Help: "Response to offers of permessage-deflate. context compresses better", Cost: "context: up to 64 KiB for each connection"},
	{Field: "Handshake.Origins", Zero: "pages of the same host",
		Help: "Web pages that may connect: https://example.com, https://*.example.com, file:// or null for pages from files, or * for all"},
	{Field: "Handshake.Subprotocols",
		Help: "Subprotocols that the server speaks, in any order"},

	{Field: "Handshake.NoFallback",
		Help: "Serve no event streams (SSE) and long polls: the native protocol is spoken over WebSockets only"},
	{Field: "Handshake.TokenCookie", Zero: "none",
		Help: "Cookie that holds a client's token, for event streams; pages of --origins, which then may not be * or null, may act as a user who is logged in"},

	{Field: "Sockets.ReusePort",
		Help: "Let several server processes listen on the same address"},
	{Field: "Sockets.DeferAccept", Default: time.Second, Off: true,
		Help: "Linux: the kernel hands a connection over when its first bytes are there, at most this long after"},
	{Field: "Sockets.SendBufferBytes", Min: 0, Max: 1 << 30, Zero: "the kernel tunes it", Unit: "bytes",
		Help: "Send buffer in the kernel, for each connection", Cost: "so much kernel memory for each client that does not read"},
	{Field: "Sockets.NoIOURing",
		Help: "Linux: do without io_uring: every write of a fan-out is then a system call of its own"},

	{Field: "Proxies.ProxyProtocol",
		Help: "Balancers that begin each connection with a PROXY header, version 1 or 2: addresses, prefixes (10.0.0.0/8), or unix for connections over a unix socket"},
	{Field: "Proxies.TrustedProxies",
		Help: "HTTP proxies whose word on the client's address is taken, written likewise"},
	{Field: "Proxies.ForwardedHeader", Default: "x-forwarded-for", Choices: []string{"x-forwarded-for", "forwarded"},
		Help: "Header in which trusted proxies pass on the client's address"},

	{Field: "Limits.MaxConnections", Default: 1_000_000, Min: 1, Max: netpoll.MaxSlots - shard.SpareSlots, Unit: "connections",
		Help: "Open connections; more are refused with 503", Cost: "address space"},
	{Field: "Limits.ConnectionsPerAddress", Min: 0, Max: 1 << 30, Zero: "no limit", Unit: "connections",
		Help: "Open connections of one IPv4 address or IPv6 /64; more are refused with 429", Cost: "a limit: 20 bytes for each connection, 100 for each address"},
	{Field: "Limits.ConnectRatePerAddress", Min: 0, Max: 1_000_000, Zero: "no limit", Unit: "connections a second",
		Help: "New connections a second of one IPv4 address or IPv6 /64; more are refused with 429", Cost: "a limit: 20 bytes for each connection, 100 for each address of the last second"},
	{Field: "Limits.HandshakesMax", Default: 16_384, Min: 1, Max: 1 << 30, Unit: "connections",
		Help: "Connections that have sent part of a request; more are queued", Cost: "up to HandshakeMaxBytes for each"},
	{Field: "Limits.AdmitQueueMax", Default: 64 << 10, Min: 1, Max: 1 << 24, Off: true, Unit: "connections",
		Help: "Newcomers that wait, unread, in the order in which they came, while more come than the loops can take; more are told when to come back", Cost: "a socket for each"},
	{Field: "Limits.AdmitRate", Min: 0, Max: 1_000_000, Zero: "as many as the loops can take", Unit: "connections a second",
		Help: "Newcomers that come in; more wait"},
	{Field: "Limits.TLSHandshakesMax", Default: 256, Min: 1, Max: 1 << 20, Unit: "handshakes",
		Help: "TLS handshakes under way; more are queued", Cost: "a goroutine and some 20 KiB for each"},
	{Field: "Limits.HandshakeMaxBytes", Default: 16 << 10, Min: 256, Max: 1 << 20, Unit: "bytes",
		Help: "Size of a request's head; a larger one is refused with 431", Cost: "memory that slow senders can hold for HandshakeTimeout"},
	{Field: "Limits.AuthorizeMaxPending", Default: 1024, Min: 1, Max: 1 << 20, Unit: "requests",
		Help: "Plain HTTP requests and authorizations under way; more are refused with 503", Cost: "a goroutine for each that blocks"},
	{Field: "Limits.MessageMaxBytes", Default: 64 << 10, Min: 1, Max: 1 << 30, Unit: "bytes",
		Help: "Size of a message from a client; a larger one is refused with 1009", Cost: "memory that an incomplete message can hold"},
	{Field: "Limits.MessageMaxFragments", Default: 1024, Min: 1, Max: 1 << 30, Unit: "frames",
		Help: "Frames of a message from a client"},
	{Field: "Limits.MessageRate", Min: 0, Max: 1<<16 - 1, Zero: "no limit", Unit: "messages a second", // shard counts in 16 bits
		Help: "Messages, pings and pongs a second from one client; a faster client is read more slowly"},
	{Field: "Limits.PendingMaxBytes", Default: 64 << 10, Min: 1 << 10, Max: 1 << 30, Unit: "bytes",
		Help: "Output that waits for one client alone, replies above all, while its socket is full; a client with half of it waiting is not read", Cost: "so much for each client that does not read"},
	{Field: "Limits.LagMaxBytes", Default: 4 << 20, Min: 1 << 10, Max: 1 << 40, Unit: "bytes",
		Help: "Published messages that each loop keeps for all clients that lag; a client that lags by more is a slow consumer", Cost: "so much for each loop, while any client lags"},
	{Field: "Limits.SlowConsumer", Default: string(SlowDisconnect), Choices: []string{string(SlowDisconnect), string(SlowDrop)},
		Help: "What happens to a client with more than PendingMaxBytes or LagMaxBytes waiting, in channels without history"},
	{Field: "Limits.HistoryMaxBytes", Default: 256 << 20, Min: 1 << 16, Max: 1 << 40, Unit: "bytes",
		Help: "Messages kept for all channels with history together; beyond it channels keep fewer", Cost: "memory"},
	{Field: "Limits.IdempotencyAge", Default: 5 * time.Minute, Min: time.Second,
		Help: "How long the idempotency key of a publication is remembered, up to the last 100,000 of them"},
	{Field: "Limits.DataMaxDepth", Default: 64, Min: 1, Max: 1 << 10, Unit: "levels",
		Help: "How deep the JSON of a message may be nested that clients of a protocol get or send"},
	{Field: "Limits.SubscriptionsMax", Default: 128, Min: 1, Max: 1 << 20, Unit: "channels",
		Help: "Channels of one connection", Cost: "20 bytes for each"},
	{Field: "Limits.ChannelNameMaxBytes", Default: 255, Min: 1, Max: 1 << 12, Unit: "bytes",
		Help: "Size of a channel's name and of a user's"},
	{Field: "Limits.InboxMaxEntries", Default: 64 << 10, Min: 16, Max: 1 << 28, Unit: "entries",
		Help: "Messages that wait for one event loop; more are refused as busy", Cost: "some 100 bytes for each, and latency"},
	{Field: "Limits.InboxMaxBytes", Default: 64 << 20, Min: 1 << 16, Max: 1 << 40, Unit: "bytes",
		Help: "Their size; more is refused as busy", Cost: "so much for each loop, and latency"},

	{Field: "Timeouts.HandshakeTimeout", Default: 10 * time.Second, Min: shortest,
		Help: "From accept to the response of the upgrade"},
	{Field: "Timeouts.MessageTimeout", Default: time.Minute, Min: shortest, Off: true,
		Help: "From the first byte of a message to its last; a slower sender is closed with 1008"},
	{Field: "Timeouts.PingInterval", Default: 45 * time.Second, Min: shortest, Off: true,
		Help: "Silence of a connection after which it is pinged; balancers drop it after 60s"},
	{Field: "Timeouts.PongTimeout", Default: 20 * time.Second, Min: shortest,
		Help: "Silence after a ping after which the connection is cut"},
	{Field: "Timeouts.IdleTimeout", Min: time.Duration(0), Zero: "never",
		Help: "Time without a message after which a connection is closed with 1001"},
	{Field: "Timeouts.WriteStallTimeout", Default: 30 * time.Second, Min: shortest,
		Help: "Time in which a client takes no byte of waiting output, after which it is cut"},
	{Field: "Timeouts.CloseTimeout", Default: 5 * time.Second, Min: shortest,
		Help: "Wait for the client's part of the closing handshake; while the server stops, a second at most"},
	{Field: "Timeouts.DrainDelay", Min: time.Duration(0), Zero: "none",
		Help: "How long a server that is to stop serves on with /readyz 503, until balancers send no more clients"},
	{Field: "Timeouts.DrainOver", Min: time.Duration(0), Zero: "all at once",
		Help: "Over how long it then closes its clients, at an even pace; each is told when to come back"},
}

var namespaceSettings = settings.Table{
	{Field: "HistoryMessages", Min: 0, Max: 1 << 20, Zero: "no history", Unit: "messages",
		Help: "Messages of a channel that are kept, for clients that come back or lag", Cost: "their size and 256 bytes for each"},
	{Field: "HistoryAge", Default: 5 * time.Minute, Min: time.Second, Max: 365 * 24 * time.Hour,
		Help: "How long they are kept"},
	{Field: "SlowConsumer", Default: string(SlowDisconnect), Choices: []string{string(SlowDisconnect), string(SlowSkip), string(SlowLatest)},
		Help: "What happens to a client that lags by more than the history. skip and latest need a history"},
	{Field: "Subscribe", Default: string(protocol.AccessAnyone), Choices: accessNames,
		Help: "Who may subscribe"},
	{Field: "Publish", Default: string(protocol.AccessNobody), Choices: accessNames,
		Help: "Who may publish, besides the application"},
	{Field: "Outage", Default: string(OutageRefuse), Choices: []string{string(OutageRefuse), string(OutageLocal)},
		Help: "What happens to publications while the broker is away. local, for channels without history, delivers them to this server's own clients"},
	{Field: "JoinLeaveMax", Default: 1000, Min: 1, Max: 1 << 20, Unit: "subscribers",
		Help: "Subscribers of a channel, in one loop, up to which join and leave are told"},
}

var accessNames = []string{string(protocol.AccessAnyone), string(protocol.AccessUsers), string(protocol.AccessGranted), string(protocol.AccessNobody)}
