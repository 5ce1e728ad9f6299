package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options are what all scenarios share.
type Options struct {
	// URL is the server's, ws://host:port/path or wss://. {{.N}} in the path's
	// query stands for the connection's number.
	URL string `arg:"" name:"url" help:"The server, ws://host:port/path or wss://. {{.N}} in the query stands for the connection's number."`
	// PIDs are the server's processes. Without any, nothing is measured of the
	// server's CPU and memory.
	PIDs []int `name:"pid" help:"The server's processes. Without any, its CPU and memory are not measured."`
	// Connections is how many to open. If zero, the scenario's default.
	Connections int `short:"n" help:"How many to open (default: the scenario's)."`
	// Generators is the least number of generator processes. If zero, as many
	// as the descriptor limit demands.
	Generators int `help:"The least number of generator processes (default: as many as descriptors demand)."`
	// Headers are further request headers, "Name: value", with {{.N}}.
	Headers []string `name:"header" sep:"none" placeholder:"'NAME: VALUE'" help:"Further request headers, with {{.N}}."`
	// Subscribe are sent by each connection once it is open, with {{.N}}.
	Subscribe []string `sep:"none" placeholder:"MESSAGE" help:"Sent by each connection once it is open, with {{.N}}. May be given several times."`
	// Native, if it is set, is a channel: each connection speaks the native
	// protocol, shows its token, if there are tokens, and subscribes to that
	// channel, with {{.N}}. The replies are checked.
	Native string `placeholder:"CHANNEL" help:"Speak the native protocol of roost serve --native, and subscribe each connection to this channel, with {{.N}}; replies are checked."`
	// TokenSecretFile makes the generators sign a token for each connection
	// (HS256, with the first line of the file), which --native shows and for
	// which {{.Token}} stands wherever {{.N}} may. Each has a user of its own,
	// TokenUserPrefix (if empty, user-) and the connection's number, and an
	// expiry of its own, TokenLifetime (if zero, an hour) or up to half an hour
	// more after the connection was opened.
	TokenSecretFile string        `placeholder:"FILE" help:"Sign a token for each connection (HS256, with the first line of the file), with a user and an expiry of its own. --native shows it; in --header, --subscribe and the query {{.Token}} stands for it."`
	TokenUserPrefix string        `placeholder:"user-" help:"The token's user is this and the connection's number."`
	TokenLifetime   time.Duration `placeholder:"1h" help:"How long tokens are valid, at least."`
	// Binary sends Subscribe as binary messages. Payloads are always text.
	Binary bool `help:"Send --subscribe as binary messages."`
	// Insecure takes any certificate of a wss:// server, CAFile those that the
	// certificates in this file (PEM) have signed. Without either, those that the
	// system trusts.
	Insecure bool   `help:"wss://: take any certificate."`
	CAFile   string `name:"ca-file" placeholder:"FILE" help:"wss://: take certificates that those in this file, PEM, have signed."`
	// Compression offers permessage-deflate on each connection and makes
	// payloads look like JSON. A broadcast is then done twice, without and with
	// it.
	Compression bool `help:"Offer permessage-deflate, with payloads like JSON; broadcast is done without and with it."`
	// PayloadBytes is the size of messages. If zero, 128.
	PayloadBytes int `placeholder:"128" help:"The size of messages."`
	// InFlight bounds the connections that are being opened at a time. If
	// zero, 256, well within any listen queue.
	InFlight int `placeholder:"256" help:"How many connections are being opened at a time."`
	// Settle is how long the server gets to come to rest before it is measured
	// and after the connections have been opened, at least. If zero, 1 s; in the
	// scenario idle, 5 s.
	Settle time.Duration `help:"How long the server gets to come to rest, at least (default: 1s; of idle, 5s)."`
	// SettleMax is how long it is waited for at most, while its memory still
	// moves or it uses more than 5 % of a core. If zero, 15 s. A result says if
	// that was not enough.
	SettleMax time.Duration `placeholder:"15s" help:"How long to wait for that at most, while the server's memory still moves or it is busy."`
	// Patience is how long messages, echoed or published, may be under way
	// before those that are missing count as lost. If zero, 5 s.
	Patience time.Duration `placeholder:"5s" help:"How long messages may be under way before they count as lost."`
	// Timeout bounds the whole scenario. If zero, the scenario's default.
	Timeout time.Duration `help:"Bounds the whole scenario (default: the scenario's)."`
	// Label names the server in tables and plots. If empty, the URL.
	Label string `help:"The server's name in tables and plots (default: the URL)."`
	// Progress gets lines for people to read; nil is silent.
	Progress io.Writer `kong:"-"`
	// GeneratorCommand starts a generator: a program that calls RunGenerator.
	// If empty, this executable with the arguments "bench generator".
	GeneratorCommand []string `kong:"-"`

	// transport is that of the clients; see over. pollEvery is how often a client
	// polls that does not wait for news at the server; 0 for one that does.
	transport Transport
	pollEvery time.Duration
}

func (o *Options) setDefaults(connections int, timeout time.Duration) error {
	setDefault(&o.Connections, connections)
	setDefault(&o.PayloadBytes, 128)
	setDefault(&o.InFlight, 256)
	setDefault(&o.Settle, time.Second)
	setDefault(&o.SettleMax, 15*time.Second)
	setDefault(&o.Patience, 5*time.Second)
	setDefault(&o.Timeout, timeout)
	setDefault(&o.Label, o.URL)
	if len(o.GeneratorCommand) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this executable: %w", err)
		}
		o.GeneratorCommand = []string{exe, "bench", "generator"}
	}
	if o.URL == "" {
		return errors.New("no URL")
	}
	if o.Connections < 1 {
		return fmt.Errorf("%d connections", o.Connections)
	}
	if _, err := splitURL(o.URL); err != nil {
		return err
	}
	if _, err := o.trust(); err != nil {
		return err
	}
	if _, err := o.tokens(); err != nil {
		return err
	}
	return checkPayloadBytes(o.PayloadBytes)
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// IdleConfig is the scenario of connections that do nothing.
type IdleConfig struct {
	Options
	// Transport is the clients'. If empty, TransportWebSocket. The others need
	// Options.Native.
	Transport Transport `enum:"ws,sse,poll" default:"ws" help:"What the clients come over: ws, sse or poll; sse and poll need --native."`
	// Period is how long they are watched. If zero, 10 s.
	Period time.Duration `help:"Length of each part."`
}

// EchoConfig is the scenario of a server that sends each message back.
type EchoConfig struct {
	Options
	// Rate is the messages a second, over all connections, of the part that
	// measures latency. If zero, 2,000.
	Rate float64 `help:"Messages a second of the paced part."`
	// Period is the length of each of the two parts. If zero, 10 s.
	Period time.Duration `help:"Length of each part."`
}

// BroadcastConfig is the scenario of one publisher and many receivers.
type BroadcastConfig struct {
	Options
	// Transport is the clients'. If empty, TransportWebSocket. The others need
	// Options.Native.
	Transport Transport `enum:"ws,sse,poll" default:"ws" help:"What the clients come over: ws, sse or poll; sse and poll need --native."`
	// Singles is the number of messages published one at a time. If zero, 20.
	Singles int `placeholder:"20" help:"Messages published one at a time."`
	// Rate is the messages a second of the paced part. If zero, half of what
	// the singles show to be possible, not more than 20.
	Rate float64 `help:"Messages a second of the paced part."`
	// Period is the length of the paced part and of the one without pause. If
	// zero, 5 s.
	Period time.Duration `help:"Length of each part."`
	// Window is how many messages may be under way in the part without pause.
	// If zero, 64.
	Window int `placeholder:"64" help:"Messages under way at a time, without pause."`
	// PublishURL, where the server has a publish API, gets each message by POST
	// instead of one of the connections sending it. If empty, and Options.Native is
	// set, messages are published to that channel over the native protocol.
	PublishURL string `name:"publish-url" placeholder:"URL" help:"The server's publish API: messages are posted to it instead of sent by a connection (default with --native: /v1/poll of the server, whose rules must let clients publish)."`
	// PublishBody is the request's body, with {{.Payload}}. If empty, the
	// payload alone.
	PublishBody string `placeholder:"TEMPLATE" help:"Body of the posts, with {{.Payload}} (default: the payload alone)."`
	// PublishHeaders are further headers, "Name: value".
	PublishHeaders []string `name:"publish-header" sep:"none" placeholder:"'NAME: VALUE'" help:"Further headers of the posts."`
}

// GrowConfig is the scenario of connections that become more and more.
type GrowConfig struct {
	Options
	// Steps are the numbers of connections, ascending, at which everything is
	// measured. If empty, Connections alone.
	Steps []int `placeholder:"N,..." help:"Stop and measure at these numbers of connections (default: at the last only)."`
	// Singles is the number of messages published at each step. If zero, 3.
	Singles int `placeholder:"3" help:"Messages published at each step, one at a time."`
	// Hold is how long to stay at the last step.
	Hold time.Duration `help:"How long to stay at the last step, idle."`
}

// StormConfig is the scenario of all clients coming at once, twice.
type StormConfig struct {
	Options
}

// HostileConfig is the scenario of one hostile client of each kind among many
// others.
type HostileConfig struct {
	Options
	// Rate is the messages a second of the others, over all connections. If
	// zero, 2,000.
	Rate float64 `help:"Messages a second of the others."`
	// Period is the length of each part. If zero, 2 s.
	Period time.Duration `help:"Length of each part."`
	// Rounds is how often everything is done; medians count. If zero, 5.
	Rounds int `placeholder:"5" help:"How often everything is done: medians count."`
	// Kinds are those to let loose. If empty, all.
	Kinds []string `placeholder:"NAME,..." help:"Which hostile clients (default: all)."`
}

// MixedConfig is the scenario of an echo server with 90 % idle, 9 % trickling
// and 1 % busy connections.
type MixedConfig struct {
	Options
	// TrickleInterval is the time between two messages of a trickling
	// connection. If zero, 5 s.
	TrickleInterval time.Duration `placeholder:"5s" help:"Time between two messages of a trickling connection."`
	// BusyInterval is the time between two messages of a busy connection. If
	// zero, 20 ms.
	BusyInterval time.Duration `placeholder:"20ms" help:"Time between two messages of a busy connection."`
	// Period is the length. If zero, 10 s.
	Period time.Duration `help:"Length of each part."`
}

// SlowConfig is the scenario of a broadcast to receivers of whom 5 % do not
// read.
type SlowConfig struct {
	BroadcastConfig
	// StalledPercent is the share of those that do not read. If zero, 5.
	StalledPercent int `placeholder:"5" help:"The share of receivers that do not read."`
}
