package memory_test

import (
	"testing"

	"github.com/roostws/roost/server/broker/brokertest"
	"github.com/roostws/roost/server/broker/memory"
)

func TestBroker(t *testing.T) {
	brokertest.Test(t, func(*testing.T) *brokertest.Rig {
		h := memory.New()
		return &brokertest.Rig{Node: h.Node, Cut: h.Cut, Stop: h.Interrupt, Return: h.Restore, Forget: h.Forget}
	})
}
