//go:build realclients

package redis_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/internal/redistest"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/brokertest"
	"github.com/roostws/roost/server/broker/redis"
)

func nodeOf(t *testing.T, url string) broker.Broker {
	b, err := redis.New(redis.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Sentinels promote a replica that lacks what its primary has acknowledged: the nodes find
// it, every channel begins another epoch there, and no client is left with a hole.
func TestSentinel(t *testing.T) {
	t.Parallel()
	primary, replica := redistest.Start(t), redistest.Start(t)
	replica.ReplicaOf(primary)
	url := redistest.StartSentinels(t, primary)
	b := begun(t, redis.Options{URL: url})
	must(t, b, "h:1")
	at := must(t, b, "h:1")
	nodetest.Exactness(t, nodetest.Scenario{
		Seed: rand.Uint64(), Node: func() broker.Broker { return nodeOf(t, url) }, Messages: 200, Resets: true,
		Disturbances: []func(){
			func() { primary.Must("CLIENT", "KILL", "TYPE", "pubsub") },
			func() {
				primary.Kill()
				replica.Await("role:master", "INFO", "replication")
			},
			func() { primary.Begin() }, // the Sentinels make it a replica
		},
	})
	if again := insist(t, b, "h:1"); again.Epoch == at.Epoch {
		t.Errorf("on the promoted replica it goes on at %v, after %v", again, at)
	}
}

// Several servers side by side: each test of a broker, and one that is away hurts its own
// channels only.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	t.Run("broker", func(t *testing.T) {
		brokertest.Test(t, func(t *testing.T) *brokertest.Rig {
			list := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
			url, backwards := "", ""
			for _, s := range list {
				url, backwards = url+" "+s.URL(), s.URL()+" "+backwards
			}
			nodes := 0
			all := func(do func(s *redistest.Server)) func() {
				return func() {
					for _, s := range list {
						do(s)
					}
				}
			}
			return &brokertest.Rig{
				Node: func() broker.Broker {
					if nodes++; nodes%2 == 0 {
						return nodeOf(t, backwards)
					}
					return nodeOf(t, url)
				},
				Cut:  all(func(s *redistest.Server) { s.Must("CLIENT", "KILL", "TYPE", "pubsub") }),
				Stop: all((*redistest.Server).Kill), Return: all((*redistest.Server).Begin),
				Forget: all(func(s *redistest.Server) { s.Must("FLUSHALL") }),
			}
		})
	})
	t.Run("one away", func(t *testing.T) {
		first, second := redistest.Start(t), redistest.Start(t)
		b := begun(t, redis.Options{URL: first.URL() + " " + second.URL()})
		wait(t, "both", func() bool { return b.Health().Partly == nil })
		channels := map[string]string{} // by the server that has them
		for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			at := must(t, b, "h:"+name)
			reply, err := first.Do("EXISTS", "roost:m:h:"+name)
			if err != nil || at.Offset != 1 {
				t.Fatal(at, err)
			}
			channels[reply] = "h:" + name
		}
		if len(channels) != 2 {
			t.Fatalf("the channels are all on one server: %v", channels)
		}
		epoch := must(t, b, channels[":0"]).Epoch
		first.Kill()
		wait(t, "refusal", func() bool { _, err := publish(b, channels[":1"]); return err != nil })
		if at := must(t, b, channels[":0"]); at.Epoch != epoch {
			t.Errorf("a channel of the other server is at %v, its epoch was %s", at, epoch)
		}
		if h := b.Health(); h.Publishing != nil || h.Receiving != nil || h.Partly == nil || !strings.Contains(h.Partly.Error(), first.Addr()) {
			t.Errorf("health: %+v", h)
		}
		first.Begin()
		insist(t, b, channels[":1"])
		wait(t, "return", func() bool { return b.Health().Partly == nil })
		if at := must(t, b, channels[":0"]); at.Epoch != epoch {
			t.Errorf("a channel of the other server is at %v, its epoch was %s", at, epoch)
		}
	})
}

// startCluster starts a cluster, in which a primary that is silent for the timeout is
// replaced by its replica.
func startCluster(t *testing.T, timeout time.Duration) *redistest.Cluster {
	t.Helper()
	c := redistest.StartCluster(t, 3)
	for _, s := range append(append([]*redistest.Server(nil), c.Primaries...), c.Replicas...) {
		s.Must("CONFIG", "SET", "cluster-node-timeout", fmt.Sprint(timeout.Milliseconds()))
	}
	return c
}

// A Redis Cluster passes each test of a broker.
func TestClusterBroker(t *testing.T) {
	t.Parallel()
	c := startCluster(t, time.Minute)
	all := func(words ...string) func() {
		return func() {
			for _, s := range c.Primaries {
				s.Must(words...)
			}
		}
	}
	brokertest.Test(t, func(t *testing.T) *brokertest.Rig {
		all("FLUSHALL")()
		return &brokertest.Rig{
			Node:   func() broker.Broker { return nodeOf(t, c.URL()) },
			Cut:    all("CLIENT", "KILL", "TYPE", "pubsub"),
			Stop:   func() { stopAll(c.Primaries) },
			Return: func() { beginAll(c) },
			Forget: all("FLUSHALL"),
		}
	})
}

func stopAll(list []*redistest.Server) {
	for _, s := range list {
		s.Kill()
	}
}

func beginAll(c *redistest.Cluster) {
	for _, s := range c.Primaries {
		s.Begin()
	}
	for _, s := range c.Primaries {
		s.Must("CONFIG", "SET", "cluster-node-timeout", "60000")
		s.Await("cluster_state:ok", "CLUSTER", "INFO")
	}
}

// In a Redis Cluster slots move between servers, primaries fail and replicas take their
// place: no client is left with a hole.
func TestClusterExactness(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3*time.Second)
	nodetest.Exactness(t, nodetest.Scenario{
		Seed: rand.Uint64(), Node: func() broker.Broker { return nodeOf(t, c.URL()) }, Messages: 200, Resets: true,
		Disturbances: []func(){
			func() { c.Primaries[0].Must("CLIENT", "KILL", "TYPE", "pubsub") },
			func() { c.Primaries[1].Freeze(); time.Sleep(300 * time.Millisecond); c.Primaries[1].Thaw() },
			func() {
				c.Primaries[0].Kill()
				c.Replicas[0].Await("role:master", "INFO", "replication")
			},
			func() { c.Primaries[0].Begin() },
			func() {
				if from, key := c.Holder("*m:*"); from == c.Primaries[2] {
					c.MoveSlot(key, from, c.Primaries[1])
				} else if _, key := c.Holder("*{*"); from == c.Primaries[1] {
					c.MoveSlot(key, from, c.Primaries[2])
				}
			},
			func() { _, _ = c.Replicas[1].Do("CLUSTER", "FAILOVER") }, // unless a slow machine has done it
		},
	})
}

// The slot of a channel moves to another server: its subscribers are interrupted, attached
// there, and get what is published from then on.
func TestClusterMove(t *testing.T) {
	t.Parallel()
	c := startCluster(t, time.Minute)
	l := listener{attached: make(chan string, 10), messages: make(chan *broker.Message, 10), interrupted: make(chan bool, 10)}
	b := nodeOf(t, c.URL())
	if err := b.Start(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	b.Attach("h:1")
	await(t, l.attached)
	before := must(t, b, "h:1")
	if m := await(t, l.messages); m.Position != before {
		t.Errorf("%v arrived, want %v", m.Position, before)
	}
	from, key := c.Holder("*m:h:1")
	to := c.Primaries[0]
	if from == to {
		to = c.Primaries[1]
	}
	c.MoveSlot(key, from, to)
	if !await(t, l.interrupted) {
		t.Error("the channel was not interrupted")
	}
	await(t, l.attached)
	after := insist(t, b, "h:1")
	if m := await(t, l.messages); m.Position != after || after.Epoch == before.Epoch {
		t.Errorf("%v arrived, want %v, of another epoch than %v", m.Position, after, before)
	}
}

// await takes what has to come.
func await[T any](t *testing.T, c chan T) (value T) {
	t.Helper()
	select {
	case value = <-c:
	case <-time.After(40 * time.Second):
		t.Fatalf("%T: it takes too long", value)
	}
	return value
}
