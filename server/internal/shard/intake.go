package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/offheap"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
)

// intakeState is what a shard has for connections that are not open yet. It owns
// what package intake makes; the connections' states are in their rows:
//
//	address.go  stateProxy, and whose a connection is
//	tls.go      stateTLS
//	head.go     stateHead and stateAuthorizing: the request for a WebSocket
//	plain.go    statePlain: other requests
//	attach.go   connections that come from net/http
//	admit.go    newcomers that wait before all that
//
// Admission bounds what connections cost before they are open. A request that
// comes in one piece, as nearly all do, holds nothing and needs no place: a storm
// of clients passes as fast as it can be read. One that comes in pieces needs one
// of Config.HandshakesMax places; beyond them it waits, unread from there on, so
// that a flood becomes a queue instead of a storm of retries. TLS handshakes have
// places of their own.
//
// A stalled handshake must not block others. While any connection waits for a
// place, or MaxConnections is reached, makeRoom ends connections from which bytes
// have been awaited for more than HandshakeTimeout/8. Connections that wait for us
// (the TLS handshake is computed, the application decides on the upgrade) are
// never ended for that.
type intakeState struct {
	addresses offheap.Table[intake.Address] // without rows unless Config.Addresses needs them
	requests  intake.Places                 // of connections with flagPlaced
	tlsPlaces intake.Places                 // of TLS handshakes
	tls       intake.Buffer
	admission intake.Admission
	stepDue   time.Duration // when the next of those that wait may come in, 0: not planned
	// refusalsLeft is how many more connections that their address's limits refuse
	// get a response until the next tick.
	refusalsLeft int

	adoptions   map[uint64]*Adoption // by tag
	adoptionTag uint64

	date handshake.Date

	// Scratch: what lives only during a callback.
	request handshake.Request
	upgrade Upgrade
	policy  handshake.Policy
	offered frame.DeflateParams // what policy.Negotiate agreed to
	offers  map[string]offer
	lines   []byte // header lines of responses to a page, see allowPage
}

// takePlace gives a place to a connection in the middle of its request, or queues
// the connection for one.
func (c conn) takePlace() {
	s := c.s
	if c.flags&flagPlaced != 0 || c.queued() {
		return
	}
	if s.intake.requests.Take(c.id) {
		c.placed()
		return
	}
	s.count.Inc(counters.HandshakesQueued)
	c.pause(flagPausedWork)
}

// placed marks a connection that has a place.
func (c conn) placed() {
	c.flags |= flagPlaced
	c.openedTick = c.s.deadlines.tick // from now on it may keep others waiting
}

// queued reports whether a connection waits for a place.
func (c conn) queued() bool {
	if c.flags&(flagPausedWork|flagPlaced) != flagPausedWork {
		return false
	}
	return c.state == stateHead || c.state == stateProxy || c.awaitsBody()
}

// vacate gives the connection's place, if it has one, to the next in the queue.
func (c conn) vacate() {
	if c.flags&flagPlaced == 0 {
		return
	}
	c.flags &^= flagPlaced
	places := &c.s.intake.requests
	places.Give()
	for {
		id, ok := places.Next()
		if !ok {
			return
		}
		next, ok := c.s.find(id)
		if !ok || !next.queued() {
			places.Give()
			continue
		}
		next.placed()
		next.setDeadline(c.s.deadlines.tick + c.s.deadlines.after.handshake)
		next.resume(flagPausedWork)
	}
}

// roomAtOnce is how many connections make room for new ones between two ticks when
// MaxConnections is reached.
const roomAtOnce = 256

// makeRoom ends connections that have kept us waiting for too long, as many as wait
// for their places. OnTick calls it.
func (s *Shard) makeRoom() {
	room := s.intake.requests.Waiting(func(id netpoll.ID) bool {
		c, ok := s.find(id)
		return !ok || !c.queued()
	})
	roomTLS := s.intake.tlsPlaces.Waiting(func(id netpoll.ID) bool {
		c, ok := s.find(id)
		return !ok || c.state != stateTLS
	})
	roomAny := 0
	if s.group.connections.Load() >= s.group.limit {
		roomAny = roomAtOnce
	}
	if room+roomTLS+roomAny == 0 {
		return
	}
	grace := max(s.deadlines.after.handshake/8, 2)
	for i := range s.slots.high {
		c := s.in(i)
		if c.flags&(flagRefused|flagOpened) != 0 || s.deadlines.tick-c.openedTick < grace || !c.owes() {
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
		s.count.Inc(counters.HandshakesEvicted)
		c.vacate()
		c.setDeadline(0)
		c.expire()
	}
}

// owes reports whether the next step of a handshake is the client's.
func (c conn) owes() bool {
	if c.flags&flagPausedWork != 0 {
		return false // it waits for us
	}
	switch c.state {
	case stateProxy, stateHead, statePlain, stateKept:
		return true
	case stateTLS:
		if c.tls() == nil {
			return true // not a word yet
		}
		return c.tls().Starved()
	}
	return false
}
