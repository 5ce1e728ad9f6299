package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/server"
)

// ServeCmd is roost serve. Its flags have the names of server.Config's fields;
// --addr is Config.Listen, and what begins with --tls is about Config.ListenTLS
// and Config.TLS.
type ServeCmd struct {
	Addr            []string      `group:"listen" help:"Address to listen on: host:port (no host means all), unix:PATH, or systemd for the sockets that systemd has opened, systemd:NAME for those of a name (${default}). May be given several times." placeholder:"ADDR" default:":8080"`
	ReusePort       bool          `group:"listen" help:"Let several server processes listen on the same address."`
	DeferAccept     time.Duration `group:"listen" help:"Linux: take a connection when its first bytes are there, at most this long after (${default}). Negative (--defer-accept=-1s): at once." default:"${defer_accept}"`
	TLSAddr         []string      `name:"tls-addr" group:"listen" help:"Address where TLS is spoken (wss://), with --addr for those without. May be given several times. Without it, --tls-cert makes every --addr speak TLS." placeholder:"ADDR"`
	TLSCert         string        `name:"tls-cert" group:"listen" help:"Certificate chain, PEM, for wss://. Read again when the file has changed, and on SIGHUP." placeholder:"FILE"`
	TLSKey          string        `name:"tls-key" group:"listen" help:"Its private key, PEM." placeholder:"FILE"`
	TLSClientCA     string        `name:"tls-client-ca" group:"listen" help:"Certificates of authorities, PEM: clients may show a certificate, and one that none of these has signed is refused." placeholder:"FILE"`
	TLSClientAll    bool          `name:"tls-client-required" group:"listen" help:"Refuse clients that show no certificate. Needs --tls-client-ca."`
	ProxyProtocol   []string      `group:"listen" help:"Balancers that begin each connection with a PROXY header, version 1 or 2: addresses, prefixes (10.0.0.0/8), or unix for whoever comes over a unix socket." placeholder:"FROM"`
	TrustedProxies  []string      `group:"listen" help:"HTTP proxies to believe about the client's address, written likewise." placeholder:"FROM"`
	ForwardedHeader string        `group:"listen" help:"Where they tell it: ${enum} (${default})." enum:"x-forwarded-for,forwarded" default:"x-forwarded-for"`
	Origins         []string      `group:"listen" help:"Web pages that may connect: https://example.com, https://*.example.com, file:// or null for pages from files, or * for all. Without it pages of the same host; with --demo all pages." placeholder:"ORIGIN"`
	Subprotocols    []string      `group:"listen" help:"Subprotocols that the server accepts, in any order." placeholder:"NAME"`

	Echo  bool `group:"behaviour" help:"Send every message back to its sender."`
	Relay bool `group:"behaviour" help:"Send every message, as it came, to all, its sender included."`
	Demo  bool `group:"behaviour" help:"Answer GET / with a chat page, and speak the textbook chat with it and any other page, on / and /ws."`

	NativeFlags
	AdminFlags
	WebhookFlags

	Engine          string             `group:"engine" help:"Event loops: ${enum} (${default})." enum:"${engines}" default:"${engine}"`
	Loops           int                `group:"engine" help:"Number of event loops. 0: one for each processor that Go may use." placeholder:"N" default:"0"`
	Compression     server.Compression `group:"engine" help:"Answer to offers of permessage-deflate: ${enum} (${default}). context compresses better, and takes up to 64 KiB for a connection." enum:"${compressions}" default:"${compression}"`
	SendBufferBytes int                `group:"engine" help:"Send buffer in the kernel, per connection, bytes. 0: the kernel tunes it." placeholder:"N" default:"0"`
	GCPercent       int                `group:"engine" name:"gc-percent" help:"Garbage collector: let the heap grow by this many percent between collections. Lower takes less memory and more CPU. 0: GOGC, or ${default_gc_percent}." placeholder:"N" default:"0"`
	ShutdownTimeout time.Duration      `group:"engine" help:"How long a first SIGTERM or SIGINT waits for clients to say goodbye (${default}). A second one ends at once." default:"10s"`

	MaxConnections        int               `group:"limits" help:"Open connections; more are answered 503. 0: as many as the descriptor limit allows." placeholder:"N" default:"0"`
	ConnectionsPerAddress int               `group:"limits" help:"Open connections of one address, or IPv6 /64; more are answered 429. 0: only --max-connections." placeholder:"N" default:"0"`
	ConnectRatePerAddress int               `group:"limits" help:"Connections a second of one address, or IPv6 /64; more are answered 429. 0: as many as come." placeholder:"N" default:"0"`
	HandshakesMax         int               `group:"limits" help:"Connections in the middle of their request; more wait for their turn (${default})." placeholder:"N" default:"${handshakes_max}"`
	HandshakeMaxBytes     int               `group:"limits" help:"Bytes of a request's head (${default})." placeholder:"N" default:"${handshake_max_bytes}"`
	HandshakeTimeout      time.Duration     `group:"limits" help:"From accept to the answer of the upgrade (${default})." default:"${handshake_timeout}"`
	AuthorizeMaxPending   int               `group:"limits" help:"Plain HTTP requests and authorizations under way (${default})." placeholder:"N" default:"${authorize_max_pending}"`
	TLSHandshakesMax      int               `name:"tls-handshakes-max" group:"limits" help:"TLS handshakes under way; more wait for their turn (${default})." placeholder:"N" default:"${tls_handshakes_max}"`
	MessageMaxBytes       int               `group:"limits" help:"Bytes of a message from a client (${message_max_bytes}; with --echo ${echo_message_max_bytes}). Larger ones are refused with 1009." placeholder:"N" default:"0"`
	MessageMaxFragments   int               `group:"limits" help:"Frames of a message from a client (${message_max_fragments}; with --echo ${echo_message_max_fragments})." placeholder:"N" default:"0"`
	MessageRate           int               `group:"limits" help:"Messages a second from a client; a faster one is not read meanwhile. 0: as many as come." placeholder:"N" default:"0"`
	NoIOURing             bool              `name:"no-io-uring" group:"engine" help:"Linux: make each write of a fan-out a system call of its own, even where io_uring would make hundreds at once."`
	PendingMaxBytes       int               `group:"limits" help:"Output that may wait for one client alone, replies above all, while its socket is full; with half of it waiting it is not read (${default})." placeholder:"N" default:"${pending_max_bytes}"`
	LagMaxBytes           int               `group:"limits" help:"What each loop keeps of what was published, for all clients that lag behind; who lags by more is a slow consumer (${default})." placeholder:"N" default:"${lag_max_bytes}"`
	SlowConsumer          server.SlowPolicy `group:"limits" help:"What happens to a client with more than that waiting: ${enum} (${default})." enum:"${slows}" default:"${slow}"`
	HistoryMaxBytes       int               `group:"limits" help:"Messages kept for channels with history, of all of them together (${default})." placeholder:"N" default:"${history_max_bytes}"`
	IdempotencyAge        time.Duration     `group:"limits" help:"How long the idempotency key of a publication is remembered (${default})." default:"${idempotency_age}"`
	DataMaxDepth          int               `group:"limits" help:"How deep the JSON of a message may be nested that clients of the native protocol get or send (${default})." placeholder:"N" default:"${data_max_depth}"`
	SubscriptionsMax      int               `group:"limits" help:"Channels of a connection (${default})." placeholder:"N" default:"${subscriptions_max}"`
	ChannelNameMaxBytes   int               `group:"limits" help:"Bytes of a channel's name (${default})." placeholder:"N" default:"${channel_name_max}"`
	InboxMaxEntries       int               `group:"limits" help:"Messages that may wait for one event loop (${default})." placeholder:"N" default:"${inbox_max_entries}"`
	InboxMaxBytes         int               `group:"limits" help:"Bytes that may wait for one event loop (${default})." placeholder:"N" default:"${inbox_max_bytes}"`

	MessageTimeout    time.Duration `group:"deadlines" help:"From a message's first byte to its last (${default}). Negative (--message-timeout=-1s): never." default:"${message_timeout}"`
	PingInterval      time.Duration `group:"deadlines" help:"Ping a connection that was silent for so long (${default}). Negative (--ping-interval=-1s): never." default:"${ping_interval}"`
	PongTimeout       time.Duration `group:"deadlines" help:"Close it when nothing came for so long after a ping (${default})." default:"${pong_timeout}"`
	IdleTimeout       time.Duration `group:"deadlines" help:"Close a connection that sent no message for so long. 0: never." default:"0s"`
	WriteStallTimeout time.Duration `group:"deadlines" help:"End a connection that took no byte of waiting output for so long (${default})." default:"${write_stall_timeout}"`
	CloseTimeout      time.Duration `group:"deadlines" help:"Wait so long for the client's part of the closing handshake (${default})." default:"${close_timeout}"`

	LogLevel  slog.Level `group:"logs" help:"debug (a line for each connection that ends), info, warn or error (${default})." placeholder:"LEVEL" default:"info"`
	LogFormat string     `group:"logs" help:"${enum} (${default}), on standard error." enum:"text,json" default:"text"`
}

var serveGroups = kong.ExplicitGroups([]kong.Group{
	{Key: "listen", Title: "Where clients come in:"},
	{Key: "behaviour", Title: "What messages do (at most one; without any, messages are ignored):"},
	{Key: "native", Title: "Channels, users and tokens:"},
	{Key: "admin", Title: "Admin port:"},
	{Key: "webhooks", Title: "The application's own HTTP server:"},
	{Key: "engine", Title: "How it runs:"},
	{Key: "limits", Title: "Limits (each is counted when it is reached):"},
	{Key: "deadlines", Title: "Deadlines (30s, 2m, 1h30m):"},
	{Key: "logs", Title: "Logs:"},
})

// Help is the text between the usage and the flags.
func (ServeCmd) Help() string {
	return `Each flag is also a variable (--max-connections is ROOST_MAX_CONNECTIONS) and a line under "serve:" in the file of --config.

Examples:
  roost serve --demo
      open http://localhost:8080 in two windows
  roost serve --echo --addr 127.0.0.1:9000 --addr unix:/run/roost.sock
  roost serve --relay --max-connections 100000 --ping-interval 30s
  ROOST_ENGINE=gnet roost serve --config roost.yaml`
}

// Validate is called by the command line's parser.
func (s *ServeCmd) Validate() error {
	var chosen []string
	for flag, on := range map[string]bool{"--echo": s.Echo, "--relay": s.Relay, "--demo": s.Demo} {
		if on {
			chosen = append(chosen, flag)
		}
	}
	if len(chosen) > 1 {
		return errors.New("--echo, --relay and --demo exclude each other: choose one")
	}
	if s.GCPercent < 0 {
		return fmt.Errorf("--gc-percent is %d: want 1 or more, or 0 for GOGC", s.GCPercent)
	}
	if s.ShutdownTimeout < 0 {
		return fmt.Errorf("--shutdown-timeout is %v: want 0 or more", s.ShutdownTimeout)
	}
	if s.MaxConnections < 0 {
		return fmt.Errorf("--max-connections is %d: want 1 or more, or 0 for as many as the descriptor limit allows", s.MaxConnections)
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key need each other")
	}
	if len(s.TLSAddr) > 0 && s.TLSCert == "" {
		return errors.New("--tls-addr needs --tls-cert and --tls-key")
	}
	if s.TLSClientCA != "" && s.TLSCert == "" {
		return errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	}
	if s.TLSClientAll && s.TLSClientCA == "" {
		return errors.New("--tls-client-required needs --tls-client-ca")
	}
	return errors.Join(checkAddrs("--addr", s.Addr), checkAddrs("--tls-addr", s.TLSAddr), s.NativeFlags.check(s.AskURL != ""), s.AdminFlags.check(), s.WebhookFlags.check(s.Native))
}

func checkAddrs(flag string, addrs []string) error {
	for _, addr := range addrs {
		if addr != "systemd" && !strings.Contains(addr, ":") {
			return fmt.Errorf("%s %q has no port: want host:port, :port, unix:PATH or systemd", flag, addr)
		}
	}
	return nil
}

// config is the server's Config, its handler and its certificates left out.
func (s *ServeCmd) config(logger *slog.Logger) server.Config {
	messageMaxBytes, messageMaxFragments := server.DefaultMessageMaxBytes, server.DefaultMessageMaxFragments
	if s.Echo {
		messageMaxBytes, messageMaxFragments = echoMessageMaxBytes, echoMessageMaxFragments
	}
	plain, secure := s.Addr, s.TLSAddr
	if s.TLSCert != "" && len(secure) == 0 {
		plain, secure = nil, s.Addr
	}
	engine, _ := engines.ByName(s.Engine) // the enum of the flag has checked it
	return server.Config{
		Listen:       plain,
		ListenTLS:    secure,
		Engine:       engine,
		Loops:        s.Loops,
		Sockets:      server.Sockets{ReusePort: s.ReusePort, DeferAccept: s.DeferAccept, SendBufferBytes: s.SendBufferBytes, NoIOURing: s.NoIOURing},
		Proxies:      server.Proxies{ProxyProtocol: s.ProxyProtocol, TrustedProxies: s.TrustedProxies, ForwardedHeader: s.ForwardedHeader},
		Subprotocols: s.Subprotocols,
		Origins:      s.Origins,
		Compression:  s.Compression,
		Logger:       logger,
		Limits: server.Limits{
			MaxConnections:        s.MaxConnections,
			ConnectionsPerAddress: s.ConnectionsPerAddress,
			ConnectRatePerAddress: s.ConnectRatePerAddress,
			HandshakesMax:         s.HandshakesMax,
			TLSHandshakesMax:      s.TLSHandshakesMax,
			HandshakeMaxBytes:     s.HandshakeMaxBytes,
			AuthorizeMaxPending:   s.AuthorizeMaxPending,
			MessageMaxBytes:       cmp.Or(s.MessageMaxBytes, messageMaxBytes),
			MessageMaxFragments:   cmp.Or(s.MessageMaxFragments, messageMaxFragments),
			MessageRate:           s.MessageRate,
			PendingMaxBytes:       s.PendingMaxBytes,
			LagMaxBytes:           s.LagMaxBytes,
			SlowConsumer:          s.SlowConsumer,
			HistoryMaxBytes:       s.HistoryMaxBytes,
			IdempotencyAge:        s.IdempotencyAge,
			DataMaxDepth:          s.DataMaxDepth,
			SubscriptionsMax:      s.SubscriptionsMax,
			ChannelNameMaxBytes:   s.ChannelNameMaxBytes,
			InboxMaxEntries:       s.InboxMaxEntries,
			InboxMaxBytes:         s.InboxMaxBytes,
		},
		Timeouts: server.Timeouts{
			HandshakeTimeout:  s.HandshakeTimeout,
			MessageTimeout:    s.MessageTimeout,
			PingInterval:      s.PingInterval,
			PongTimeout:       s.PongTimeout,
			IdleTimeout:       s.IdleTimeout,
			WriteStallTimeout: s.WriteStallTimeout,
			CloseTimeout:      s.CloseTimeout,
		},
	}
}

var configField = regexp.MustCompile(`server: Config\.(?:\w+\.)?(\w+)`)

// flagError says of a field of Config what it says of its flag.
func flagError(err error) error {
	text := configField.ReplaceAllStringFunc(namespaceErrors(err.Error()), func(m string) string {
		return flagName(configField.FindStringSubmatch(m)[1])
	})
	if text == err.Error() {
		return err
	}
	return usageError{errors.New(text)}
}

// flagName is the flag for a field of Config: MaxConnections is
// --max-connections.
func flagName(field string) string {
	switch field {
	case "Listen":
		return "--addr"
	case "ListenTLS":
		return "--tls-addr"
	case "TLS":
		return "--tls-cert"
	case "TLSHandshakesMax":
		return "--tls-handshakes-max"
	}
	var b strings.Builder
	b.WriteString("-")
	for _, r := range field {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
