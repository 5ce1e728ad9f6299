//go:build linux || darwin || freebsd

package loop

import "github.com/roostws/roost/netpoll"

// Interest is what a poller watches a descriptor for.
type Interest uint8

// The interests.
const (
	InterestRead Interest = 1 << iota
	InterestWrite
	// InterestExclusive: several loops watch the descriptor, and it is enough
	// to wake one of them. A hint.
	InterestExclusive
)

// Readiness is what a poller reports of a descriptor.
type Readiness uint8

// The kinds of readiness.
const (
	ReadyRead Readiness = 1 << iota
	ReadyWrite
	// ReadyHangup: both directions have ended, or the connection has an error.
	// Pollers report it whether it was asked for or not.
	ReadyHangup
)

// A Poller finds out which descriptors are ready: the one thing in which the
// engines on this package differ. It is level-triggered. The token comes back
// with each event: the ID of a connection, or for the loop's own descriptors an
// ID of generation 0.
type Poller interface {
	// Run calls l.Start, watches l.Doorbell with DoorbellToken, and then calls
	// l.Ready for each event and l.EndTurn after them, until l.Ended. All of
	// that happens on one goroutine.
	Run(l *Loop) error
	// Add, Modify and Remove say what to watch for. Remove must come before
	// close(2). Any goroutine may call them.
	Add(fd int, token netpoll.ID, in Interest) error
	Modify(fd int, token netpoll.ID, was, in Interest) error
	Remove(fd int)
	// AlwaysRing reports whether Wake must ring the doorbell even if the loop is
	// awake.
	AlwaysRing() bool
	// Close frees what Run did not.
	Close()
}

// DoorbellToken is the token of a loop's doorbell.
const DoorbellToken = netpoll.ID(netpoll.MaxSlots-1) << 32

// listenerToken is the token of listener number index.
func listenerToken(index int) netpoll.ID { return netpoll.MakeID(0, uint32(index), 0) }
