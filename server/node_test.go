package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker/memory"
)

// cluster starts servers on one broker that know each other.
func cluster(t *testing.T, h *memory.Hub, n int) (all []*server.Server) {
	t.Helper()
	for range n {
		all = append(all, nodetest.Start(t, h.Node(), 10, nil))
	}
	for _, s := range all {
		eventually(t, "all nodes", func() bool { return len(s.Nodes()) == n })
	}
	return all
}

// A server alone is the only node; several on a broker see each other, and the names of
// their connections tell them apart.
func TestNodesKnowEachOther(t *testing.T) {
	alone := nodetest.Start(t, nil, 10, nil)
	if all := alone.Nodes(); len(all) != 1 || !all[0].Self || all[0].ID == "" || len(all[0].Addrs) != 1 {
		t.Errorf("alone: %+v", all)
	}
	all := cluster(t, memory.New(), 2)
	connectedAs(t, all[0], "ann")
	connectedAs(t, all[1], "ann")
	ids := map[string]bool{}
	for _, s := range all {
		for _, n := range s.Nodes() {
			ids[n.ID] = true
			if time.Since(n.Since) > time.Hour || len(n.Addrs) != 1 {
				t.Errorf("%+v", n)
			}
			if n.Self && (n.Connections != 1 || n.Addrs[0] != s.Addrs()[0].String()) {
				t.Errorf("itself: %+v", n)
			}
		}
	}
	if len(ids) != 2 {
		t.Errorf("IDs: %v", ids)
	}
	if err := all[1].Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the end of a node", func() bool { return len(all[0].Nodes()) == 1 })
	infos, _, err := all[0].Connections(within(t), "", "", 10)
	if name := "@" + all[0].Nodes()[0].ID; err != nil || len(infos) != 1 || !strings.HasSuffix(infos[0].Client, name) {
		t.Errorf("connections: %+v, %v; want names with %s", infos, err, name)
	}
}
