package clustertest

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/badnetwork"
	"github.com/roostws/roost/internal/redistest"
)

// Redis is a Backend: a server and its replica, and a link from each node to the server.
type Redis struct {
	links
	t                testing.TB
	primary, replica *redistest.Server
	replication      *badnetwork.Link
}

// NewRedis starts Redis for some nodes. Both servers save what they do, so that one that
// was killed comes back with it.
func NewRedis(t testing.TB, nodes int) *Redis {
	b := &Redis{t: t}
	start := func() *redistest.Server {
		return redistest.Start(t, "--appendonly", "yes", "--appendfsync", "no", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
	}
	b.primary, b.replica = start(), start()
	b.links = newLinks(t, nodes, b.primary.Addr())
	b.replication = badnetwork.NewLink(t, b.primary.Addr())
	b.replicate()
	return b
}

// Flags returns those of node i.
func (b *Redis) Flags(i int) []string { return []string{"--broker", "redis://" + b.links[i].Addr()} }

// replicate makes the replica one of the primary, and waits until it has everything.
func (b *Redis) replicate() {
	host, port, _ := strings.Cut(b.replication.Addr(), ":")
	b.replica.Must("REPLICAOF", host, port)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		// A list of replication: role, host, port, state.
		if info, err := b.replica.Info("replication"); err == nil && strings.Contains(info, "master_link_status:up") {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatal("the replica does not come")
		}
	}
}

// promote puts the replica in the place of the primary. It lacks what was written lately.
// Until the links are moved, one after the other, the primary that was replaced goes on if
// it lives: then there are two memories.
func (b *Redis) promote(rng *rand.Rand, alive bool) {
	b.replication.Stall()
	pause(rng)
	if !alive {
		b.primary.Kill()
	}
	b.replica.Must("REPLICAOF", "NO", "ONE")
	old := b.primary
	b.primary, b.replica = b.replica, old
	for _, k := range rng.Perm(len(b.links)) {
		b.links[k].To(b.primary.Addr())
		if alive {
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		}
	}
	b.replication.To(b.primary.Addr())
	b.replication.Heal()
	old.Kill()
	old.Wipe()
	old.Begin()
	b.replicate()
}

// restart kills the primary and starts it again.
func (b *Redis) restart(rng *rand.Rand, wipe bool) {
	b.primary.Kill()
	pause(rng)
	if wipe {
		b.primary.Wipe()
	}
	b.primary.Begin()
}

func (b *Redis) freeze(d time.Duration) {
	b.primary.Freeze()
	time.Sleep(d)
	b.primary.Thaw()
}

// Faults are those of links and of Redis.
func (b *Redis) Faults(*Rig) []Fault {
	return append(b.links.faults(), []Fault{
		{Name: "all subscriptions cut", Do: func(*rand.Rand) { b.primary.Must("CLIENT", "KILL", "TYPE", "pubsub") }},
		{Name: "all commands cut", Do: func(*rand.Rand) { b.primary.Must("CLIENT", "KILL", "TYPE", "normal") }},
		{Name: "stop Redis for 1 s", Do: func(*rand.Rand) { b.freeze(time.Second) }},
		{Name: "stop Redis for 10 s", Do: func(*rand.Rand) { b.freeze(10 * time.Second) }},
		{Name: "kill Redis, back with its data", Loses: true, Do: func(rng *rand.Rand) { b.restart(rng, false) }},
		{Name: "kill Redis, back empty", Loses: true, Do: func(rng *rand.Rand) { b.restart(rng, true) }},
		{Name: "flush Redis", Loses: true, Do: func(*rand.Rand) { b.primary.Must("FLUSHALL") }},
		{Name: "a replica that lacks the last writes", Loses: true, Do: func(rng *rand.Rand) { b.promote(rng, false) }},
		{Name: "a replica, while the old one lives", Loses: true, Do: func(rng *rand.Rand) { b.promote(rng, true) }},
	}...)
}

// Outages are the ways in which Redis can be away.
func (b *Redis) Outages() []Outage {
	scripts := func() int {
		info, err := b.primary.Info("commandstats")
		if err != nil {
			b.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
		number, _, _ := strings.Cut(rest, ",")
		n, _ := strconv.Atoi(number) // none: 0
		return n
	}
	reset := func() { b.primary.Must("CONFIG", "RESETSTAT") }
	// A replica that comes back to it fences the server once more, at some moment.
	kill := func() {
		b.replica.Must("REPLICAOF", "NO", "ONE")
		b.primary.Kill()
	}
	return []Outage{
		{Name: "stopped", Begin: b.primary.Freeze, End: b.primary.Thaw},
		{Name: "cut off", Begin: b.links.cut, End: func() { reset(); b.links.heal() }, Reads: scripts},
		{Name: "killed, back with its data", Begin: kill, End: b.primary.Begin, Loses: true, Reads: scripts},
		{Name: "killed, back empty", Begin: kill, End: func() { b.primary.Wipe(); b.primary.Begin() }, Loses: true, Reads: scripts},
	}
}
