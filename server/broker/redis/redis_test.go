//go:build realclients

package redis_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/internal/redistest"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/brokertest"
	"github.com/roostws/roost/server/broker/redis"
	"github.com/roostws/roost/server/history"
)

func node(t *testing.T, s *redistest.Server) broker.Broker {
	b, err := redis.New(redis.Options{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Several servers on one Redis that is cut off, stopped, killed, flushed, and started empty.
func TestNodesExactness(t *testing.T) {
	for name, lose := range map[string]bool{"cut and frozen": false, "killed and flushed": true} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t)
			cut := func() { s.Must("CLIENT", "KILL", "TYPE", "pubsub") }
			all := func() { s.Must("CLIENT", "KILL", "TYPE", "normal") }
			freeze := func() {
				s.Freeze()
				time.Sleep(500 * time.Millisecond)
				s.Thaw()
			}
			restart := func() {
				s.Kill()
				time.Sleep(100 * time.Millisecond)
				s.Begin()
			}
			disturbances := []func(){cut, all, freeze, cut}
			if lose {
				disturbances = append(disturbances, restart, func() { s.Must("FLUSHALL") }, restart, cut)
			}
			nodetest.Exactness(t, nodetest.Scenario{
				Seed: rand.Uint64(), Node: func() broker.Broker { return node(t, s) }, Disturbances: disturbances, Messages: 300, Resets: lose,
			})
		})
	}
}

// wait waits until done returns true.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it takes too long", what)
		}
	}
}

// deaf is a node that attaches nothing.
type deaf struct{ broker.Inbound }

func (deaf) Interrupted(error) {}

// publish publishes a message and waits for its place.
func publish(b broker.Broker, channel string) (at history.Position, err error) {
	done := make(chan struct{})
	b.Publish(&broker.Publication{
		Message: broker.Message{Channel: channel, Type: 1, Payload: []byte("x")}, Keep: broker.Keep{Messages: 100, Age: time.Hour},
	}, func(placed broker.Placed, failed error) {
		at, err = placed.Position, failed
		close(done)
	})
	<-done
	return at, err
}

// A process that becomes a replica is refused, and one that is promoted again has the data
// of another one, which may lack what it has acknowledged itself: it begins another epoch.
func TestDemoted(t *testing.T) {
	old, other := redistest.Start(t), redistest.Start(t)
	var nodes []broker.Broker
	for _, s := range []*redistest.Server{old, other} {
		s.Must("CONFIG", "SET", "repl-diskless-sync-delay", "0")
		b := node(t, s)
		if err := b.Start(deaf{}); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()
		wait(t, "connect", func() bool { return b.Health().Publishing == nil })
		nodes = append(nodes, b)
	}
	must := func() history.Position {
		t.Helper()
		at, err := publish(nodes[0], "h:1")
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	replicaOf := func(s, master *redistest.Server, kept string) {
		t.Helper()
		s.Must("REPLICAOF", "127.0.0.1", strings.TrimPrefix(master.URL(), "redis://127.0.0.1:"))
		wait(t, "replicate", func() bool {
			reply, _ := s.Do("XLEN", "roost:s:h:1")
			return reply == kept
		})
	}
	must()
	first := must()
	replicaOf(other, old, ":2")
	other.Must("REPLICAOF", "NO", "ONE")
	wait(t, "promotion", func() bool { // its node notes that it is another one
		_, err := publish(nodes[1], "h:2")
		return err == nil
	})
	must()
	last := must() // acknowledged, and not replicated
	if first.Epoch != last.Epoch || last.Offset != 4 {
		t.Fatalf("%v, %v", first, last)
	}
	replicaOf(old, other, ":2")
	wait(t, "refusal", func() bool {
		_, err := publish(nodes[0], "h:1")
		health := nodes[0].Health().Publishing
		return err != nil && health != nil && strings.Contains(health.Error(), "READONLY")
	})
	old.Must("REPLICAOF", "NO", "ONE")
	wait(t, "return", func() bool { return nodes[0].Health().Publishing == nil })
	if again := must(); again.Epoch == last.Epoch || again.Offset != 1 {
		t.Errorf("it has lost what came before %v, and goes on at %v", last, again)
	}
}

// listener is a node that is told when its channel is attached.
type listener struct {
	deaf
	attached chan string
}

func (l listener) Attached(channel string) { l.attached <- channel }
func (listener) Deliver(*broker.Message)   {}

// Another database is another cluster.
func TestDatabases(t *testing.T) {
	s := redistest.Start(t)
	var nodes []broker.Broker
	for _, database := range []string{"", "/1"} {
		b, err := redis.New(redis.Options{URL: s.URL() + database})
		if err != nil {
			t.Fatal(err)
		}
		l := listener{attached: make(chan string, 1)}
		if err := b.Start(l); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()
		b.Attach("plain")
		select {
		case <-l.attached:
		case <-time.After(20 * time.Second):
			t.Fatal("attach: it takes too long")
		}
		nodes = append(nodes, b)
	}
	for k, b := range nodes {
		placed := make(chan broker.Placed, 1)
		b.Publish(&broker.Publication{Message: broker.Message{Channel: "plain", Type: 1}}, func(p broker.Placed, _ error) { placed <- p })
		if n := (<-placed).Nodes; n != 1 {
			t.Errorf("node %d: the message is for %d nodes, want its own", k, n)
		}
	}
}

func TestBroker(t *testing.T) {
	brokertest.Test(t, func(t *testing.T) *brokertest.Rig {
		s := redistest.Start(t)
		return &brokertest.Rig{
			Node: func() broker.Broker { return node(t, s) },
			Cut:  func() { s.Must("CLIENT", "KILL", "TYPE", "pubsub") },
			Stop: s.Kill, Return: s.Begin,
			Forget: func() { s.Must("FLUSHALL") },
		}
	})
}
