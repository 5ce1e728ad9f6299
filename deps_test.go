package roost

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/roostws/roost"

// engineLibraries are the libraries of engines other than epoll, with what they
// bring along.
var engineLibraries = []string{
	"github.com/panjf2000/gnet/v2", "github.com/panjf2000/ants/v2", "go.uber.org/zap",
	"gopkg.in/natefinch/lumberjack.v2", "github.com/mailru/easygo",
}

// aboveNetpoll is what no part of netpoll may know.
var aboveNetpoll = []string{module + "/frame", module + "/server", "github.com/gobwas/ws", "net/http", "log", "log/slog"}

// layers tells who may import whom. A package is under the longest folder that
// fits; folders within folders are layers of their own only where they stand
// here. may lists what is outside of the standard library, direct imports
// only; never lists what must not even be reached through others (packages of
// the standard library: not be imported; what other people's libraries do with
// them is theirs).
var layers = []struct {
	folder string
	may    []string
	never  []string
	why    string
}{
	{"", nil, nil, "the root holds documentation and tests of the whole tree"},
	{
		"frame",
		[]string{"github.com/gobwas/ws", "github.com/klauspost/compress/flate"},
		[]string{module + "/netpoll", module + "/server", "net", "os", "time", "log", "log/slog"},
		"framing is functions on byte slices: no socket, no clock, no goroutine, no log, so that it is tested and fuzzed without any",
	},
	{
		"netpoll",
		nil,
		slices.Concat([]string{module + "/frame", module + "/server", "net/http", "log", "log/slog"}, engineLibraries),
		"the contract stands alone: any engine can keep it, any protocol can use it",
	},
	{
		"netpoll/internal",
		[]string{"golang.org/x/sys", module + "/netpoll", module + "/internal/offheap", module + "/internal/procs"},
		slices.Concat(aboveNetpoll, engineLibraries),
		"what engines share is not bound to a library of one of them",
	},
	{
		"netpoll/epoll",
		[]string{"golang.org/x/sys", module + "/netpoll", module + "/internal/procs"},
		slices.Concat(aboveNetpoll, engineLibraries),
		"a program that embeds epoll links no other engine",
	},
	{
		"netpoll/easygo",
		[]string{"github.com/mailru/easygo/netpoll", "golang.org/x/sys", module + "/netpoll"},
		append(aboveNetpoll, "github.com/panjf2000/gnet/v2"),
		"one engine, one library",
	},
	{
		"netpoll/gnet",
		[]string{"github.com/panjf2000/gnet/v2", "golang.org/x/sys", module + "/netpoll"},
		append(aboveNetpoll, "github.com/mailru/easygo"),
		"one engine, one library",
	},
	{
		"netpoll/engines",
		[]string{module + "/netpoll"},
		aboveNetpoll,
		"the list of engines is for programs that offer a choice",
	},
	{
		"netpoll/netpolltest",
		[]string{"golang.org/x/sys", module + "/netpoll"},
		slices.Concat(aboveNetpoll, engineLibraries),
		"the contract's test takes any engine, and names none",
	},
	{
		"server",
		[]string{module + "/frame", module + "/netpoll", module + "/server", module + "/internal", "golang.org/x/sys", "github.com/gobwas/ws", "github.com/hashicorp/golang-lru/v2/simplelru"},
		[]string{module + "/cmd", module + "/bench", module + "/web", "github.com/alecthomas/kong", "go.yaml.in/yaml", "gonum.org",
			"github.com/redis/rueidis", "github.com/nats-io"},
		"the library is embedded in other people's programs: no command line, no page, no plot comes with it, and a broker only with the package of that broker",
	},
	{
		"server/broker",
		[]string{module + "/frame", module + "/server/history", module + "/server/broker"},
		[]string{module + "/server/internal", module + "/server/protocol", module + "/netpoll"},
		"a broker knows messages and positions, and nothing of who gets them; brokers of other people import the contract",
	},
	{
		"server/broker/redis",
		[]string{module + "/frame", module + "/server/history", module + "/server/broker", module + "/internal/retry", "github.com/redis/rueidis"},
		[]string{module + "/server/internal", module + "/server/protocol", module + "/netpoll"},
		"the library for Redis comes with this package alone",
	},
	{
		"server/broker/nats",
		[]string{module + "/frame", module + "/server/history", module + "/server/broker", module + "/internal/retry", "github.com/nats-io/nats.go"},
		[]string{module + "/server/internal", module + "/server/protocol", module + "/netpoll", "github.com/nats-io/nats-server"},
		"the client library for NATS comes with this package alone, and no server of NATS with it",
	},
	{
		"server/broker/embedded",
		[]string{module + "/server/broker", "github.com/nats-io/nats-server/v2/server"},
		[]string{module + "/server/internal", module + "/server/protocol", module + "/netpoll"},
		"the server of NATS, 9 MB of a binary, comes with this package alone",
	},
	{
		"server/internal/intake",
		[]string{module + "/netpoll", module + "/server/internal/handshake", module + "/server/internal/gcra"},
		[]string{module + "/server/internal/shard"},
		"what happens before a connection is open is tested without a shard, and knows no frame (handshake reads the extensions header with package frame)",
	},
	{
		"server/internal/wire",
		[]string{module + "/frame", module + "/server/internal/jsonx"},
		[]string{module + "/netpoll", module + "/server/internal/shard"},
		"a wire is functions on byte slices: a new transport is one file, whatever sockets and shards do",
	},
	{
		"server/token",
		[]string{module + "/server", "github.com/golang-jwt/jwt/v5", "github.com/MicahParks/jwkset"},
		[]string{module + "/cmd", module + "/bench", module + "/web"},
		"a program that checks identities in another way does not carry JWT",
	},
	{
		"server/api",
		[]string{module + "/frame", module + "/server", "golang.org/x/time/rate"},
		[]string{module + "/cmd", module + "/bench", module + "/web"},
		"a program that publishes from Go does not carry the HTTP API",
	},
	{
		"server/metrics",
		[]string{module + "/server", "github.com/prometheus/client_golang", "golang.org/x/sys"},
		[]string{module + "/cmd", module + "/bench", module + "/web"},
		"a program without Prometheus does not carry its library",
	},
	{
		"internal/badnetwork",
		nil,
		[]string{module + "/netpoll", module + "/server", module + "/client"},
		"tests put it between a server and a client; it knows neither",
	},
	{
		"internal/offheap",
		[]string{"golang.org/x/sys"},
		[]string{module + "/netpoll", module + "/server"},
		"memory outside of the heap is a tool for layers that know nothing of each other",
	},
	{
		"internal/procs",
		nil,
		[]string{module + "/netpoll", module + "/server"},
		"it counts for the whole process, whichever layer asks",
	},
	{
		"internal/retry",
		nil,
		[]string{module + "/server", module + "/client"},
		"both ends wait in the same way, and neither carries the other",
	},
	{
		"internal/wstest",
		[]string{"github.com/gobwas/ws"},
		[]string{module + "/frame", module + "/netpoll", module + "/server", module + "/client"},
		"the client of the tests shares no code with what is tested",
	},
	{
		"internal/nodetest",
		[]string{module + "/frame", module + "/server", module + "/client"},
		nil,
		"tests of several servers on one broker, over the wire",
	},
	{
		"internal/clustertest",
		[]string{"github.com/gobwas/ws", module + "/internal/badnetwork", module + "/internal/redistest", module + "/internal/natstest"},
		[]string{module + "/frame", module + "/netpoll", module + "/server", module + "/client"},
		"it tries to break processes from outside, and shares no code with them",
	},
	{
		"internal/redistest",
		nil,
		[]string{module + "/netpoll", module + "/server", module + "/client"},
		"it runs Redis for tests, and knows nothing of what they test",
	},
	{
		"internal/natstest",
		[]string{"github.com/nats-io/nats-server/v2/server"},
		[]string{module + "/netpoll", module + "/server", module + "/client"},
		"it runs NATS for tests, and knows nothing of what they test",
	},
	{
		"internal/leaktest",
		nil,
		[]string{module + "/netpoll", module + "/server", module + "/client"},
		"the tests of every package use it",
	},
	{
		"client",
		[]string{module + "/frame", module + "/internal/retry", "github.com/gobwas/ws"},
		[]string{module + "/server", module + "/netpoll"},
		"a client must not carry the server",
	},
	{
		"web",
		[]string{"github.com/tdewolff/minify/v2"},
		[]string{module + "/server", module + "/netpoll", module + "/frame"},
		"pages are files: the package that serves them imports them",
	},
	{
		"cmd/roost",
		[]string{module + "/server", module + "/bench", module + "/client", module + "/web", module + "/frame", module + "/netpoll",
			module + "/internal/procs", module + "/cmd/roost/internal", "github.com/alecthomas/kong", "go.yaml.in/yaml/v3",
			"golang.org/x/sys/unix"}, // SO_REUSEPORT of the admin port
		[]string{module + "/bench/cmd", "gonum.org", "codeberg.org/go-fonts", "golang.org/x/image"},
		"the binary puts everything together; what it puts together knows nothing of flags. Its plots are SVG written by bench/report: a plotting library with its fonts made the binary 8 MB larger",
	},
	{
		"cmd/roost/internal/demo",
		[]string{module + "/server", module + "/frame", module + "/web", module + "/cmd/roost/internal/docsite", "golang.org/x/time/rate"},
		[]string{module + "/bench", module + "/client"},
		"the demo is an application like any other: it embeds the server",
	},
	{
		"cmd/roost/internal/docsite",
		[]string{module, "github.com/yuin/goldmark"},
		[]string{module + "/server", module + "/netpoll", module + "/bench", module + "/client"},
		"the documentation is files: what shows them needs no server. Only here is Markdown rendered",
	},
	{
		"cmd/roost/internal/doctor",
		nil,
		[]string{module + "/server", module + "/netpoll"},
		"the doctor reads files and reckons: it works where no server could start",
	},
	{
		"cmd/roost/internal/top",
		[]string{module + "/web", "github.com/prometheus/client_model/go", "github.com/prometheus/common", "golang.org/x/term"},
		[]string{module + "/server", module + "/netpoll"},
		"roost top knows of a server what it says over HTTP, and may be of another version",
	},
	{
		"cmd/roost/internal/storm",
		[]string{module + "/bench", module + "/frame"},
		[]string{module + "/server"},
		"the rehearsal knows of a server what goes over the wire; its servers are processes",
	},
	{
		"bench",
		[]string{module + "/frame", module + "/netpoll", module + "/bench", "golang.org/x/sys",
			"github.com/HdrHistogram/hdrhistogram-go", "github.com/golang-jwt/jwt/v5"},
		[]string{module + "/server", module + "/cmd", module + "/bench/report"},
		"a measurement goes over the wire: what is measured must not be able to help",
	},
	{
		"bench/report",
		[]string{module + "/bench", "github.com/HdrHistogram/hdrhistogram-go"},
		[]string{module + "/server", module + "/cmd", module + "/bench/cmd"},
		"a report shows results, whichever program measured them",
	},
	{
		"bench/cmd",
		[]string{module + "/bench", "golang.org/x/sys"},
		[]string{module + "/server", module + "/cmd"},
		"a measurement goes over the wire: what is measured must not be able to help",
	},
	{
		"bench/limit",
		[]string{"golang.org/x/sys"},
		[]string{module + "/frame", module + "/netpoll", module + "/server", "github.com/gobwas/ws"},
		"the limit is the least that any program could spend: not one line of ours may be in it",
	},
	{
		"examples",
		[]string{module + "/server", module + "/client"},
		[]string{module + "/cmd"},
		"an example has what an embedder has",
	},
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func list(t *testing.T, packages string, environment ...string) []listed {
	t.Helper()
	openSources(t)
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Standard", packages)
	cmd.Env = append(cmd.Environ(), environment...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// openSources opens every Go file: go test takes its last result again as long
// as what the test itself has opened is the same, and does not see what go list
// has read.
func openSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".go" {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		return f.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// under tells whether path is folder or in it.
func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func TestLayers(t *testing.T) {
	packages := list(t, "./...")
	standard := map[string]bool{"C": true}
	for _, p := range packages {
		if p.Standard {
			standard[p.ImportPath] = true
		}
	}
	seen := 0
	for _, p := range packages {
		if p.ImportPath != module && !under(p.ImportPath, module) {
			continue
		}
		seen++
		best := -1
		for i, layer := range layers {
			fits := layer.folder == "" && p.ImportPath == module || layer.folder != "" && under(p.ImportPath, module+"/"+layer.folder)
			if fits && (best < 0 || len(layer.folder) > len(layers[best].folder)) {
				best = i
			}
		}
		if best < 0 {
			t.Errorf("%s is in no layer: add it to the table, with what it may import and why", p.ImportPath)
			continue
		}
		layer := layers[best]
		forbidden := func(path string) bool {
			return slices.ContainsFunc(layer.never, func(never string) bool { return path == never || !standard[never] && under(path, never) })
		}
		for _, imported := range p.Imports {
			if standard[imported] && forbidden(imported) {
				t.Errorf("%s imports %s, and may not: %s", p.ImportPath, imported, layer.why)
			}
			if !standard[imported] && !slices.ContainsFunc(layer.may, func(may string) bool { return under(imported, may) }) {
				t.Errorf("%s imports %s, and may not: %s", p.ImportPath, imported, layer.why)
			}
		}
		for _, reached := range p.Deps {
			if !standard[reached] && forbidden(reached) {
				t.Errorf("%s reaches %s: %s", p.ImportPath, reached, layer.why)
			}
		}
	}
	if seen < 10 {
		t.Errorf("go list showed %d packages of ours: the test looks at the wrong place", seen)
	}
}

// TestServerLinksOneEngine: a program that embeds the server on Linux links the
// epoll engine, and not the libraries of the others.
func TestServerLinksOneEngine(t *testing.T) {
	epoll := false
	for _, p := range list(t, "./server", "GOOS=linux") {
		epoll = epoll || p.ImportPath == module+"/netpoll/epoll"
		for _, library := range engineLibraries {
			if under(p.ImportPath, library) {
				t.Errorf("the server reaches %s", p.ImportPath)
			}
		}
	}
	if !epoll {
		t.Error("the server does not reach its own engine: the test looks at the wrong place")
	}
}

// A folder named after nothing collects everything.
func TestNoFolderForLeftovers(t *testing.T) {
	for _, p := range list(t, "./...") {
		if !under(p.ImportPath, module) {
			continue
		}
		for _, name := range []string{"util", "utils", "common", "pkg", "types", "helpers", "misc"} {
			if strings.Contains(p.ImportPath+"/", "/"+name+"/") {
				t.Errorf("%s: put it beside its one user instead", p.ImportPath)
			}
		}
	}
}
