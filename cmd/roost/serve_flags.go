package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/server"
)

// ServeCmd is roost serve. The flags of embedded structs have the names of their
// fields, and their help from the table of settings.
type ServeCmd struct {
	Addr           []string `group:"listen" help:"Address to listen on: host:port, a port alone for 127.0.0.1, :port for all interfaces, unix:PATH, or systemd for the sockets that systemd has opened, systemd:NAME for those of a name (127.0.0.1:8080). May be given several times." placeholder:"ADDR"`
	TLSAddr        []string `name:"tls-addr" group:"listen" help:"Address where TLS is spoken (wss://), with --addr for those without. May be given several times. Without it, --tls-cert makes every --addr speak TLS." placeholder:"ADDR"`
	TLSCert        string   `name:"tls-cert" group:"listen" help:"Certificate chain, PEM, for wss://. Read again when the file has changed, and on SIGHUP." placeholder:"FILE"`
	TLSKey         string   `name:"tls-key" group:"listen" help:"Its private key, PEM." placeholder:"FILE"`
	TLSClientCA    string   `name:"tls-client-ca" group:"listen" help:"Certificates of authorities, PEM: clients may show a certificate, and one that none of these has signed is refused." placeholder:"FILE"`
	TLSClientAll   bool     `name:"tls-client-required" group:"listen" help:"Refuse clients that show no certificate. Needs --tls-client-ca."`
	server.Proxies `group:"listen"`
	Origins        []string `group:"listen" placeholder:"ORIGIN"`
	Subprotocols   []string `group:"listen" placeholder:"NAME"`

	Echo  bool `group:"behaviour" help:"Send every message back to its sender."`
	Relay bool `group:"behaviour" help:"Send every message, as it came, to all clients, the sender included."`
	Demo  bool `group:"behaviour" help:"Serve demo pages with their documentation on GET /, let everybody into their channels under any name, and speak the textbook chat with raw clients on / and /ws."`

	NativeFlags
	SocketIOFlags
	AdminFlags
	WebhookFlags
	PusherFlags
	BrokerFlags

	Engine          string             `group:"engine" help:"Kind of event loop: ${enum} (${default})." enum:"${engines}" default:"${engine}"`
	Loops           int                `group:"engine"`
	Compression     server.Compression `group:"engine"`
	server.Sockets  `group:"engine"`
	GCPercent       int           `group:"engine" name:"gc-percent"`
	ShutdownTimeout time.Duration `group:"engine" help:"How long a first SIGTERM or SIGINT waits for clients to close, after --drain-delay and --drain-over (${default}). A second one ends at once." placeholder:"TIME" default:"10s"`

	server.Limits   `group:"limits"`
	server.Timeouts `group:"deadlines"`

	LogLevel  slog.Level `group:"logs" help:"debug (a line for each connection that ends), info, warn or error (${default})." placeholder:"LEVEL" default:"info"`
	LogFormat string     `group:"logs" help:"${enum} (${default}), on standard error." enum:"text,json" default:"text"`
}

var serveGroups = kong.ExplicitGroups([]kong.Group{
	{Key: "listen", Title: "Where clients come in:"},
	{Key: "behaviour", Title: "What the server does with messages (at most one; without any, it ignores them):"},
	{Key: "native", Title: "Channels, users and tokens:"},
	{Key: "socketio", Title: "Socket.IO:"},
	{Key: "admin", Title: "Admin port:"},
	{Key: "webhooks", Title: "The application's own HTTP server:"},
	{Key: "pusher", Title: "Clients and back ends of Pusher:"},
	{Key: "broker", Title: "Several servers:"},
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
      open http://localhost:8080
  roost serve --echo --addr 127.0.0.1:9000 --addr unix:/run/roost.sock
  roost serve --relay --addr :8080 --ping-interval 30s
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
	if s.ShutdownTimeout < 0 {
		return fmt.Errorf("--shutdown-timeout is %v: want 0 or more", s.ShutdownTimeout)
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
	return errors.Join(checkAddrs("--addr", s.Addr), checkAddrs("--tls-addr", s.TLSAddr), s.NativeFlags.check(s.Demo, s.SocketIO, s.Asker.URL != ""), s.SocketIOFlags.check(), s.AdminFlags.check(), s.WebhookFlags.check(s.Native || s.SocketIO), s.PusherFlags.check(s.AdminAddr != ""))
}

// AfterApply is called by the command line's parser when all values are there.
func (*ServeCmd) AfterApply(ctx *kong.Context) error { return checkWritten(ctx.Selected().Flags) }

// checkAddrs refuses addresses that cannot be listened on.
func checkAddrs(flag string, addrs []string) error {
	for _, addr := range addrs {
		if addr != "systemd" && !strings.Contains(addr, ":") && !isPort(addr) {
			return fmt.Errorf("%s %q has no port: want host:port, :port, a port, unix:PATH or systemd", flag, addr)
		}
	}
	return nil
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// onLoopback completes addresses that are a port alone.
func onLoopback(addrs []string) []string {
	complete := slices.Clone(addrs)
	for i, addr := range complete {
		if isPort(addr) {
			complete[i] = net.JoinHostPort("127.0.0.1", addr)
		}
	}
	return complete
}

// defaultAddr is where roost serve listens unless told otherwise: this machine
// only, so that a first try is not open to the network.
const defaultAddr = "127.0.0.1:8080"

// config is the server's Config, without its handler and certificates.
func (s *ServeCmd) config(logger *slog.Logger) server.Config {
	plain, secure := onLoopback(s.Addr), onLoopback(s.TLSAddr)
	if len(plain) == 0 {
		plain = []string{defaultAddr}
	}
	if s.TLSCert != "" && len(secure) == 0 {
		plain, secure = nil, plain
	}
	engine, _ := engines.ByName(s.Engine) // the enum of the flag has checked it
	return server.Config{
		Listen:    plain,
		ListenTLS: secure,
		Engine:    server.Engine{Driver: engine, Loops: s.Loops},
		Sockets:   s.Sockets,
		Limits:    s.Limits,
		Timeouts:  s.Timeouts,
		Proxies:   s.Proxies,
		Handshake: server.Handshake{Origins: s.Origins, Subprotocols: s.Subprotocols, Compression: s.Compression},
		Logger:    logger,
	}
}
