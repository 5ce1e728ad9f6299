// Command roost keeps very many WebSocket clients connected to one machine.
//
//	roost serve      run the server
//	roost bench      measure a WebSocket server
//	roost storm      rehearse that all clients vanish and return
//	roost doctor     report how many connections this machine can hold
//	roost token      make a token for a client
//	roost publish    publish to a running server
//	roost subscribe  print what is published to channels
//	roost drain      let the clients of a running server go, and end it
//	roost top        show a running server, live
//	roost version    print the version of this binary
//
// It turns flags, environment and a configuration file into server.Config, signals
// into a graceful shutdown, and errors into exit codes. Everything else is in the
// packages that it imports.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/server/settings"
)

// Exit codes. 128 + the signal's number follows a second signal.
const (
	exitOK     = 0 // success, or ended by a first SIGTERM or SIGINT
	exitFailed = 1 // an error, or roost doctor --target does not fit
	exitUsage  = 2 // a flag, a variable or the configuration file is wrong
)

// usageError is a mistake in the command line, the environment or the file.
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
	Storm     StormCmd     `cmd:"" help:"Rehearse that all clients vanish and return, and that a server stops: with what Roost does about it, and without."`
	Doctor    DoctorCmd    `cmd:"" help:"Report how many connections this machine can hold, which limit comes first, and what to type to raise it."`
	Token     TokenCmd     `cmd:"" help:"Make a token for a client, or show what is wrong with one."`
	Publish   PublishCmd   `cmd:"" help:"Publish to a channel, a user or everybody, through a running server's admin port."`
	Subscribe SubscribeCmd `cmd:"" help:"Print what is published to channels, as a client of a running server."`
	Drain     DrainCmd     `cmd:"" help:"End a running server without a storm: its clients are closed at a set pace, each with a moment of its own to come back."`
	Top       TopCmd       `cmd:"" help:"Show a running server, live: connections, rates, latencies, slow clients, the largest channels."`
	Version   VersionCmd   `cmd:"" help:"Print the version of this binary."`
}

const description = `Roost keeps 100,000 and more mostly idle WebSocket clients connected to one machine, and pushes to them.

Examples:
  roost serve --demo                      a chat page on http://localhost:8080
  roost serve --echo --addr 127.0.0.1:9000
  roost serve --relay --engine gnet --loops 4 --max-connections 100000
  roost bench echo ws://127.0.0.1:9000/   how fast is that, and at what cost?
  roost doctor --target 100000            can this machine hold that many?

Exit codes: 0 success or ended by SIGTERM or SIGINT, 1 error, 2 wrong flags or configuration, 128+N a second signal N.`

func main() {
	// Writing to a pipe without a reader returns an error instead of ending the
	// process: a server outlives the reader of its log. Other commands end with that
	// error.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are the standard streams of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is main for tests: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	var cli CLI
	var file configFile
	exited := -1
	parser := newParser(&cli, &file,
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
		return report(stderr, args[0], parseError(err, &file))
	}
	return report(stderr, args[0], flagError(ctx.Run(), &file))
}

// parseError returns the parser's error with flags and lines of the file in it.
func parseError(err error, file *configFile) error {
	var mistake fileError
	if errors.As(err, &mistake) {
		return usageError{mistake}
	}
	return usageError{flagError(err, file)}
}

// newParser returns the parser of the command line.
func newParser(cli *CLI, file *configFile, more ...kong.Option) *kong.Kong {
	parser, err := kong.New(cli, append(more,
		kong.Name("roost"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.Configuration(file.load),
		kong.FlagNamer(settings.Name),
		kong.IgnoreFields(notFlags),
		kong.KindMapper(reflect.Int, decoder(strconv.Atoi)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), decoder(time.ParseDuration)),
		kong.PostBuild(nameEnvironment),
		kong.PostBuild(describeFlags),
		serveGroups,
		// The variables' names follow from a rule that the help states once.
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
		kong.Vars{
			"engines": strings.Join(engines.Names(), ","),
			"engine":  engines.Names()[0],
		},
	)...)
	if err != nil {
		panic("the command line does not fit together: " + err.Error())
	}
	return parser
}

// report prints the error of a command and returns the exit code.
func report(stderr io.Writer, command string, err error) int {
	var code exitCode
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, syscall.EPIPE) && command != "serve":
		return 128 + int(syscall.SIGPIPE) // roost subscribe news | head -1: as other programs end there
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "roost: %v\n", err)
		if !slices.Contains([]string{"serve", "bench", "storm", "doctor", "token", "publish", "subscribe", "drain", "top"}, command) {
			command = ""
		}
		fmt.Fprintf(stderr, "All flags, with their defaults: %s\n", strings.Join(strings.Fields("roost "+command+" --help"), " "))
		return exitUsage
	default:
		fmt.Fprintf(stderr, "roost: %v\n", err)
		return exitFailed
	}
}

// exitCode is an error that was already printed.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }
