package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/netpoll/gnet"
	"github.com/roostws/roost/server"
)

// parse is the command line without running it.
func parse(t *testing.T, args ...string) (*CLI, error) {
	t.Helper()
	cli, file := new(CLI), new(configFile)
	if _, err := newParser(cli, file).Parse(args); err != nil {
		return cli, parseError(err, file)
	}
	return cli, nil
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// Each field of server.Config has a flag, or another way to set it.
func TestEveryConfigFieldIsAFlag(t *testing.T) {
	t.Parallel()
	otherwise := map[string]string{
		"Listen":         "is --addr",
		"ListenTLS":      "is --tls-addr",
		"TLS":            "is --tls-cert and --tls-key",
		"Driver":         "is --engine, a name",
		"KeepGOMAXPROCS": "is for embedders: the environment variable GOMAXPROCS does it here",
		"Namespaces":     "is a list in the configuration file",
		"Application":    "is put together from the flags of the native protocol",
		"Events":         "is set by those of web hooks",
		"Handler":        "is chosen by --echo, --relay and --demo",
		"HTTP":           "is chosen by --demo",
		"Stats":          "is what web hooks, --ask-url and tokens count",
		"Logger":         "is --log-level and --log-format",
		"NodeVersion":    "is that of the binary",
	}
	parser := newParser(new(CLI), new(configFile))
	for field := range reflect.TypeFor[server.Config]().Fields() {
		if otherwise[field.Name] != "" {
			continue
		}
		fields := []reflect.StructField{field}
		if field.Type.Kind() == reflect.Struct {
			fields = reflect.VisibleFields(field.Type)
		}
		for _, field := range fields {
			if otherwise[field.Name] != "" {
				continue
			}
			if name := flagOf("server: Config", field.Name); serveFlag(parser, name) == nil {
				t.Errorf("server.Config.%s has no flag --%s", field.Name, name)
			}
		}
	}
}

func TestEngineFlag(t *testing.T) {
	t.Parallel()
	for _, want := range engines.All() {
		cli, err := parse(t, "serve", "--engine", want.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := cli.Serve.config(nil).Engine.Driver; got != want {
			t.Errorf("--engine %s became %v", want.Name(), got)
		}
	}
	if _, err := parse(t, "serve", "--engine", "steam"); err == nil {
		t.Error("--engine steam was taken")
	}
}

func serveFlag(parser *kong.Kong, name string) *kong.Flag {
	for _, flag := range serveFlags(parser) {
		if flag.Name == name {
			return flag
		}
	}
	return nil
}

func serveFlags(parser *kong.Kong) []*kong.Flag {
	for _, command := range parser.Model.Children {
		if command.Name == "serve" {
			return command.Flags
		}
	}
	return nil
}

// What a flag sets arrives in the configuration.
func TestFlagsReachTheConfig(t *testing.T) {
	t.Parallel()
	cli, err := parse(t, "serve", "--loops", "3", "--engine", "gnet", "--compression", "off", "--origins", "*", "--subprotocols", "a,b",
		"--defer-accept", "0s", "--no-io-uring", "--max-connections", "9", "--slow-consumer", "drop", "--ping-interval", "7s", "--trusted-proxies", "10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	want := server.Config{
		Listen: []string{defaultAddr}, Engine: server.Engine{Driver: gnet.Driver, Loops: 3}, Handshake: server.Handshake{Compression: server.CompressionOff, Origins: []string{"*"}, Subprotocols: []string{"a", "b"}},
		Sockets: server.Sockets{DeferAccept: -1, NoIOURing: true}, Limits: server.Limits{MaxConnections: 9, SlowConsumer: server.SlowDrop},
		Timeouts: server.Timeouts{PingInterval: 7 * time.Second}, Proxies: server.Proxies{TrustedProxies: []string{"10.0.0.0/8"}},
	}
	if got := cli.Serve.config(nil); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args        []string
		plain, with []string
	}{
		{nil, []string{"127.0.0.1:8080"}, nil},
		{[]string{"--addr", "9003"}, []string{"127.0.0.1:9003"}, nil},
		{[]string{"--addr", ":9003", "--addr", "unix:/tmp/s"}, []string{":9003", "unix:/tmp/s"}, nil},
		{[]string{"--tls-cert", "x", "--tls-key", "y"}, nil, []string{"127.0.0.1:8080"}},
		{[]string{"--addr", ":1", "--tls-cert", "x", "--tls-key", "y"}, nil, []string{":1"}},
		{[]string{"--addr", ":1", "--tls-addr", "2", "--tls-cert", "x", "--tls-key", "y"}, []string{":1"}, []string{"127.0.0.1:2"}},
	} {
		cli, err := parse(t, append([]string{"serve"}, tc.args...)...)
		if err != nil {
			t.Errorf("%q: %v", tc.args, err)
			continue
		}
		if c := cli.Serve.config(nil); !reflect.DeepEqual(c.Listen, tc.plain) || !reflect.DeepEqual(c.ListenTLS, tc.with) {
			t.Errorf("%q: listens on %q, with TLS on %q; want %q and %q", tc.args, c.Listen, c.ListenTLS, tc.plain, tc.with)
		}
	}
}

func TestFlagsWinOverEnvironmentOverFile(t *testing.T) {
	file := writeFile(t, "roost.yaml", `
serve:
  addr: ["127.0.0.1:1", "unix:/tmp/x"]
  loops: 2
  message-rate: 20
  ping-interval: 30s
  relay: true
  log-level: warn
`)
	t.Setenv("ROOST_LOOPS", "3")
	t.Setenv("ROOST_MESSAGE_RATE", "30")
	cli, err := parse(t, "serve", "--config", file, "--message-rate", "40")
	if err != nil {
		t.Fatal(err)
	}
	s := cli.Serve
	if want := []string{"127.0.0.1:1", "unix:/tmp/x"}; !reflect.DeepEqual(s.Addr, want) {
		t.Errorf("addr from the file: %q, want %q", s.Addr, want)
	}
	if s.Timeouts.PingInterval != 30*time.Second || !s.Relay || s.LogLevel != slog.LevelWarn {
		t.Errorf("from the file: ping interval %v, relay %v, log level %v; want 30s, true, WARN", s.Timeouts.PingInterval, s.Relay, s.LogLevel)
	}
	if s.Loops != 3 {
		t.Errorf("loops = %d, want the environment's 3", s.Loops)
	}
	if s.Limits.MessageRate != 40 {
		t.Errorf("message rate = %d, want the command line's 40", s.Limits.MessageRate)
	}
}

func TestConfigFileNamedByTheEnvironment(t *testing.T) {
	t.Setenv("ROOST_CONFIG", writeFile(t, "roost.yaml", "serve:\n  loops: 5\n"))
	cli, err := parse(t, "serve")
	if err != nil {
		t.Fatal(err)
	}
	if cli.Serve.Loops != 5 {
		t.Errorf("loops = %d, want 5 from the file in ROOST_CONFIG", cli.Serve.Loops)
	}
}

// Every refusal names what is wrong and what would be right.
func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		file string // of --config
		env  [2]string
		want []string
	}{
		{name: "two behaviours", args: []string{"serve", "--echo", "--demo"},
			want: []string{"--echo, --relay and --demo exclude each other", "choose one"}},
		{name: "two behaviours from two places", args: []string{"serve", "--echo"}, env: [2]string{"ROOST_RELAY", "true"},
			want: []string{"exclude each other"}},
		{name: "unknown engine", args: []string{"serve", "--engine", "uring"},
			want: []string{"--engine", `"epoll"`, `"gnet"`, "uring"}},
		{name: "not a number", args: []string{"serve", "--loops", "many"},
			want: []string{"--loops", "many"}},
		{name: "not a number in the environment", args: []string{"serve"}, env: [2]string{"ROOST_LOOPS", "many"},
			want: []string{"ROOST_LOOPS", "many"}},
		{name: "a duration without unit", args: []string{"serve", "--ping-interval", "45"},
			want: []string{"--ping-interval", "45"}},
		{name: "out of range", args: []string{"serve", "--pending-max-bytes", "5", "--addr", "127.0.0.1:0"},
			want: []string{"--pending-max-bytes is 5", "1024"}},
		{name: "too many loops", args: []string{"serve", "--loops", "1000", "--addr", "127.0.0.1:0"},
			want: []string{"--loops is 1000", "256"}},
		{name: "no port", args: []string{"serve", "--addr", "localhost"},
			want: []string{`--addr "localhost" has no port`, "host:port"}},
		{name: "TLS without a key", args: []string{"serve", "--tls-addr", ":0", "--tls-cert", "x.pem"},
			want: []string{"--tls-cert and --tls-key need each other"}},
		{name: "a certificate that is not there", args: []string{"serve", "--tls-addr", ":0", "--tls-cert", "/nothing/x.pem", "--tls-key", "/nothing/x.key"},
			want: []string{"--tls-cert", "/nothing/x.pem"}},
		{name: "negative limit", args: []string{"serve", "--max-connections=-1"},
			want: []string{"--max-connections is -1"}},
		{name: "two that keep histories", args: []string{"serve", "--history-dir", "h", "--broker", "redis://127.0.0.1"},
			want: []string{"--history-dir and --broker"}},
		{name: "nothing to sync", args: []string{"serve", "--history-sync"},
			want: []string{"--history-sync needs --history-dir"}},
		{name: "a cluster that forgets", args: []string{"serve", "--cluster", "127.0.0.1:1"},
			want: []string{"--cluster needs --history-dir"}},
		{name: "a cluster of two", args: []string{"serve", "--history-dir", "h", "--cluster", "127.0.0.1:1,127.0.0.2:1", "--cluster-addr", "127.0.0.1:1"},
			want: []string{"--cluster", "3 servers at least"}},
		{name: "a broker without a scheme", args: []string{"serve", "--broker", "localhost:4222"}, want: []string{"begins with redis://", "nats://"}},
		{name: "a broker with another scheme", args: []string{"serve", "--broker", "http://h:4222"}, want: []string{"begins with redis://", "nats://"}},
		{name: "a cluster without its own address", args: []string{"serve", "--history-dir", "h", "--cluster", "127.0.0.1:6222,127.0.0.2:6222,127.0.0.3:6222"},
			want: []string{"--cluster needs --cluster-addr"}},
		{name: "a cluster with another address", args: []string{"serve", "--history-dir", "h", "--cluster", "127.0.0.1:6222,127.0.0.2:6222,127.0.0.3:6222", "--cluster-addr", "localhost:6222"},
			want: []string{"--cluster needs --cluster-addr"}},
		{name: "a broker of another kind", args: []string{"serve", "--broker", "nats://h?replicas=3"},
			want: []string{"--broker", "storage=file"}},
		{name: "unknown flag", args: []string{"serve", "--max-connection", "5"},
			want: []string{"--max-connection", "--max-connections"}},
		{name: "unknown command", args: []string{"server"},
			want: []string{"server"}},
		{name: "unknown key in the file", args: []string{"serve"}, file: "serve:\n  max_connections: 5\n",
			want: []string{"roost.yaml:2: roost serve has no setting max_connections"}},
		{name: "unknown section in the file", args: []string{"serve"}, file: "server:\n  loops: 5\n",
			want: []string{`"server"`, "no such command"}},
		{name: "wrong value in the file", args: []string{"serve"}, file: "serve:\n  loops: many\n",
			want: []string{"roost.yaml:2: loops is", "many", "want a whole number"}},
		{name: "a bad duration in the file", args: []string{"serve"}, file: "serve:\n\n  ping-interval: 5\n",
			want: []string{`roost.yaml:3: ping-interval is "5": want a duration (30s, 5m, 24h)`}},
		{name: "neither true nor false in the file", args: []string{"serve"}, file: "serve:\n  relay: perhaps\n",
			want: []string{`roost.yaml:2: relay is "perhaps": want true or false`}},
		{name: "out of range in the file", args: []string{"serve"}, file: "serve:\n  addr: [0]\n  pending-max-bytes: 5\n",
			want: []string{"roost.yaml:3: pending-max-bytes is 5: want 1024 to 1073741824"}},
		{name: "a list for a number", args: []string{"serve"}, file: "serve:\n  loops: [1, 2]\n",
			want: []string{"roost.yaml:2: loops: want one value"}},
		{name: "twice in the file", args: []string{"serve"}, file: "serve:\n  loops: 1\n  loops: 2\n",
			want: []string{"roost.yaml:3: loops is set already in line 2"}},
		{name: "a section that is none", args: []string{"serve"}, file: "serve: 5\n",
			want: []string{"roost.yaml:1: the section serve holds no settings"}},
		{name: "no sections", args: []string{"serve"}, file: "hello\n",
			want: []string{"roost.yaml:1: want a section for each command"}},
		{name: "not YAML", args: []string{"serve"}, file: "serve: [\n",
			want: []string{"roost.yaml is not YAML: line 1:"}},
		{name: "no such file", args: []string{"serve", "--config", "/nothing/here.yaml"},
			want: []string{"/nothing/here.yaml"}},
		{name: "doctor: negative target", args: []string{"doctor", "--target=-5"},
			want: []string{"--target is -5"}},
		{name: "doctor: --yes alone", args: []string{"doctor", "--yes"},
			want: []string{"--yes", "--fix"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := tc.args
			if tc.file != "" {
				args = append(args, "--config", writeFile(t, "roost.yaml", tc.file))
			}
			if tc.env[0] != "" {
				t.Setenv(tc.env[0], tc.env[1])
			} else {
				t.Parallel()
			}
			var out, errs strings.Builder
			code := run(args, strings.NewReader(""), &out, &errs)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			for _, want := range tc.want {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("stderr %q lacks %q", errs.String(), want)
				}
			}
			if leak := regexp.MustCompile(`unmarshal|!!|\bint\b|64 bit| yaml:|server:|Config|strconv`).FindString(errs.String()); leak != "" {
				t.Errorf("stderr %q shows %q, which is for Go programmers", errs.String(), leak)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"serve", "doctor", "version", "Examples:", "Exit codes:"}},
		{[]string{"--help"}, []string{"serve", "doctor", "version"}},
		{[]string{"serve", "--help"}, []string{"--max-connections", "ROOST_MAX_CONNECTIONS", "(45s)", "(65536 bytes)", "Deadlines", "roost serve --demo"}},
		{[]string{"doctor", "--help"}, []string{"--target", "--fix", "--json", "docs/tuning.md"}},
	} {
		var out, errs strings.Builder
		if code := run(tc.args, strings.NewReader(""), &out, &errs); code != exitOK {
			t.Errorf("%q: exit code %d, want 0", tc.args, code)
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q: help lacks %q", tc.args, want)
			}
		}
		for i, line := range strings.Split(out.String(), "\n") {
			if len(line) > 100 {
				t.Errorf("%q: line %d is wider than a terminal: %q", tc.args, i+1, line)
			}
		}
	}
}

func TestFitConnections(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		asked  int
		nofile uint64
		want   int
	}{
		{0, 20_000, 19_736},
		{0, 1024, 950},
		{0, 1 << 40, 1_000_000}, // macOS: as good as unlimited
		{19_736, 20_000, 19_736},
		{5, 20_000, 5},
		{19_737, 20_000, 19_736},
		{1_000_000, 1_000_000, 989_936},
	} {
		if got, err := fitConnections(tc.asked, tc.nofile); err != nil || got != tc.want {
			t.Errorf("fitConnections(%d, %d) = %d, %v; want %d", tc.asked, tc.nofile, got, err, tc.want)
		}
	}
	if got, err := fitConnections(0, 64); err == nil || !strings.Contains(err.Error(), "ulimit -n ") {
		t.Errorf("fitConnections(0, 64) = %d, %v; want an error with what to type", got, err)
	}
}
