//go:build realclients

package embedded

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/server/broker"
)

var rolling = flag.Bool("rolling", false, "let TestCluster restart each of its servers, and not only one")

// Three servers, each with its server of NATS on an address of its own. One after the other is
// stopped and comes back, as in a rolling restart (-rolling; otherwise only one), while clients publish, wander and resume.
func TestCluster(t *testing.T) {
	host := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
	var addrs []string
	for i := range replicas {
		l, err := net.Listen("tcp", fmt.Sprint(host, i+1, ":0"))
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		_ = l.Close()
	}
	var nodes []*Broker
	node := func() broker.Broker {
		b, err := New(Options{Dir: t.TempDir(), Cluster: &Cluster{Addr: addrs[len(nodes)], Servers: addrs, Secret: "0123456789abcdef"}})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, b)
		return b
	}
	var restarts []func()
	for i := range replicas {
		if i > 0 && !*rolling {
			break
		}
		restarts = append(restarts, func() {
			nodes[i].stop() // the broker starts it again, within seconds, in which the others go on
			for nodes[i].Health().Publishing == nil {
				time.Sleep(10 * time.Millisecond)
			}
			for deadline := time.Now().Add(time.Minute); nodes[i].Health().Publishing != nil; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("server %d does not come back: %v", i, nodes[i].Health().Publishing)
					return
				}
			}
		})
	}
	nodetest.Exactness(t, nodetest.Scenario{Seed: rand.Uint64(), Node: node, Disturbances: restarts, Messages: 200})
}
