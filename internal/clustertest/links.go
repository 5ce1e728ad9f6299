package clustertest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roostws/roost/internal/badnetwork"
)

// links are those from each node to the broker.
type links []*badnetwork.Link

func newLinks(t testing.TB, nodes int, broker string) (all links) {
	for range nodes {
		all = append(all, badnetwork.NewLink(t, broker))
	}
	return all
}

func (l links) cut() {
	for _, k := range l {
		k.Cut()
	}
}

func (l links) heal() {
	for _, k := range l {
		k.Heal()
	}
}

// pause lets 100 to 1,000 ms go by: messages are published meanwhile.
func pause(rng *rand.Rand) { time.Sleep(time.Duration(100+rng.IntN(900)) * time.Millisecond) }

// faults are what can happen to one of them.
func (l links) faults() []Fault {
	one := func(rng *rand.Rand) *badnetwork.Link { return l[rng.IntN(len(l))] }
	return []Fault{
		{Name: "cut a node from the broker", Do: func(rng *rand.Rand) {
			k := one(rng)
			k.Cut()
			time.Sleep(time.Duration(500+rng.IntN(2500)) * time.Millisecond)
			k.Heal()
		}},
		{Name: "a link stands for less than 3 s", Do: func(rng *rand.Rand) {
			k := one(rng)
			k.Stall()
			time.Sleep(time.Duration(200+rng.IntN(2300)) * time.Millisecond)
			k.Heal()
		}},
		{Name: "partition a node from the broker for 5 s", Do: func(rng *rand.Rand) {
			k := one(rng)
			k.Stall()
			time.Sleep(5 * time.Second)
			k.Heal()
		}},
	}
}
