//go:build realclients

package clustertest_test

import (
	"flag"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/clustertest"
	"github.com/roostws/roost/internal/natstest"
)

// scripts/cluster.sh sets them.
var (
	seed     = flag.Uint64("seed", 0, "seed of TestExactness; 0 draws one")
	broker   = flag.String("broker", "redis", "what connects the nodes: redis or nats")
	nodes    = flag.Int("nodes", 3, "nodes")
	clients  = flag.Int("clients", 60, "clients")
	channels = flag.Int("channels", 12, "channels")
	messages = flag.Int("messages", 2000, "messages")
	faults   = flag.Int("faults", 2, "faults; 0: each once")
	only     = flag.String("only", "", "names of faults, with semicolons: no others are drawn")
	result   = flag.String("result", "", "file for the result, JSON")
	away     = flag.Duration("away", time.Second, "how long the broker is away in TestOutage")
	binary   = flag.String("binary", "", "a built cmd/roost; if empty, it is built")
)

func TestMain(m *testing.M) { natstest.Main(m) }

// build builds cmd/roost.
func build(t *testing.T) string {
	t.Helper()
	if *binary != "" {
		return *binary
	}
	file := filepath.Join(t.TempDir(), "roost")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", file, "github.com/roostws/roost/cmd/roost").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

// The promise of a cluster: whatever happens to nodes, links and broker, every client ends
// with exactly the right sequence of each epoch, or was told.
func TestExactness(t *testing.T) {
	o := clustertest.Options{
		Seed: *seed, Binary: build(t), Nodes: *nodes, Clients: *clients, Channels: *channels, Messages: *messages, Faults: *faults, Patience: 60 * time.Second,
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64() >> 1
	}
	if *only != "" {
		o.Only = strings.Split(*only, ";")
	}
	switch *broker {
	case "redis":
		o.Backend = clustertest.NewRedis(t, o.Nodes)
	case "nats":
		o.Backend = clustertest.NewNATS(t, o.Nodes)
	default:
		t.Fatalf("no broker %q", *broker)
	}
	t.Logf("again with: -run TestExactness -seed %d -broker %s -nodes %d -clients %d -channels %d -messages %d -faults %d -only %q",
		o.Seed, *broker, o.Nodes, o.Clients, o.Channels, o.Messages, *faults, *only)
	r := clustertest.Run(t, o)
	t.Logf("%s", r.Table())
	if *result != "" {
		if err := r.Write(*result); err != nil {
			t.Error(err)
		}
	}
	for _, v := range r.Violations {
		t.Error(v)
	}
	if r.Deliveries == 0 || r.Resumed == 0 || r.Cuts == 0 {
		t.Error("not everything that can happen has happened")
	}
}

// What docs/cluster.md says of a broker that is away. -away 5m by hand.
func TestOutage(t *testing.T) {
	file := build(t)
	for k := range clustertest.NewRedis(t, *nodes).Outages() {
		b := clustertest.NewRedis(t, *nodes)
		outage := b.Outages()[k]
		t.Run(outage.Name, func(t *testing.T) {
			clustertest.RunOutage(t, clustertest.Options{
				Binary: file, Nodes: *nodes, Clients: *clients, Channels: *channels, Messages: *messages, Backend: b, Patience: 60 * time.Second,
			}, outage, *away)
		})
	}
}
