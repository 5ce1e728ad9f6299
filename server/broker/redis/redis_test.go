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
	t.Parallel()
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
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it takes too long", what)
		}
	}
}

// deaf is a node that attaches nothing.
type deaf struct{ broker.Inbound }

func (deaf) Interrupted(func(string) bool, error) {}

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

// insist publishes until a message is taken.
func insist(t *testing.T, b broker.Broker, channel string) (at history.Position) {
	t.Helper()
	wait(t, "publish", func() bool {
		var err error
		at, err = publish(b, channel)
		return err == nil
	})
	return at
}

// must publishes a message that has to be taken.
func must(t *testing.T, b broker.Broker, channel string) history.Position {
	t.Helper()
	at, err := publish(b, channel)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// begun starts a node that attaches nothing.
func begun(t *testing.T, o redis.Options) broker.Broker {
	t.Helper()
	b, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(deaf{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	wait(t, "connect", func() bool { return b.Health().Publishing == nil })
	return b
}

// A process that becomes a replica is refused, and one that is promoted again has the data
// of another one, which may lack what it has acknowledged itself: it begins another epoch,
// whether any node has seen the other one meanwhile or not, and whether any node has seen it
// as a replica.
func TestDemoted(t *testing.T) {
	t.Parallel()
	for name, seen := range map[string]bool{"seen": true, "unseen": false} {
		t.Run(name, func(t *testing.T) {
			old, other := redistest.Start(t), redistest.Start(t)
			other.ReplicaOf(old)
			b := begun(t, redis.Options{URL: old.URL()})
			must(t, b, "h:1")
			first := must(t, b, "h:1")
			other.Await(":2", "XLEN", "roost:s:h:1")
			other.Must("REPLICAOF", "NO", "ONE")
			if seen {
				insist(t, begun(t, redis.Options{URL: other.URL()}), "h:2") // it is another one
			}
			must(t, b, "h:1")
			last := must(t, b, "h:1") // acknowledged, and not replicated
			if first.Epoch != last.Epoch || last.Offset != 4 {
				t.Fatalf("%v, %v", first, last)
			}
			old.ReplicaOf(other)
			old.Await(":2", "XLEN", "roost:s:h:1")
			if seen {
				wait(t, "refusal", func() bool {
					_, err := publish(b, "h:1")
					health := b.Health().Publishing
					return err != nil && health != nil && strings.Contains(health.Error(), "a replica")
				})
			}
			old.Must("REPLICAOF", "NO", "ONE")
			if again := insist(t, b, "h:1"); again.Epoch == last.Epoch || again.Offset != 1 {
				t.Errorf("it has lost what came before %v, and goes on at %v", last, again)
			}
		})
	}
}

// listener is a node that says what it is told.
type listener struct {
	attached    chan string
	messages    chan *broker.Message
	interrupted chan bool // whether h:1 is affected
}

func (l listener) Attached(channel string) { l.attached <- channel }
func (l listener) Deliver(m *broker.Message) {
	if l.messages != nil {
		l.messages <- m
	}
}

func (l listener) Interrupted(affected func(string) bool, _ error) {
	if l.interrupted != nil {
		l.interrupted <- affected == nil || affected("h:1")
	}
}

// Another database is another cluster.
func TestDatabases(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
