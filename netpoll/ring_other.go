//go:build darwin || freebsd

package netpoll

// ring is for Linux.
type ring struct{}

func newRing() *ring                                    { return nil }
func (*ring) write(_ *loop, rest []Outgoing) []Outgoing { return rest }
func (*ring) close()                                    {}
