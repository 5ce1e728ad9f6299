package shard

import (
	"crypto/tls"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/intake"
)

// An Adoption is a connection that net/http has accepted, on its way to this shard's
// loop.
type Adoption struct {
	// FD is its descriptor, non-blocking.
	FD int
	// Input is what was read from it so far: a whole request head, as a client would
	// send it, and what came after it.
	Input []byte
	// TLS is the TLS connection if TLS is spoken, its handshake done. Its reads
	// and writes go to the Carrier from now on.
	TLS *tls.Conn
	// Carrier is what TLS runs over.
	Carrier *intake.Carrier
	// Set by another shard that hands a connection over: the client's address, where
	// addresses are tracked, its TLS, and ciphertext that was not read yet.
	address netip.AddrPort
	moved   *intake.TLS
	cipher  []byte
	// Failed is called, on any goroutine, if the connection cannot be taken;
	// the descriptor is closed by then.
	Failed func(error)
}

// Adopt takes a connection over, soon. Any goroutine.
func (s *Shard) Adopt(a *Adoption) error {
	return s.Call(func(sh *Shard) {
		if sh == nil {
			a.fail(netpoll.ErrEngineClosed)
			return
		}
		sh.intake.adoptionTag++
		tag := netpoll.AttachTag + sh.intake.adoptionTag
		if err := sh.loop.Attach(a.FD, tag); err != nil {
			a.fail(err)
			return
		}
		if sh.intake.adoptions == nil {
			sh.intake.adoptions = map[uint64]*Adoption{}
		}
		sh.intake.adoptions[tag] = a
	})
}

func (a *Adoption) fail(err error) {
	_ = unix.Close(a.FD)
	a.Failed(err)
}

// adopted goes on where the other side left off. OnOpen calls it.
func (c conn) adopted(tag uint64) {
	c.setState(stateHead)
	a := c.s.intake.adoptions[tag]
	if a == nil {
		return
	}
	delete(c.s.intake.adoptions, tag)
	c.s.count.Inc(counters.Adopted)
	if a.TLS != nil {
		c.makeExt().tls = intake.Adopt(a.TLS, a.Carrier)
		c.flags |= flagTLS
	}
	if a.moved != nil {
		c.makeExt().tls = a.moved
		c.flags |= flagTLS
	}
	if a.address.IsValid() {
		c.notePeer()
		c.setAddress(a.address) // its session is counted, whose place it takes when that moves
	} else if peer, _ := c.notePeer(); !c.admitAddress(peer, true) {
		return
	}
	c.onPlain(a.Input)
	if len(a.cipher) > 0 && c.alive() && c.flags&flagTLS != 0 {
		c.onDataTLS(a.cipher)
	}
	if a.TLS != nil && c.alive() && c.flags&flagTLS != 0 {
		// crypto/tls may hold records that it has read but not given out.
		c.readTLS(c.tls())
	}
}
