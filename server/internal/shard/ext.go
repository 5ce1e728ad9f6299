package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
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
	// headScanned is how much of input was searched for the end of a request head.
	headScanned int
	// body is what is still to come of a request.
	body *body
	// proxyDue is how much of a PROXY header is still to come, and to be dropped.
	proxyDue int
	// opening is the request of a fallback, until what it says is carried out.
	opening *opening
	// old are parts of the client's cursor that stay among the positions of its events,
	// see KeepPosition.
	old string
	// poll is what a connection has that polls.
	poll *poll
	// mailbox is the mailbox from which the response to its request comes, 0 if from none.
	mailbox netpoll.ID
	// next is what a connection has that goes on after its response.
	next *next
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
	closing   *Closed
	closeBy   uint32 // the tick from which on that is not waited for, 0 for never
	// readers are the places in channels' histories to go on with.
	readers []hub.Reader
	// missed counts messages left out by SlowDrop.
	missed uint64
}

// empty reports whether nothing is left in it.
func (x *ext) empty() bool {
	return x.tls == nil && x.sent == nil && x.received == nil && x.decoder == nil && x.input == nil && x.opening == nil && x.old == "" && x.poll == nil && x.mailbox == 0 && x.next == nil && x.proxyDue == 0 && x.readers == nil && len(x.pending.refs) == 0 && !x.decided && x.missed == 0
}

// rareTable is the connections' rare state, by row.
type rareTable struct {
	rows  []*ext // row 0 is not used
	free  []uint32
	spare *ext
}

func newRareTable() rareTable { return rareTable{rows: make([]*ext, 1)} }

// add returns a new row.
func (r *rareTable) add() (row uint32, x *ext) {
	if n := len(r.free); n > 0 {
		row = r.free[n-1]
		r.free = r.free[:n-1]
	} else {
		r.rows = append(r.rows, nil)
		row = uint32(len(r.rows) - 1)
	}
	if x, r.spare = r.spare, nil; x == nil {
		x = &ext{}
	}
	r.rows[row] = x
	return row, x
}

// remove ends a row. One is kept for the next add: a connection that stalls, drains
// and stalls again allocates nothing.
func (r *rareTable) remove(row uint32) {
	x := r.rows[row]
	*x = ext{}
	r.spare, r.rows[row] = x, nil
	if r.free = append(r.free, row); len(r.free) == len(r.rows)-1 && len(r.rows) > 1024 {
		*r = newRareTable() // all are gone: do not keep the arrays of the peak
	}
}

// ext returns the connection's rare state, nil if it has none.
func (c conn) ext() *ext { return c.s.rare.rows[c.extRow()] }

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
	row, x := c.s.rare.add()
	c.setExtRow(row)
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
	if x.decoder != nil {
		s.input.put(x.decoder)
	}
	s.putInput(x)
	s.rare.remove(c.extRow())
	c.setExtRow(0)
}
