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
func (c conn) takePlace() {
	s := c.s
	if c.flags&flagPlaced != 0 || c.queued() {
		return
	}
	if s.admission.inFlight < s.cfg.HandshakesMax {
		c.placed()
		return
	}
	s.count.HandshakesQueued.Add(1)
	s.admission.waiting = append(s.admission.waiting, c.id)
	c.pause(flagPausedWork)
}

func (c conn) placed() {
	c.s.admission.inFlight++
	c.flags |= flagPlaced
	c.openedTick = c.s.tick // from now on it may keep others waiting
}

// queued tells whether a connection waits for a place.
func (c conn) queued() bool {
	return (c.state == stateHead || c.state == stateProxy) && c.flags&(flagPausedWork|flagPlaced) == flagPausedWork
}

// vacate gives a connection's place, if it has one, to whoever waits.
func (c conn) vacate() {
	s := c.s
	if c.flags&flagPlaced == 0 {
		return
	}
	c.flags &^= flagPlaced
	a := &s.admission
	a.inFlight--
	for len(a.waiting) > 0 && a.inFlight < s.cfg.HandshakesMax {
		id := a.waiting[0]
		if a.waiting = a.waiting[1:]; len(a.waiting) == 0 {
			a.waiting = nil
		}
		c, ok := s.find(id)
		if !ok || !c.queued() {
			continue
		}
		c.placed()
		c.setDeadline(s.tick + s.ticks.handshake)
		c.resume(flagPausedWork)
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
		c, ok := s.find(id)
		return !ok || !c.queued()
	})
	room, roomTLS, roomAny := len(a.waiting), len(s.tlsWaiting), 0
	if s.group.connections.Load() >= s.group.limit {
		roomAny = roomAtOnce
	}
	if room+roomTLS+roomAny == 0 {
		return
	}
	grace := max(s.ticks.handshake/8, 2)
	for i := range s.high {
		c := s.in(i)
		if c.flags&(flagRefused|flagOpened) != 0 || s.tick-c.openedTick < grace || !c.owes() {
			continue
		}
		switch {
		case room > 0 && c.flags&flagPlaced != 0:
			room--
		case roomTLS > 0 && c.state == stateTLS && c.tls() != nil:
			roomTLS--
		case roomAny > 0:
			roomAny--
		default:
			continue
		}
		s.count.HandshakesEvicted.Add(1)
		c.vacate()
		c.setDeadline(0)
		c.expire()
	}
}

// owes tells whether the next step of a handshake is the client's.
func (c conn) owes() bool {
	if c.flags&flagPausedWork != 0 {
		return false // it waits for us
	}
	switch c.state {
	case stateProxy, stateHead, statePlain:
		return true
	case stateTLS:
		if c.tls() == nil {
			return true // not a word yet
		}
		h := c.tls().handshake
		return h != nil && h.starved()
	}
	return false
}
