package clustertest

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/natstest"
)

// NATS is a Backend: a server with JetStream, and a link from each node to it.
type NATS struct {
	links
	t      testing.TB
	server *natstest.Server
}

// NewNATS starts NATS for some nodes. The test's main function is natstest.Main.
func NewNATS(t testing.TB, nodes int) *NATS {
	s := natstest.Start(t)
	return &NATS{newLinks(t, nodes, strings.TrimPrefix(s.URL(), "nats://")), t, s}
}

// Flags returns those of node i.
func (b *NATS) Flags(i int) []string { return []string{"--broker", "nats://" + b.links[i].Addr()} }

// restart kills the server and starts it again.
func (b *NATS) restart(rng *rand.Rand, wipe bool) {
	b.server.Kill()
	pause(rng)
	if wipe {
		if err := os.RemoveAll(b.server.Dir()); err != nil {
			b.t.Fatal(err)
		}
	}
	b.server.Begin()
}

func (b *NATS) freeze(d time.Duration) {
	b.server.Freeze()
	time.Sleep(d)
	b.server.Thaw()
}

// Faults are those of links and of NATS.
func (b *NATS) Faults(*Rig) []Fault {
	return append(b.links.faults(),
		Fault{Name: "all connections cut", Do: func(*rand.Rand) { b.server.Cut() }},
		Fault{Name: "stop NATS for 1 s", Do: func(*rand.Rand) { b.freeze(time.Second) }},
		Fault{Name: "stop NATS for 10 s", Do: func(*rand.Rand) { b.freeze(10 * time.Second) }},
		Fault{Name: "kill NATS, back with its files", Loses: true, Do: func(rng *rand.Rand) { b.restart(rng, false) }},
		Fault{Name: "kill NATS, back empty", Loses: true, Do: func(rng *rand.Rand) { b.restart(rng, true) }},
	)
}
