//go:build linux || darwin || freebsd

package loop

import "github.com/roostws/roost/netpoll/internal/conns"

// The flags that package loop adds to a socket's.
const (
	// opening: OnOpen is running; the poller is told afterwards.
	opening = conns.EngineFlags << iota
	// unwatched: the peer of a paused connection hung up. The poller would
	// report that without end, so it does not know the socket until ResumeRead.
	unwatched
	// polled: the poller knows the socket.
	polled
	// polledRead, polledWrite: the interest that the poller knows.
	polledRead
	polledWrite
)

// interest returns what the poller should watch for, and is the only place that
// decides it.
func interest(f conns.Flags) Interest {
	if f&conns.Lingering != 0 {
		return InterestRead
	}
	var in Interest
	if f&conns.Paused == 0 {
		in |= InterestRead
	}
	if f&conns.WantsWrite != 0 {
		in |= InterestWrite
	}
	return in
}

// polledInterest returns what the poller watches for now.
func polledInterest(f conns.Flags) Interest {
	var in Interest
	if f&polledRead != 0 {
		in |= InterestRead
	}
	if f&polledWrite != 0 {
		in |= InterestWrite
	}
	return in
}

// setPolled notes what the poller has been told.
func setPolled(f *conns.Flags, in Interest) {
	*f &^= polledRead | polledWrite
	*f |= polled
	if in&InterestRead != 0 {
		*f |= polledRead
	}
	if in&InterestWrite != 0 {
		*f |= polledWrite
	}
}
