package bench

// verdict is what one arrival means for its stream.
type verdict uint8

const (
	// inOrder: the next one, or a later one. What was skipped is missing until
	// it comes late.
	inOrder verdict = iota
	// late: a missing one, after a later one: disorder.
	late
	// repeated: it was here before.
	repeated
	// stale: so far back that it is not known whether it was here before.
	stale
)

// trackerWindow is how far back a tracker remembers single messages.
const trackerWindow = 64

// A tracker watches the sequence numbers that one connection receives of one
// stream, in 16 bytes without a pointer. What was lost is known at the end
// only: what was sent less what was unique.
type tracker struct {
	next uint64 // the highest sequence number seen, plus one
	seen uint64 // bit i: next-1-i was seen
}

// newTracker expects first as the first sequence number; everything before it
// counts as seen.
func newTracker(first uint64) tracker { return tracker{next: first, seen: ^uint64(0)} }

func (t *tracker) observe(seq uint64) verdict {
	if seq >= t.next {
		t.seen = t.seen<<(seq-t.next+1) | 1 // a shift by 64 or more gives 0
		t.next = seq + 1
		return inOrder
	}
	back := t.next - 1 - seq
	if back >= trackerWindow {
		return stale
	}
	if t.seen>>back&1 != 0 {
		return repeated
	}
	t.seen |= 1 << back
	return late
}

// Arrivals count what receivers saw of a stream. They add up over connections
// and generators.
type Arrivals struct {
	// Unique counts different messages, Repeated second copies, Disordered
	// those that came after a later one.
	Unique, Repeated, Disordered uint64
	// Damaged counts payloads whose bytes are not what was sent, Foreign those
	// that were meant for another connection.
	Damaged, Foreign uint64
}

func (a *Arrivals) count(v verdict) {
	switch v {
	case inOrder:
		a.Unique++
	case late:
		a.Unique++
		a.Disordered++
	case repeated:
		a.Repeated++
	case stale:
		// Late, or a repeat: a fault in either case. Not unique, so that a
		// lost message cannot hide behind it.
		a.Disordered++
	}
}

func (a *Arrivals) add(b Arrivals) {
	a.Unique += b.Unique
	a.Repeated += b.Repeated
	a.Disordered += b.Disordered
	a.Damaged += b.Damaged
	a.Foreign += b.Foreign
}

// Lost is what should have come and did not.
func (a Arrivals) Lost(expected uint64) uint64 {
	if a.Unique >= expected {
		return 0
	}
	return expected - a.Unique
}
