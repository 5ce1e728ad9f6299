package counters

// A Counter names one row of the table.
type Counter uint8

// The counters, in the order in which they are shown. Those down to HistoryEvicted
// are counted by the loops and by whatever works for them; the rest is asked for
// when somebody wants to know.
const (
	Connections Counter = iota
	EventStreams
	Polls
	Mailboxes
	Stalled
	PendingBytes
	Paused
	Lagging
	JournalBytes
	Reading
	Channels
	Subscriptions
	Accepted
	Opened
	Closed
	ClosedByPeer
	ClosedByServer
	ClosedAbnormally
	RefusedFull
	AdmissionWaiting
	AdmissionRate
	AdmissionQueued
	AdmissionRefused
	HandshakesRefused
	HandshakeTimeouts
	HandshakesQueued
	HandshakesEvicted
	RefusedAddress
	RefusedAddressRate
	ProxyErrors
	PlainRequests
	PollsAnswered
	BytesReceived
	MessagesReceived
	MessageBytesReceived
	Delivered
	PingsSent
	PingsReceived
	PongsReceived
	PongTimeouts
	IdleTimeouts
	WriteStalls
	CloseTimeouts
	ProtocolErrors
	InvalidUTF8
	MessagesTooBig
	MessageTimeouts
	TurnsYielded
	SlowDisconnects
	SlowDrops
	Resets
	RateLimited
	PublishersHeld
	InboxRefused
	JoinsRefused
	SendsToClosed
	TLSHandshakes
	TLSHandshakeErrors
	TLSHandshakesQueued
	TLSErrors
	Deflated
	Adopted
	Bridged
	CommandErrors
	ConnectsRefused
	TokensExpired
	SessionsKept
	SessionsRecovered
	SessionsNotRecovered
	SessionsGivenUp
	Panics

	HistoryEvicted
	HistoryChannels
	HistoryMessages
	HistoryBytes
	BrokerChannels
	BrokerReads
	BrokerHoles
	BrokerInterruptions
	BrokerPublishErrors
	Nodes
	NodeMessagesSent
	NodeMessagesReceived
	NodeMessagesDropped
	NodeQuestions
	NodeQuestionsIncomplete
	InboxEntries
	Handshaking
	EngineConns
	EngineLingering
	EngineAccepted
	EngineAttached
	EngineRefusedMaxConns
	EngineRefusedNoDescriptor
	EngineRefusedNoMemory
	EngineAcceptErrors
	EngineReads
	EngineWrites
	EngineShortWrites
	EngineBytesRead
	EngineBytesWritten
	EngineLingerTimeouts
	EngineWakes
	EngineHandlerPanics

	count                    // of all rows
	counted = HistoryEvicted // of those that loops count
)

// table says what each counter is. It is the only place that does: Stats, JSON,
// Prometheus and the documentation's test read it.
var table = [count]Info{
	Connections:          {"connections", Gauge, "open connections: WebSocket and its fallbacks"},
	EventStreams:         {"event_streams", Gauge, "open connections that are event streams (SSE)"},
	Mailboxes:            {"mailboxes", Gauge, "open connections without a socket: clients of Socket.IO that poll"},
	Polls:                {"polls", Gauge, "open connections that are long polls"},
	Stalled:              {"stalled", Gauge, "connections with output waiting for a full socket"},
	PendingBytes:         {"pending_bytes", Gauge, "bytes waiting for single connections with full sockets"},
	Paused:               {"paused", Gauge, "connections that are not read"},
	Lagging:              {"lagging", Gauge, "connections that have not read all that was published for them"},
	JournalBytes:         {"journal_bytes", Gauge, "bytes kept for lagging connections, in all loops"},
	Reading:              {"reading", Gauge, "connections that read on from channels' histories, resuming or lagging"},
	Channels:             {"channels", Gauge, "channels with subscribers, counted once on each loop that has some"},
	Subscriptions:        {"subscriptions", Gauge, "subscriptions of all connections"},
	Accepted:             {"accepted", Total, "sockets accepted"},
	Opened:               {"opened", Total, "connections opened"},
	Closed:               {"closed", Total, "connections closed"},
	ClosedByPeer:         {"closed_by_peer", Total, "connections closed by the peer's Close frame"},
	ClosedByServer:       {"closed_by_server", Total, "connections closed by the server's Close frame"},
	ClosedAbnormally:     {"closed_abnormally", Total, "connections closed without a Close frame"},
	RefusedFull:          {"refused_full", Total, "clients refused with 503 because of MaxConnections, a storm or a shutdown"},
	AdmissionWaiting:     {"admission_waiting", Gauge, "newcomers that wait, unread, until the loops can take them"},
	AdmissionRate:        {"admission_rate", Gauge, "newcomers a second that the loops take, by what they took last; 0 before the first"},
	AdmissionQueued:      {"admission_queued", Total, "newcomers that had to wait"},
	AdmissionRefused:     {"admission_refused", Total, "newcomers that could not be held, and were told when to come back"},
	HandshakesRefused:    {"handshakes_refused", Total, "requests that were invalid or not allowed"},
	HandshakeTimeouts:    {"handshake_timeouts", Total, "requests that took longer than HandshakeTimeout"},
	HandshakesQueued:     {"handshakes_queued", Total, "connections that had to wait because of HandshakesMax"},
	HandshakesEvicted:    {"handshakes_evicted", Total, "unfinished requests that had to make room for others"},
	RefusedAddress:       {"refused_address", Total, "connections beyond ConnectionsPerAddress"},
	RefusedAddressRate:   {"refused_address_rate", Total, "connections beyond ConnectRatePerAddress"},
	ProxyErrors:          {"proxy_errors", Total, "connections of a trusted balancer without a valid PROXY header"},
	PollsAnswered:        {"polls_answered", Total, "long polls answered"},
	PlainRequests:        {"plain_requests", Total, "plain HTTP requests given to Config.HTTP"},
	BytesReceived:        {"bytes_received", Total, "bytes received from all sockets"},
	MessagesReceived:     {"messages_received", Total, "whole messages received"},
	MessageBytesReceived: {"message_bytes_received", Total, "bytes of whole messages received"},
	Delivered:            {"delivered", Total, "messages handed to the kernel or waiting for it"},
	PingsSent:            {"pings_sent", Total, "pings sent"},
	PingsReceived:        {"pings_received", Total, "pings received"},
	PongsReceived:        {"pongs_received", Total, "pongs received"},
	PongTimeouts:         {"pong_timeouts", Total, "connections ended because a ping was not answered within PongTimeout"},
	IdleTimeouts:         {"idle_timeouts", Total, "connections ended by IdleTimeout"},
	WriteStalls:          {"write_stalls", Total, "connections ended by WriteStallTimeout"},
	CloseTimeouts:        {"close_timeouts", Total, "connections ended by CloseTimeout"},
	ProtocolErrors:       {"protocol_errors", Total, "connections closed with 1002 or 1008 for what they sent"},
	InvalidUTF8:          {"invalid_utf8", Total, "connections closed with 1007 for text that is not UTF-8"},
	MessagesTooBig:       {"messages_too_big", Total, "connections closed with 1009 for a message that is too long"},
	MessageTimeouts:      {"message_timeouts", Total, "connections closed because a message took longer than MessageTimeout"},
	TurnsYielded:         {"turns_yielded", Total, "times that a connection with many small frames had to let the others go first"},
	SlowDisconnects:      {"slow_disconnects", Total, "slow consumers closed"},
	SlowDrops:            {"slow_drops", Total, "messages left out for slow consumers"},
	Resets:               {"resets", Total, "subscriptions that were told of a new epoch of their channel"},
	RateLimited:          {"rate_limited", Total, "pauses because of MessageRate"},
	PublishersHeld:       {"publishers_held", Total, "pauses of publishing connections because the fan-out was behind"},
	InboxRefused:         {"inbox_refused", Total, "calls that returned ErrBusy"},
	JoinsRefused:         {"joins_refused", Total, "joins beyond SubscriptionsMax"},
	SendsToClosed:        {"sends_to_closed", Total, "messages to single connections that had ended"},
	TLSHandshakes:        {"tls_handshakes", Total, "TLS handshakes that succeeded"},
	TLSHandshakeErrors:   {"tls_handshake_errors", Total, "TLS handshakes that failed"},
	TLSHandshakesQueued:  {"tls_handshakes_queued", Total, "TLS handshakes that had to wait for their turn"},
	TLSErrors:            {"tls_errors", Total, "connections ended by a bad TLS record"},
	Deflated:             {"deflated", Total, "connections that negotiated compression"},
	Adopted:              {"adopted", Total, "connections taken over from net/http by ServeHTTP"},
	Bridged:              {"bridged", Total, "connections taken over that need goroutines"},
	CommandErrors:        {"command_errors", Total, "errors that native clients were told"},
	ConnectsRefused:      {"connects_refused", Total, "errors that native clients were told in reply to connect"},
	TokensExpired:        {"tokens_expired", Total, "connections and subscriptions that ended because no new token came"},
	SessionsKept:         {"sessions_kept", Total, "sockets of Socket.IO that were kept for clients whose connection was lost"},
	SessionsRecovered:    {"sessions_recovered", Total, "of these, sockets whose client came back and got what it had missed"},
	SessionsNotRecovered: {"sessions_not_recovered", Total, "clients of Socket.IO that came back too late, or to another server, or for which not all was kept"},
	SessionsGivenUp:      {"sessions_given_up", Total, "kept sockets that were given up for others, see Recovery.SessionsMax"},
	Panics:               {"panics", Total, "panics in callbacks"},

	HistoryEvicted:            {"history_evicted", Total, "messages that histories dropped early because of HistoryMaxBytes"},
	HistoryChannels:           {"history_channels", Gauge, "channels that have a history"},
	HistoryMessages:           {"history_messages", Gauge, "messages kept in histories"},
	HistoryBytes:              {"history_bytes", Gauge, "bytes kept in histories"},
	BrokerChannels:            {"broker_channels", Gauge, "channels that are attached to the broker"},
	BrokerReads:               {"broker_reads", Total, "reads of channels from the broker: first ones, after interruptions, and of holes"},
	BrokerHoles:               {"broker_holes", Total, "holes, and new epochs, in what the broker has delivered"},
	BrokerInterruptions:       {"broker_interruptions", Total, "times that the broker could not deliver"},
	BrokerPublishErrors:       {"broker_publish_errors", Total, "publications that the broker refused, or did not answer"},
	Nodes:                     {"nodes", Gauge, "servers on the broker that are there, this one among them"},
	NodeMessagesSent:          {"node_messages_sent", Total, "messages sent to other servers on the broker"},
	NodeMessagesReceived:      {"node_messages_received", Total, "messages received from other servers on the broker"},
	NodeMessagesDropped:       {"node_messages_dropped", Total, "messages between servers that were lost, as far as this one knows: the broker away, a queue full"},
	NodeQuestions:             {"node_questions", Total, "questions asked of other servers on the broker"},
	NodeQuestionsIncomplete:   {"node_questions_incomplete", Total, "questions that not all servers have answered in time"},
	InboxEntries:              {"inbox_entries", Gauge, "entries that wait for the loops or are being fanned out"},
	Handshaking:               {"handshaking", Gauge, "sockets that are not upgraded, or not yet"},
	EngineConns:               {"engine_conns", Gauge, "open sockets"},
	EngineLingering:           {"engine_lingering", Gauge, "closed sockets that wait for their peer to close"},
	EngineAccepted:            {"engine_accepted", Total, "sockets taken from listeners"},
	EngineAttached:            {"engine_attached", Total, "sockets taken over"},
	EngineRefusedMaxConns:     {"engine_refused_max_conns", Total, "sockets refused at the engine's connection limit"},
	EngineRefusedNoDescriptor: {"engine_refused_no_descriptor", Total, "sockets refused for lack of a descriptor"},
	EngineRefusedNoMemory:     {"engine_refused_no_memory", Total, "sockets refused for lack of memory in the kernel"},
	EngineAcceptErrors:        {"engine_accept_errors", Total, "other errors of accept"},
	EngineReads:               {"engine_reads", Total, "read system calls that moved bytes"},
	EngineWrites:              {"engine_writes", Total, "write system calls that moved bytes"},
	EngineShortWrites:         {"engine_short_writes", Total, "writes that the kernel cut short or refused because the socket was full"},
	EngineBytesRead:           {"engine_bytes_read", Total, "bytes read"},
	EngineBytesWritten:        {"engine_bytes_written", Total, "bytes written"},
	EngineLingerTimeouts:      {"engine_linger_timeouts", Total, "closed sockets whose peer did not close in time"},
	EngineWakes:               {"engine_wakes", Total, "wake-ups of loops"},
	EngineHandlerPanics:       {"engine_handler_panics", Total, "panics that reached the engine"},
}
