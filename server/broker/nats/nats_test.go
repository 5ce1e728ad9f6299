//go:build realclients

package nats_test

import (
	"math/rand/v2"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/roostws/roost/internal/natstest"
	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/brokertest"
	"github.com/roostws/roost/server/broker/nats"
)

func TestMain(m *testing.M) { natstest.Main(m) }

func node(t *testing.T, url string) broker.Broker {
	b, err := nats.New(nats.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// purge empties the stream.
func purge(t *testing.T, s *natstest.Server) {
	c, err := client.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "roost")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestBroker(t *testing.T) {
	for name, parameters := range map[string]string{"memory": "", "trusted file": "?storage=file&trust=true"} {
		t.Run(name, func(t *testing.T) {
			brokertest.Test(t, func(t *testing.T) *brokertest.Rig {
				s := natstest.Start(t)
				return &brokertest.Rig{
					Node: func() broker.Broker { return node(t, s.URL()+parameters) },
					Cut:  s.Cut, Stop: s.Kill, Return: s.Begin,
					Forget: func() { purge(t, s) }, NodesUnknown: true, PublishersOrder: true,
				}
			})
		})
	}
}

// Several servers on one NATS that is cut off, stopped, killed and emptied.
func TestNodesExactness(t *testing.T) {
	for name, lose := range map[string]bool{"cut and frozen": false, "killed and emptied": true} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t)
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
			disturbances := []func(){s.Cut, freeze, s.Cut}
			if lose {
				disturbances = append(disturbances, restart, func() { purge(t, s) }, restart, s.Cut)
			}
			nodetest.Exactness(t, nodetest.Scenario{
				Seed: rand.Uint64(), Node: func() broker.Broker { return node(t, s.URL()) }, Disturbances: disturbances, Messages: 300, Resets: lose,
			})
		})
	}
}
