package server

import "time"

// Limits bound what clients and publishers can make the server hold. Reaching
// any of them is counted in Stats. Zero means the default; costs are per
// connection unless a field says otherwise.
type Limits struct {
	// MaxConnections limits the open connections. Beyond it a request is refused
	// with 503 and Retry-After. If zero, 1,000,000. Tables are reserved for this
	// many (address space only: memory is used as connections come).
	MaxConnections int
	// ConnectionsPerAddress limits the open connections of one IPv4 address or one
	// IPv6 /64; behind trusted proxies, of the client's own address. Beyond it a
	// request is refused with 429 and Retry-After, or the connection is just
	// closed where TLS is spoken and in a flood. If zero, only MaxConnections
	// applies. A limit costs 20 bytes, and some 100 for each address.
	ConnectionsPerAddress int
	// ConnectRatePerAddress limits the new connections a second of one IPv4 address
	// or one IPv6 /64 (token bucket, burst of one second), counted like those of
	// ConnectionsPerAddress. Beyond it a request is refused with 429 and a
	// Retry-After that spreads the refused clients over the time that they need, or
	// the connection is just closed where TLS is spoken and in a flood. If zero,
	// there is no limit. A limit costs 20 bytes, and some 100 for each address of
	// the last second.
	ConnectRatePerAddress int
	// HandshakesMax limits the connections that have sent part of a request.
	// Further ones are queued without being read for up to HandshakeTimeout, then
	// refused with 503 and Retry-After. A request that arrives in one read is never
	// queued. While connections are queued, here or for a TLS handshake, or
	// MaxConnections is reached, a connection that has sent nothing for
	// HandshakeTimeout/8 is closed to make room. If zero, 16,384. Each may hold
	// HandshakeMaxBytes: 256 MiB together with both defaults, if all are slow.
	HandshakesMax int
	// AdmitQueueMax limits the newcomers that wait, unread and in the order in which they
	// came, while more come than the loops can take without keeping their other
	// connections waiting: an event loop that is late takes fewer, down to 500 a second.
	// Newcomers beyond it, or beyond what half of HandshakeTimeout has room for, are
	// refused with 503 and a Retry-After: each has a place of its own in the time that
	// all of them need. If zero, 65,536; if negative, newcomers never wait. One that
	// waits costs a socket and 8 bytes.
	AdmitQueueMax int
	// AdmitRate limits the newcomers that come in, a second, for the sake of what they ask
	// of the application. If zero, the loops decide.
	AdmitRate int
	// TLSHandshakesMax limits the TLS handshakes under way, one goroutine each.
	// Further connections are queued without being read for up to HandshakeTimeout.
	// If zero, 256.
	TLSHandshakesMax int
	// HandshakeMaxBytes limits the HTTP request head. If zero, 16 KiB. Long
	// cookies need 9 KiB, and browsers allow 4 KiB a cookie. A slow sender can make the
	// server hold that much for HandshakeTimeout.
	HandshakeMaxBytes int
	// AuthorizeMaxPending limits the Authorize calls, functions of the Application and
	// plain HTTP requests under way, each with a goroutine if it blocks. Beyond it
	// requests are refused with 503. If zero, 1,024.
	AuthorizeMaxPending int
	// MessageMaxBytes limits a message from a client, all its fragments together; a
	// larger one is refused with 1009 when its header is seen. If zero, 64 KiB. An
	// incomplete message is held in memory up to this size.
	MessageMaxBytes int
	// MessageMaxFragments limits the frames of a message from a client. If zero,
	// 1,024.
	MessageMaxFragments int
	// MessageRate limits the messages, pings and pongs a second that are taken from
	// one client (token bucket, burst of one second). A faster client is not read
	// until the next token is there, so that it feels TCP's back-pressure. If zero,
	// only the loop's own fairness limits it: 256 of them a turn.
	MessageRate int
	// PendingMaxBytes limits what waits for one client alone, replies and
	// Conn.Send, while its socket is full. A client with half of it waiting is not
	// read; one with all of it waiting is a slow consumer. If zero, 64 KiB. One
	// message may exceed it. For published messages see LagMaxBytes.
	PendingMaxBytes int
	// LagMaxBytes limits what each loop keeps of published messages, once for all
	// clients that lag behind, and only while one does: a client whose socket is
	// full continues from there when it has room, and costs some 250 bytes
	// meanwhile. One that lags by more is a slow consumer. If zero, 4 MiB.
	LagMaxBytes int
	// SlowConsumer is what happens to a client that lags by more than LagMaxBytes,
	// or has PendingMaxBytes of its own waiting when another message comes:
	// SlowDisconnect or SlowDrop. If empty, SlowDisconnect. For channels with history see Namespace.SlowConsumer.
	SlowConsumer SlowPolicy
	// HistoryMaxBytes limits the histories of all channels together; beyond it a
	// channel keeps fewer messages than its settings say, which is counted. If
	// zero, 256 MiB. A message is counted with its frame and 256 bytes.
	HistoryMaxBytes int
	// IdempotencyAge is how long a Publication.IdempotencyKey is remembered, for the
	// last 100,000 of them. If zero, 5 minutes.
	IdempotencyAge time.Duration
	// DataMaxDepth limits how deep the JSON of a message may be nested that clients
	// of Protocols get, publish or call with. It is refused beyond that, wherever it
	// comes from: receivers have such limits, too, and could not get past it. If
	// zero, 64.
	DataMaxDepth int
	// SubscriptionsMax limits the channels of one connection. If zero, 128. A
	// subscription costs 20 bytes.
	SubscriptionsMax int
	// ChannelNameMaxBytes limits channel names and user IDs. If zero, 255.
	ChannelNameMaxBytes int
	// InboxMaxEntries limits the publishes, sends and joins that wait for one loop.
	// Beyond it calls return ErrBusy. If zero, 65,536.
	InboxMaxEntries int
	// InboxMaxBytes limits their bytes in the same way. If zero, 64 MiB.
	InboxMaxBytes int
}

// SlowPolicy names what happens to a slow consumer.
type SlowPolicy string

const (
	// SlowDisconnect closes it with 1013 ("try again later") after the frame that is on
	// its way; where there is a history it may come back and resume, or is told that it
	// can't. Counted as slow_disconnects.
	SlowDisconnect SlowPolicy = "disconnect"
	// SlowDrop, for channels without history, leaves out messages until there is room:
	// for streams where only the current value matters. Counted as slow_drops;
	// CloseEvent.Missed says how many a connection missed.
	SlowDrop SlowPolicy = "drop"
	// SlowSkip, for channels with history, tells the client how many messages it
	// missed, and goes on with the newest.
	SlowSkip SlowPolicy = "skip"
	// SlowLatest, for channels with history, gives every client that lags only the newest
	// message of each key (Publication.Key), whether it fell off the history or not.
	SlowLatest SlowPolicy = "latest"
)
