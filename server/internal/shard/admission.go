package shard

import (
	"slices"

	"github.com/roostws/roost/netpoll"
)

// Admission bounds what connections cost before they are upgraded. A request
// that comes in one piece, as nearly all do, holds nothing and needs no leave:
// a storm of clients passes as fast as it can be read. One that comes in pieces
// needs a place, of which there are Config.HandshakesMax; beyond them it waits,
// unread from there on, and a flood becomes a queue instead of a storm of
// retries. TLS handshakes have places of their own (see beginTLS).
//
// What must not happen is that connections which never go on keep the others
// waiting: as long as somebody waits, or MaxConnections is reached, whoever owes
// us its next bytes for an eighth of HandshakeTimeout has to make room. Who waits
// for us (its TLS handshake is being computed, the application authorizes it) is
// never sent away for it.
type admission struct {
	// inFlight are the connections with flagPlaced.
	inFlight int
	// waiting are those that need a place; some may be gone.
	waiting []netpoll.ID
}

// takePlace gives a connection in the middle of its request a place, or lets it
// wait for one.
func (s *Shard) takePlace(id netpoll.ID, sl *slot) {
	if sl.flags&flagPlaced != 0 || s.queued(sl) {
		return
	}
	if s.admission.inFlight < s.cfg.HandshakesMax {
		s.placed(sl)
		return
	}
	s.count.HandshakesQueued.Add(1)
	s.admission.waiting = append(s.admission.waiting, id)
	s.pause(id, sl, flagPausedWork)
}

func (s *Shard) placed(sl *slot) {
	s.admission.inFlight++
	sl.flags |= flagPlaced
	sl.openedTick = s.tick // from now on it may keep others waiting
}

// queued tells whether a connection waits for a place.
func (s *Shard) queued(sl *slot) bool {
	return (sl.state == stateHead || sl.state == stateProxy) && sl.flags&(flagPausedWork|flagPlaced) == flagPausedWork
}

// vacate gives a connection's place, if it has one, to whoever waits.
func (s *Shard) vacate(sl *slot) {
	if sl.flags&flagPlaced == 0 {
		return
	}
	sl.flags &^= flagPlaced
	a := &s.admission
	a.inFlight--
	for len(a.waiting) > 0 && a.inFlight < s.cfg.HandshakesMax {
		id := a.waiting[0]
		if a.waiting = a.waiting[1:]; len(a.waiting) == 0 {
			a.waiting = nil
		}
		next := s.slotOf(id)
		if next == nil || !s.queued(next) {
			continue
		}
		s.placed(next)
		s.deadlines.rows[id.Slot()] = s.tick + s.ticks.handshake
		s.resume(id, next, flagPausedWork)
	}
}

// roomAtOnce is how many connections make room for newcomers between two ticks,
// where MaxConnections is reached.
const roomAtOnce = 256

// makeRoom ends connections that owe us something for too long, as many as
// others wait. OnTick calls it.
func (s *Shard) makeRoom() {
	a := &s.admission
	a.waiting = slices.DeleteFunc(a.waiting, func(id netpoll.ID) bool {
		sl := s.slotOf(id)
		return sl == nil || !s.queued(sl)
	})
	room, roomTLS, roomAny := len(a.waiting), len(s.tlsWaiting), 0
	if s.group.connections.Load() >= s.group.limit {
		roomAny = roomAtOnce
	}
	if room+roomTLS+roomAny == 0 {
		return
	}
	grace := max(s.ticks.handshake/8, 2)
	for i := range s.slots.rows[:s.high] {
		sl := &s.slots.rows[i]
		if sl.flags&(flagRefused|flagOpened) != 0 || s.tick-sl.openedTick < grace || !s.owes(sl) {
			continue
		}
		switch {
		case room > 0 && sl.flags&flagPlaced != 0:
			room--
		case roomTLS > 0 && sl.state == stateTLS && sl.ext != 0 && s.exts[sl.ext].tls != nil:
			roomTLS--
		case roomAny > 0:
			roomAny--
		default:
			continue
		}
		s.count.HandshakesEvicted.Add(1)
		s.vacate(sl)
		s.deadlines.rows[i] = 0
		s.expire(uint32(i))
	}
}

// owes tells whether the next step of a handshake is the client's.
func (s *Shard) owes(sl *slot) bool {
	if sl.flags&flagPausedWork != 0 {
		return false // it waits for us
	}
	switch sl.state {
	case stateProxy, stateHead, statePlain:
		return true
	case stateTLS:
		if sl.ext == 0 || s.exts[sl.ext].tls == nil {
			return true // not a word yet
		}
		h := s.exts[sl.ext].tls.handshake
		return h != nil && h.starved()
	}
	return false
}
