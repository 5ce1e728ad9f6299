//go:build linux || darwin || freebsd

package netpoll

// interest is what a poller watches a descriptor for.
type interest uint8

const (
	interestRead interest = 1 << iota
	interestWrite
	// interestExclusive: the descriptor is watched by several loops, and one of
	// them is enough. A hint.
	interestExclusive
)

// readiness is what a poller reports of a descriptor.
type readiness uint8

const (
	readyRead readiness = 1 << iota
	readyWrite
	// readyHangup: the connection is gone in both directions or has an error.
	// Pollers report it whether it was asked for or not.
	readyHangup
)

// A poller is the one thing in which the engines of this package differ: how
// they learn that a descriptor is ready. It is level-triggered. The token comes
// back with each event; it is an ID for connections, and for the loop's own
// descriptors an ID of generation 0.
type poller interface {
	// run calls l.start, watches the doorbell, then calls l.ready for each event
	// and l.endTurn after them, until l has ended. All of that happens on one
	// goroutine.
	run(l *loop) error
	// add, modify and remove say what to watch for. remove must come before
	// close(2). Any goroutine.
	add(fd int, token ID, in interest) error
	modify(fd int, token ID, was, in interest) error
	remove(fd int)
	// alwaysRing tells that Wake must ring the doorbell even if the loop is
	// awake.
	alwaysRing() bool
	// close frees what run did not.
	close()
}

// The tokens of a loop's own descriptors.
const doorbellSlot = MaxSlots - 1

func listenerToken(index int) ID { return MakeID(0, uint32(index), 0) }
func doorbellToken() ID          { return MakeID(0, doorbellSlot, 0) }
