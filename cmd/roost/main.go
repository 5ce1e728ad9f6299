// Command roost keeps very many WebSocket clients connected to one machine.
//
//	roost serve      run the server
//	roost bench      measure a WebSocket server
//	roost doctor     tell how many connections this machine can hold
//	roost token      make a token for a client
//	roost publish    publish to a running server
//	roost subscribe  print what is published to channels
//	roost version    tell what this binary is
//
// It turns flags, environment and a configuration file into server.Config,
// signals into a graceful end, and errors into exit codes; whatever is worth
// more than that is in the packages that it imports.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/api"
)

// Exit codes. 128 + the signal's number follows a second signal.
const (
	exitOK     = 0 // done, or ended by a first SIGTERM or SIGINT
	exitFailed = 1 // it did not work, or roost doctor --target does not fit
	exitUsage  = 2 // a flag, a variable or the configuration file is wrong
)

// usageError is an error that another command line would avoid.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// CLI is the command line.
type CLI struct {
	Config kong.ConfigFlag `help:"Configuration file, YAML: a section for each command, in it the flags by their names. Flags win over the environment, and the environment over the file." placeholder:"FILE" env:"ROOST_CONFIG"`

	Serve     ServeCmd     `cmd:"" help:"Run the server."`
	Bench     BenchCmd     `cmd:"" help:"Measure a WebSocket server, this or any other: memory and CPU for each connection, latency, deliveries."`
	Doctor    DoctorCmd    `cmd:"" help:"Tell how many connections this machine can hold, what stops it first, and what to type to hold more."`
	Token     TokenCmd     `cmd:"" help:"Make a token for a client, or tell what is wrong with one."`
	Publish   PublishCmd   `cmd:"" help:"Publish to a channel, a user or everybody, through a running server's admin port."`
	Subscribe SubscribeCmd `cmd:"" help:"Print what is published to channels, as a client of a running server."`
	Version   VersionCmd   `cmd:"" help:"Tell what this binary is."`
}

const description = `Roost keeps 100,000 and more mostly idle WebSocket clients connected to one machine, and pushes to them.

Examples:
  roost serve --demo                      a chat page on http://localhost:8080
  roost serve --echo --addr 127.0.0.1:9000
  roost serve --relay --engine gnet --loops 4 --max-connections 100000
  roost bench echo ws://127.0.0.1:9000/   how fast is that, and at what cost?
  roost doctor --target 100000            can this machine hold that many?

Exit codes: 0 done or ended by SIGTERM or SIGINT, 1 it did not work, 2 wrong flags or configuration, 128+N a second signal N.`

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are what commands read and write.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is main with everything that it touches as an argument.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	var cli CLI
	exited := -1
	parser := newParser(&cli,
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.Bind(streams{stdin, stdout, stderr}))
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		return report(stderr, args[0], usageError{err})
	}
	return report(stderr, args[0], ctx.Run())
}

// newParser puts the command line together.
func newParser(cli *CLI, more ...kong.Option) *kong.Kong {
	parser, err := kong.New(cli, append(more,
		kong.Name("roost"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.Configuration(loadYAML),
		kong.PostBuild(nameEnvironment),
		serveGroups,
		// The variables' names follow from a rule that the help states once.
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
		kong.Vars(helpVars()),
	)...)
	if err != nil {
		panic("the command line does not fit together: " + err.Error())
	}
	return parser
}

// report prints err, which command met, and answers the exit code for it.
func report(stderr io.Writer, command string, err error) int {
	var code exitCode
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "roost: %v\n", err)
		if command != "serve" && command != "bench" && command != "doctor" && command != "token" && command != "publish" && command != "subscribe" {
			command = ""
		}
		fmt.Fprintf(stderr, "All flags, with their defaults: %s\n", strings.Join(strings.Fields("roost "+command+" --help"), " "))
		return exitUsage
	default:
		fmt.Fprintf(stderr, "roost: %v\n", err)
		return exitFailed
	}
}

// exitCode is an end that has been told already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// helpVars are the defaults that the help text shows. They come from the
// packages that own them, so that the two cannot drift apart.
func helpVars() kong.Vars {
	names := engines.Names()
	vars := kong.Vars{
		"engines":      strings.Join(names, ","),
		"engine":       names[0],
		"compression":  string(server.CompressionOn),
		"compressions": string(server.CompressionOn) + "," + string(server.CompressionContext) + "," + string(server.CompressionOff),
		"slow":         string(server.SlowDisconnect),
		"slows":        string(server.SlowDisconnect) + "," + string(server.SlowDrop),
	}
	for name, value := range map[string]any{
		"tls_handshakes_max":         server.DefaultTLSHandshakesMax,
		"defer_accept":               server.DefaultDeferAccept,
		"handshakes_max":             server.DefaultHandshakesMax,
		"handshake_max_bytes":        server.DefaultHandshakeMaxBytes,
		"handshake_timeout":          server.DefaultHandshakeTimeout,
		"authorize_max_pending":      server.DefaultAuthorizeMaxPending,
		"message_max_bytes":          server.DefaultMessageMaxBytes,
		"message_max_fragments":      server.DefaultMessageMaxFragments,
		"echo_message_max_bytes":     echoMessageMaxBytes,
		"echo_message_max_fragments": echoMessageMaxFragments,
		"pending_max_bytes":          server.DefaultPendingMaxBytes,
		"lag_max_bytes":              server.DefaultLagMaxBytes,
		"default_gc_percent":         strconv.Itoa(defaultGCPercent),
		"history_max_bytes":          server.DefaultHistoryMaxBytes,
		"idempotency_age":            server.DefaultIdempotencyAge.String(),
		"data_max_depth":             server.DefaultDataMaxDepth,
		"subscriptions_max":          server.DefaultSubscriptionsMax,
		"channel_name_max":           server.DefaultChannelNameMaxBytes,
		"inbox_max_entries":          server.DefaultInboxMaxEntries,
		"inbox_max_bytes":            server.DefaultInboxMaxBytes,
		"message_timeout":            server.DefaultMessageTimeout,
		"publish_body_max_bytes":     api.DefaultPublishBodyMaxBytes,
		"batch_max_items":            api.DefaultBatchMaxItems,
		"ping_interval":              server.DefaultPingInterval,
		"pong_timeout":               server.DefaultPongTimeout,
		"write_stall_timeout":        server.DefaultWriteStallTimeout,
		"close_timeout":              server.DefaultCloseTimeout,
	} {
		vars[name] = fmt.Sprint(value)
	}
	return vars
}
