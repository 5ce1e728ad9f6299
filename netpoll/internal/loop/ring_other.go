//go:build darwin || freebsd

package loop

import "github.com/roostws/roost/netpoll"

// A ring exists on Linux only.
type ring struct{}

func newRing() *ring                                                    { return nil }
func (*ring) write(_ *Loop, rest []netpoll.Outgoing) []netpoll.Outgoing { return rest }
func (*ring) close()                                                    {}
