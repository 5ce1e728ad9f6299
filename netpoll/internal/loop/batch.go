//go:build linux || darwin || freebsd

package loop

import "github.com/roostws/roost/netpoll"

// ringMinBatch is the batch from which a ring is worth its own system call:
// measured, a ring with one send in it costs 1.10 of send(2), with two 0.87 of
// two, with four 0.77 of four.
const ringMinBatch = 4

// WriteBatch is part of [netpoll.Loop].
func (l *Loop) WriteBatch(batch []netpoll.Outgoing) {
	if len(batch) >= ringMinBatch && l.haveRing() {
		batch = l.ring.write(l, batch)
	}
	l.Conns.WriteBatch(batch)
}

// haveRing reports whether there is a ring. It makes the ring at its first call:
// most loops never fan out.
func (l *Loop) haveRing() bool {
	if l.ring == nil && !l.ringTried {
		l.ringTried = true
		if !l.Shared.Config.NoIOURing {
			l.ring = newRing()
		}
	}
	return l.ring != nil
}
