//go:build linux || darwin || freebsd

package netpoll_test

import (
	"testing"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/netpolltest"
)

// TestContract holds each engine of this system to the contract.
func TestContract(t *testing.T) {
	for _, kind := range netpoll.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			netpolltest.TestContract(t, func(cfg netpoll.Config, newHandler func(l netpoll.Loop) netpoll.Handler) (netpoll.Engine, error) {
				e, err := netpoll.Start(kind, cfg, newHandler)
				if err == nil && e.Kind() != kind {
					t.Errorf("Kind() = %q, want %q", e.Kind(), kind)
				}
				return e, err
			})
		})
	}
}
