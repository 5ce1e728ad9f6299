//go:build realclients

package redis_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/internal/redistest"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/brokertest"
	"github.com/roostws/roost/server/broker/redis"
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
