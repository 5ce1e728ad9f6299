package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/intake"
)

// ext is a connection's rare state. It exists only while there is some.
type ext struct {
	// tls is the connection's TLS state, as long as it lives.
	tls *intake.TLS
	// sent and received are the compression contexts, where context takeover
	// was negotiated: up to 32 KiB each, for as long as the connection lives.
	sent, received *frame.Window
	// decoder holds an incomplete frame or message, which has begun by
	// messageSince, a tick.
	decoder      *decoder
	messageSince uint32
	// input holds bytes to be looked at later: an incomplete request head or
	// body, or what arrived behind a pause.
	input []byte
	// headScanned is how much of input was searched for the end of a request head,
	// requestBytes how long the request is, body included, once that is known.
	headScanned, requestBytes int
	// proxyDue is how much of a PROXY header is still to come, and to be dropped.
	proxyDue int
	// pending is output that the socket did not take.
	pending pending
	// verdict is why the connection ends, once that is known.
	verdict Closed
	// decided: verdict is set.
	decided bool
	// With flagLagging: the job and its frame to go on with, the number of
	// frames before that one, and how to close when everything is read, readers included.
	lagJob    uint64
	lagFrame  uint32
	lagFrames uint64
	wish      *Closed
	// readers are the places in channels' histories to go on with.
	readers []hub.Reader
	// missed counts messages left out by SlowDrop.
	missed uint64
}

func (x *ext) empty() bool {
	return x.tls == nil && x.sent == nil && x.received == nil && x.decoder == nil && x.input == nil && x.proxyDue == 0 && x.readers == nil && len(x.pending.refs) == 0 && !x.decided && x.missed == 0
}

// ext returns the connection's rare state, nil if it has none.
func (c conn) ext() *ext { return c.s.exts[c.extRow()] }

// input returns the bytes that are held for later, nil without.
func (c conn) input() []byte {
	if x := c.ext(); x != nil {
		return x.input
	}
	return nil
}

// tls returns the connection's TLS state, nil if it speaks none or has not begun.
func (c conn) tls() *intake.TLS {
	if x := c.ext(); x != nil {
		return x.tls
	}
	return nil
}

// decoder returns the connection's own decoder, nil if it is not in the middle of
// a message.
func (c conn) decoder() *decoder {
	if x := c.ext(); x != nil {
		return x.decoder
	}
	return nil
}

// reads reports whether the connection reads any channel's history.
func (c conn) reads() bool {
	x := c.ext()
	return x != nil && len(x.readers) > 0
}

// makeExt returns the connection's rare state and makes it if there is none.
func (c conn) makeExt() *ext {
	if c.extRow() != 0 {
		return c.ext()
	}
	s := c.s
	if n := len(s.extFree); n > 0 {
		c.setExtRow(s.extFree[n-1])
		s.extFree = s.extFree[:n-1]
	} else {
		s.exts = append(s.exts, nil)
		c.setExtRow(uint32(len(s.exts) - 1))
	}
	x := s.spareExt
	if s.spareExt = nil; x == nil {
		x = &ext{}
	}
	s.exts[c.extRow()] = x
	return x
}

// dropExt gives the rare state back if nothing is left in it.
func (c conn) dropExt() {
	if x := c.ext(); x != nil && c.flags&(flagStalled|flagLagging) == 0 && x.empty() {
		c.freeExt()
	}
}

// freeExt ends the rare state, whatever is in it.
func (c conn) freeExt() {
	x, s := c.ext(), c.s
	if x == nil {
		return
	}
	if x.tls != nil {
		x.tls.Abandon()
	}
	s.exts[c.extRow()] = nil
	s.extFree = append(s.extFree, c.extRow())
	c.setExtRow(0)
	if x.decoder != nil {
		s.putDecoder(x.decoder)
	}
	s.putInput(x)
	*x = ext{}
	// One is kept: a connection that stalls, drains and stalls again allocates
	// nothing.
	s.spareExt = x
	if len(s.extFree) == len(s.exts)-1 && len(s.exts) > 1024 {
		// Every connection has left: do not keep the arrays of the peak.
		s.exts, s.extFree = make([]*ext, 1), nil
	}
}
